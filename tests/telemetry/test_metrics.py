from __future__ import annotations

import pytest

from insight_cloud.core.asgi import Scope
from insight_cloud.telemetry import History, Metrics, Recorder, anybody, bearer, nobody
from tests.telemetry.asgi import call


def metrics() -> Recorder:
    recorder = Recorder()
    recorder.counter("hit_total").add()
    return recorder


async def test_metrics_are_read_as_text_that_nobody_stores() -> None:
    answer = await call(Metrics(metrics(), allowed=anybody), "/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.body == b"# TYPE hit_total counter\nhit_total 1.0\n"
    head = await call(Metrics(metrics(), allowed=anybody), "/metrics", method="HEAD")
    assert (head.body, head.headers["content-length"]) == (b"", str(len(answer.body)))


async def test_openmetrics_is_given_to_who_asks() -> None:
    accept = {"accept": "application/openmetrics-text;version=1.0.0"}
    answer = await call(Metrics(metrics(), allowed=anybody), headers=accept)
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.body == b"# TYPE hit counter\nhit_total 1.0\n# EOF\n"


async def test_only_who_is_allowed_reads_them() -> None:
    app = Metrics(metrics(), allowed=bearer("t0ken-of-the-scraper"))
    assert (await call(app)).status == 403
    wrong = await call(app, headers={"authorization": "Bearer t0ken-of-the-scrapes"})
    assert (wrong.status, wrong.headers["content-type"]) == (403, "application/problem+json")
    right = await call(app, headers={"authorization": "Bearer t0ken-of-the-scraper"})
    assert right.status == 200
    odd = await call(app, headers={"authorization": "Bearer \xe9"})
    assert odd.status == 403
    assert (await call(Metrics(metrics(), allowed=nobody))).status == 403

    async def asks(scope: Scope) -> bool:
        return bool(scope["path"] == "/metrics")

    assert (await call(Metrics(metrics(), allowed=asks), "/metrics")).status == 200
    assert (await call(Metrics(metrics(), allowed=asks), "/other")).status == 403
    with pytest.raises(ValueError, match="empty token"):
        bearer("")


async def test_metrics_are_not_written() -> None:
    answer = await call(Metrics(metrics(), allowed=anybody), method="POST")
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


async def test_a_period_is_what_was_counted_in_it() -> None:
    now = [1_000_000.0]
    recorder = Recorder()
    hits, level = recorder.counter("hit_total"), recorder.gauge("level")
    history = History(recorder.read, clock=lambda: now[0])
    app = Metrics(recorder, allowed=anybody, history=history)
    for _ in range(10):
        history.tick()
        hits.add(amount=5)
        now[0] += 60
    level.set(7)
    answer = await call(app, "/metrics?seconds=120")
    assert b"hit_total 10.0\n" in answer.body
    assert b"level 7\n" in answer.body
    assert answer.headers["x-period-seconds"] == "120"
    assert b"hit_total 50.0\n" in (await call(app, "/metrics")).body
    for wrong in ("x", "0", "-1", "nan", "inf"):
        assert (await call(app, f"/metrics?seconds={wrong}")).status == 422
    without = await call(Metrics(recorder, allowed=anybody), "/metrics?seconds=120")
    assert "x-period-seconds" not in without.headers
