from __future__ import annotations

import asyncio
import logging
import re
from typing import Any

import pytest

from insight_cloud.core.asgi import Scope
from insight_cloud.telemetry import (
    REQUEST_ID,
    REQUESTS,
    Health,
    Metrics,
    Recorder,
    Requests,
    Slow,
    Vitals,
    anybody,
    request_id,
)
from tests.telemetry.asgi import answering, call

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def trusted(_: Scope) -> bool:
    return True


def counted(recorder: Recorder) -> dict[tuple[str, ...], float]:
    return {
        tuple(value for _, value in series.labels): series.count
        for series in recorder.read()
        if series.name == REQUESTS
    }


async def test_each_request_has_an_id_of_its_own_everywhere() -> None:
    seen = []

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        seen.append((scope[REQUEST_ID], request_id.get()))
        await answering()(scope, receive, send)

    requests = Requests(app, Recorder())
    answers = [await call(requests) for _ in range(3)]
    ids = [answer.headers["x-request-id"] for answer in answers]
    assert seen == [(one, one) for one in ids]
    assert len(set(ids)) == 3
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in ids)
    assert request_id.get() == ""


@pytest.mark.parametrize(
    ("name", "given", "taken"),
    [
        ("x-request-id", "deploy-2026.11_25", "deploy-2026.11_25"),
        ("x-request-id", "short", None),
        ("x-request-id", "a" * 65, None),
        ("x-request-id", "forged\nline of log", None),
        ("x-request-id", "-leading-dash", None),
        ("traceparent", f"00-{TRACE}-00f067aa0ba902b7-01", TRACE),
        ("traceparent", f"01-{TRACE}-00f067aa0ba902b7-01-more", TRACE),
        ("traceparent", f"00-{'0' * 32}-00f067aa0ba902b7-01", None),
        ("traceparent", f"00-{TRACE.upper()}-00f067aa0ba902b7-01", None),
    ],
)
async def test_a_well_formed_id_is_taken_over_only_from_who_is_trusted(
    name: str, given: str, taken: str | None
) -> None:
    believing = Requests(answering(), Recorder(), trusted=trusted)
    doubting = Requests(answering(), Recorder())
    answer = await call(believing, headers={name: given})
    if taken is None:
        assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])
        assert answer.headers["x-request-id"] != given
    else:
        assert answer.headers["x-request-id"] == taken
    assert (await call(doubting, headers={name: given})).headers["x-request-id"] != taken


async def test_requests_are_counted_by_method_route_and_status_class() -> None:
    recorder = Recorder()
    for status, route in ((200, "/users/{id}"), (204, "/users/{id}"), (404, None), (503, "/x")):
        await call(Requests(answering(status, route=route), recorder), "/users/7")
    await call(Requests(answering(200, route="/x"), recorder), method="BREW")
    assert counted(recorder) == {
        ("GET", "/users/{id}", "2xx"): 2,
        ("GET", "/x", "5xx"): 1,
        ("GET", "other", "4xx"): 1,
        ("other", "/x", "2xx"): 1,
    }


async def test_routes_beyond_the_limit_are_one() -> None:
    recorder = Recorder()
    requests = Requests(answering(), recorder, route=lambda scope: str(scope["path"]), routes=2)
    for number in range(50):
        await call(requests, f"/{number}")
    assert counted(recorder) == {
        ("GET", "/0", "2xx"): 1,
        ("GET", "/1", "2xx"): 1,
        ("GET", "other", "2xx"): 48,
    }
    assert (len(requests._routes), len(requests._labels)) == (2, 3)


async def test_a_raised_error_counts_as_500_and_leaves_its_id_to_the_servers_log() -> None:
    recorder = Recorder()
    found = []

    async def broken(scope: Scope, receive: Any, send: Any) -> None:
        raise OSError("broken")

    async def server() -> None:
        with pytest.raises(OSError, match="broken"):
            await call(Requests(broken, recorder))
        found.append(request_id.get())

    await asyncio.create_task(server())
    assert counted(recorder) == {("GET", "other", "5xx"): 1}
    assert re.fullmatch("[0-9a-f]{32}", found[0])


async def test_a_request_that_nobody_waited_for_counts_as_none() -> None:
    recorder = Recorder()

    async def silent(scope: Scope, receive: Any, send: Any) -> None:
        await asyncio.sleep(60)

    task = asyncio.create_task(call(Requests(silent, recorder)))
    await asyncio.sleep(0)
    assert [s.values[0] for s in recorder.read() if s.name == "http_requests_in_flight"] == [1]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert counted(recorder) == {("GET", "other", "none"): 1}
    assert [s.values[0] for s in recorder.read() if s.name == "http_requests_in_flight"] == [0]


async def test_slow_requests_are_kept_and_logged_without_their_path(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def slowly(scope: Scope, receive: Any, send: Any) -> None:
        await asyncio.sleep(0.02)
        await answering(route="/reset/{token}")(scope, receive, send)

    slow = Slow(warn_seconds=0.01, error_seconds=60, clock=lambda: 0.0)
    answer = await call(Requests(slowly, Recorder(), slow=slow), "/reset/s3cret?a=s3cret")
    (kept,) = slow.requests()
    assert (kept.method, kept.route, kept.status) == ("GET", "/reset/{token}", 200)
    assert kept.seconds >= 0.01
    assert kept.request_id == answer.headers["x-request-id"]
    assert kept.at.isoformat() == "1970-01-01T00:00:00+00:00"
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith("http.slow: GET /reset/{token} took 0.0")
    assert "s3cret" not in str(vars(record))


async def test_an_access_line_for_each_request_on_demand(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        await call(Requests(answering(route="/"), Recorder()))
        assert caplog.records == []
        await call(Requests(answering(201, route="/"), Recorder(), access_log=True), "/?q=1")
    (record,) = caplog.records
    assert (record.message, record.__dict__["status"]) == ("http.request", 201)
    assert record.__dict__["seconds"] >= 0


async def test_websockets_have_an_id_and_no_time_and_lifespan_passes() -> None:
    seen: list[str] = []

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        seen.append(scope["type"] + ":" + request_id.get()[:0])
        assert (REQUEST_ID in scope) == (scope["type"] == "websocket")

    recorder = Recorder()
    for kind in ("websocket", "lifespan"):
        await call(Requests(app, recorder), scope={"type": kind})
    assert seen == ["websocket:", "lifespan:"]
    assert counted(recorder) == {}


async def test_the_route_of_starlette_and_fastapi_is_found() -> None:
    import fastapi
    import httpx

    api = fastapi.FastAPI()

    @api.get("/projects/{slug}")
    async def project(slug: str) -> str:
        return slug

    recorder = Recorder()
    transport = httpx.ASGITransport(Requests(api, recorder))
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        assert (await client.get("/projects/one")).status_code == 200
        assert (await client.get("/projects/two/three")).status_code == 404
    assert counted(recorder) == {
        ("GET", "/projects/{slug}", "2xx"): 1,
        ("GET", "other", "4xx"): 1,
    }


async def test_our_own_endpoints_tell_their_route_without_a_router() -> None:
    recorder = Recorder()
    vitals = Vitals(recorder, routes=())
    for app, path in (
        (Metrics(recorder, allowed=anybody), "/metrics"),
        (vitals, "/vitals"),
        (Health(), "/livez"),
        (Health(), "/api/health"),
        (Health(app=answering()), "/unknown"),
    ):
        await call(Requests(app, recorder), path)
    assert set(counted(recorder)) == {
        ("GET", "/metrics", "2xx"),
        ("GET", "/vitals", "2xx"),
        ("GET", "/livez", "2xx"),
        ("GET", "/api/health", "2xx"),
        ("GET", "other", "2xx"),
    }
