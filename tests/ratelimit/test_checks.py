from __future__ import annotations

from datetime import timedelta

from insight_cloud.ratelimit import Policy, RateLimitSettings, Redis, check
from tests.redis import RedisServer, redis_server

OPEN = Policy("open", limit=1, window=timedelta(minutes=1), on_failure="open")


async def test_a_redis_that_answers_passes(redis_server: RedisServer) -> None:
    async with Redis(redis_server.url, timeout_seconds=5) as store:
        (found,) = await check(store, [OPEN])
    assert found.status in {"pass", "warn"}
    assert found.detail.endswith(" ms")


async def test_a_redis_that_is_away_fails_only_where_it_shuts_people_out() -> None:
    with redis_server() as server:
        server.kill()
        async with Redis(server.url) as store:
            assert [c.status for c in await check(store, [OPEN])] == ["warn"]
            (found,) = await check(store, RateLimitSettings().policies().values())
    assert found.status == "fail"
    assert found.detail.endswith("refused meanwhile: auth")


async def test_without_redis_there_is_nothing_to_ask() -> None:
    (found,) = await check(None)
    assert (found.status, found.detail) == ("skip", "no Redis: each process limits by itself")
