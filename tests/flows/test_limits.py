"""Signing in at a service of four processes: limited exactly, whatever headers are forged."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.flows.conftest import PASSWORD
from tests.redis import RedisServer, redis_server_fixture
from tests.serving import served

__all__ = ["redis_server_fixture"]

TOKEN = "a-token-for-the-scraper"
OURS = {"sec-fetch-site": "same-origin"}


def attempt(url: str, number: int) -> httpx.Response:
    """A new connection each time, so that any of the processes may answer."""
    forged = f"198.51.100.{number}"
    headers = OURS | {"x-forwarded-for": forged, "cf-connecting-ip": forged}
    form = {"email": f"nobody{number}@example.org", "password": "wrong"}
    return httpx.post(f"{url}/sign-in", data=form, headers=headers, timeout=30)


def refused_requests(url: str) -> float:
    """How many attempts all processes together have counted as 4xx."""
    answer = httpx.get(f"{url}/metrics", headers={"authorization": f"Bearer {TOKEN}"})
    labels = {"method": "POST", "route": "/sign-in", "status": "4xx"}
    other = labels | {"route": "other"}  # refused before a route was looked up
    return sum(
        sample.value
        for family in text_string_to_metric_families(answer.raise_for_status().text)
        for sample in family.samples
        if sample.name == "http_request_duration_seconds_count" and sample.labels in (labels, other)
    )


def test_five_attempts_in_all_processes_together(home: Path, redis_server: RedisServer) -> None:
    redis_server.command("FLUSHALL")
    environment = {"REDIS_URL": redis_server.url, "INSIGHT_TELEMETRY__METRICS_TOKEN": TOKEN}
    with served(home, "--workers", "4", **environment) as service:
        service.run("users", "add", "ada@example.org", "--password-stdin", given=PASSWORD)
        with ThreadPoolExecutor(12) as pool:
            answers = list(pool.map(lambda number: attempt(service.url, number), range(24)))
        assert sorted(answer.status_code for answer in answers) == [422] * 5 + [429] * 19
        for answer in answers:
            if answer.status_code == 429:
                assert 880 <= int(answer.headers["retry-after"]) <= 900
                assert answer.headers["ratelimit-policy"] == '"auth";q=5;w=900'
        right = httpx.post(
            f"{service.url}/sign-in",
            data={"email": "ada@example.org", "password": PASSWORD},
            headers=OURS,
        )
        assert right.status_code == 429
        assert refused_requests(service.url) == 25
        shown = service.run("ratelimit", "show", "ip:127.0.0.1")
        assert "auth" in shown
        service.run("ratelimit", "reset", "ip:127.0.0.1")
        assert "4 of 5 left" not in service.run("ratelimit", "show", "ip:127.0.0.1")


def test_without_redis_several_processes_say_what_that_means(home: Path) -> None:
    with served(home, "--workers", "2") as service:
        assert "each of the 2 processes counts by itself" in service.said
