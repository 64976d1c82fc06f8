from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from insight_cloud.core.asgi import Scope
from insight_cloud.core.errors import SettingsError
from insight_cloud.telemetry import Recorder, Requests, azure
from tests.telemetry.asgi import answering, call
from tests.telemetry.receiver import Receiver, accepted, gone, receiving

KEY = "12345678-1234-5678-abcd-12345678abcd"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving(accepted) as receiver:
        yield receiver


def connection(receiver: Receiver) -> str:
    return f"InstrumentationKey={KEY};IngestionEndpoint={receiver.url}/"


def items(receiver: Receiver) -> list[Any]:
    assert {one.path for one in receiver.received} == {"/v2.1/track"}
    return [item for one in receiver.received for item in json.loads(one.body)]


async def test_a_request_arrives_at_application_insights(receiver: Receiver) -> None:
    traces = azure.traces(connection(receiver), service="shop", version="1.2.3", share=1.0)
    app = Requests(traces.middleware(answering(200, route="/users/{id}")), Recorder())
    answer = await call(app, "/users/7?token=s3cret")
    traces.close()
    requests = [item for item in items(receiver) if item["data"]["baseType"] == "RequestData"]
    (item,) = requests
    data = item["data"]["baseData"]
    assert item["iKey"] == KEY
    assert item["tags"]["ai.operation.id"] == answer.headers["x-request-id"]
    assert item["tags"]["ai.operation.name"] == "GET /users/{id}"
    assert item["tags"]["ai.cloud.role"] == "shop"
    assert (data["responseCode"], data["success"]) == ("200", True)
    assert data["properties"]["request.id"] == answer.headers["x-request-id"]
    assert "s3cret" not in json.dumps(items(receiver))


async def test_an_exception_arrives_without_secrets(receiver: Receiver) -> None:
    async def broken(scope: Scope, receive: Any, send: Any) -> None:
        raise OSError("no route to redis://:s3cret@q")

    traces = azure.traces(connection(receiver), service="shop", share=1.0)
    with pytest.raises(OSError, match="no route"):
        await call(traces.middleware(broken))
    traces.close()
    kinds = {item["data"]["baseType"]: item["data"]["baseData"] for item in items(receiver)}
    assert kinds["RequestData"]["success"] is False
    (exception,) = kinds["ExceptionData"]["exceptions"]
    assert exception["typeName"] == "OSError"
    assert exception["message"] == "no route to redis://[redacted]@q"
    assert "s3cret" not in json.dumps(items(receiver))


async def test_an_endpoint_that_hangs_holds_no_request_up(receiver: Receiver) -> None:
    receiver.hang = True
    traces = azure.traces(connection(receiver), service="shop", share=1.0, every_seconds=0.001)
    for _ in range(200):
        assert (await call(traces.middleware(answering()))).status == 200
    traces.close(0.01)
    receiver.ended.set()
    gone("OtelBatchSpanRecordProcessor")


_ALONE = f"""
import os, threading
from insight_cloud.telemetry import azure

os.environ["APPLICATIONINSIGHTS_SDKSTATS_DISABLED"] = "TRUE"
azure.traces("InstrumentationKey={KEY};IngestionEndpoint=http://127.0.0.1:9/", service="shop")
print(*sorted(thread.name for thread in threading.enumerate()))
print(*sorted(n + "=" + v for n, v in os.environ.items() if n.startswith("APPLICATIONINSIGHTS")))
"""


def test_the_exporter_reports_to_nobody_else() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _ALONE], capture_output=True, text=True, timeout=60, check=True
    )
    threads, variables = done.stdout.splitlines()
    assert threads == "MainThread OtelBatchSpanRecordProcessor"
    assert variables.split() == [
        "APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED=true",
        "APPLICATIONINSIGHTS_SDKSTATS_DISABLED=TRUE",  # as it was
        "APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL=true",
    ]


def test_a_wrong_connection_string_is_refused_without_repeating_it() -> None:
    for text in ("InstrumentationKey=s3cret", "s3cret", ""):
        with pytest.raises(SettingsError, match="connection string") as caught:
            azure.traces(text, service="shop")
        assert "s3cret" not in str(caught.value)


def test_without_the_extra_its_name_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "azure.monitor.opentelemetry.exporter", None)
    with pytest.raises(SettingsError, match=r"insight-cloud\[azure\]"):
        azure.traces(f"InstrumentationKey={KEY}", service="shop")
