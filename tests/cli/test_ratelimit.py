from __future__ import annotations

import asyncio
import json

import pytest
from click.testing import CliRunner, Result

from insight_cloud.cli.ratelimit import command
from insight_cloud.core.errors import SettingsError, Unavailable
from insight_cloud.ratelimit import Limiter, RateLimitSettings, Redis
from tests.redis import RedisServer, redis_server


def run(*words: str) -> Result:
    return CliRunner().invoke(command, words, catch_exceptions=True)


async def _use_up(server: RedisServer, key: str) -> None:
    async with Redis(server.url, timeout_seconds=5) as store:
        limiter = Limiter(store)
        for _ in range(6):
            await limiter.hit(RateLimitSettings().policies()["auth"], key)


def test_a_key_is_shown_and_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    with redis_server() as server:
        monkeypatch.setenv("REDIS_URL", server.url)
        asyncio.run(_use_up(server, "ip:203.0.113.7"))
        shown = {
            row["policy"]: row for row in json.loads(run("show", "ip:203.0.113.7", "--json").output)
        }
        assert list(shown) == ["api", "auth", "strict", "analysis"]
        assert (shown["auth"]["remaining"], shown["auth"]["limit"]) == (0, 5)
        assert 890 < shown["auth"]["next_seconds"] <= 900
        assert "0 of 5 left, more in" in run("show", "ip:203.0.113.7").output
        assert run("reset", "ip:203.0.113.7").output == (
            "ip:203.0.113.7: reset api, auth, strict, analysis\n"
        )
        assert "5 of 5 left\n" in run("show", "ip:203.0.113.7").output


def test_without_redis_it_says_where_the_limits_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REDIS_URL", raising=False)
    result = run("show", "a")
    assert isinstance(result.exception, SettingsError)
    assert "memory of the serving processes" in str(result.exception)


def test_a_redis_that_is_away_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with redis_server() as server:
        monkeypatch.setenv("REDIS_URL", server.url)
        server.kill()
        assert isinstance(run("reset", "a").exception, Unavailable)
