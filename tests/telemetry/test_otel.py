from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from insight_cloud.core.asgi import App, Scope
from insight_cloud.core.errors import SettingsError
from insight_cloud.telemetry import Recorder, Requests, otel
from insight_cloud.telemetry.tracing import Traces
from tests.telemetry.asgi import answering, call
from tests.telemetry.receiver import Receiver, gone, receiving

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def trusted(_: Scope) -> bool:
    return True


@contextmanager
def collector(**options: Any) -> Iterator[tuple[Receiver, Traces]]:
    with receiving(lambda _: b"") as receiver:
        traces = otel.traces(receiver.url, **{"service": "shop", "share": 1.0, **options})
        yield receiver, traces
        traces.close()


def spans(receiver: Receiver) -> list[Any]:
    found = []
    for one in receiver.received:
        assert one.path == "/v1/traces"
        assert one.headers["content-type"] == "application/x-protobuf"
        for resource in ExportTraceServiceRequest.FromString(one.body).resource_spans:
            for scope in resource.scope_spans:
                found += [(resource.resource, span) for span in scope.spans]
    return found


def attributes(thing: Any) -> dict[str, Any]:
    return {one.key: one.value.int_value or one.value.string_value for one in thing.attributes}


async def test_a_trace_arrives_at_a_collector_with_the_requests_id() -> None:
    with collector(version="1.2.3", headers={"x-key": "k"}) as (receiver, traces):
        app = Requests(traces.middleware(answering(201, route="/users/{id}")), Recorder())
        answer = await call(app, "/users/7?token=s3cret", method="POST")
        traces.close()
        ((resource, span),) = spans(receiver)
    identity = answer.headers["x-request-id"]
    assert receiver.received[0].headers["x-key"] == "k"
    assert span.trace_id.hex() == identity
    assert (span.name, span.kind) == ("POST /users/{id}", span.SPAN_KIND_SERVER)
    assert attributes(span) == {
        "http.request.method": "POST",
        "http.route": "/users/{id}",
        "http.response.status_code": 201,
        "request.id": identity,
    }
    assert span.end_time_unix_nano > span.start_time_unix_nano > 1_700_000_000 * 10**9
    assert attributes(resource)["service.name"] == "shop"
    assert attributes(resource)["service.version"] == "1.2.3"
    assert b"s3cret" not in receiver.received[0].body


async def test_a_failed_request_has_its_exception_without_secrets() -> None:
    async def broken(scope: Scope, receive: Any, send: Any) -> None:
        raise OSError("no route to redis://:s3cret@q")

    with collector() as (receiver, traces):
        with pytest.raises(OSError, match="no route"):
            await call(traces.middleware(broken))
        traces.close()
        ((_, span),) = spans(receiver)
    (event,) = span.events
    assert attributes(event)["exception.type"] == "OSError"
    assert attributes(event)["exception.message"] == "no route to redis://[redacted]@q"
    assert "in broken" in attributes(event)["exception.stacktrace"]
    assert span.status.code == span.status.STATUS_CODE_ERROR
    assert attributes(span)["http.response.status_code"] == 500
    assert b"s3cret" not in receiver.received[0].body


async def test_an_answer_of_500_is_an_error_and_404_is_none() -> None:
    with collector() as (receiver, traces):
        for status in (404, 503):
            await call(traces.middleware(answering(status)))
        traces.close()
        codes = [span.status.code for _, span in spans(receiver)]
    assert codes == [0, 2]


@pytest.mark.parametrize(
    ("flags", "believed", "count"), [("01", True, 1), ("00", True, 0), ("00", False, 1)]
)
async def test_a_trusted_callers_trace_and_its_decision_are_taken_over(
    flags: str,
    believed: bool,  # noqa: FBT001
    count: int,
) -> None:
    with collector(trusted=trusted if believed else None) as (receiver, traces):
        given = {"traceparent": f"00-{TRACE}-{PARENT}-{flags}"}
        await call(traces.middleware(answering()), headers=given)
        traces.close()
        found = spans(receiver)
    assert len(found) == count
    if believed and found:
        assert found[0][1].trace_id.hex() == TRACE
        assert found[0][1].parent_span_id.hex() == PARENT
    elif found:
        assert found[0][1].trace_id.hex() != TRACE


async def test_chance_decides_by_the_share(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter((0.24, 0.25, 0.9, 0.0))
    monkeypatch.setattr("insight_cloud.telemetry.tracing.random.random", lambda: next(drawn))
    with collector(share=0.25) as (receiver, traces):
        for _ in range(4):
            await call(traces.middleware(answering()))
        traces.close()
        assert len(spans(receiver)) == 2


async def test_what_is_no_http_request_passes() -> None:
    with collector() as (receiver, traces):
        await call(traces.middleware(answering()), scope={"type": "lifespan"})
        traces.close()
        assert receiver.received == []


@pytest.mark.parametrize("away", ["closed", "hanging"])
async def test_a_collector_that_is_away_holds_no_request_up(away: str) -> None:
    with receiving() as receiver, socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # taken, and nobody listens
        receiver.hang = True
        port = unused.getsockname()[1] if away == "closed" else receiver.port
        url = f"http://127.0.0.1:{port}"
        traces = otel.traces(url, service="shop", share=1.0, every_seconds=0.001)
        app: App = traces.middleware(answering())
        async with asyncio.timeout(30):  # one wait for the exporter would take longer than all
            for _ in range(5000):
                assert (await call(app)).status == 200
        traces.close(0.01)
        receiver.ended.set()
    gone("OtelBatchSpanRecordProcessor")


def test_an_endpoint_that_is_none_is_refused() -> None:
    for text in ("collector:4317", "grpc://ada:s3cret@collector", ""):
        with pytest.raises(SettingsError, match="OTLP over HTTP") as caught:
            otel.traces(text, service="shop")
        assert "s3cret" not in str(caught.value)


def test_without_the_extra_its_name_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SettingsError, match=r"insight-cloud\[otel\]"):
        otel.traces("http://127.0.0.1:4318", service="shop")


def test_headers_are_read_as_the_specification_writes_them() -> None:
    assert otel.parse_headers("Api-Key=a%20b, x=1=2,") == {"api-key": "a b", "x": "1=2"}
    assert otel.parse_headers("") == {}
    with pytest.raises(SettingsError, match="header 2") as caught:
        otel.parse_headers("a=b,s3cret")
    assert "s3cret" not in str(caught.value)
