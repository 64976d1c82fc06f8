"""Several worker processes of one service, as uvicorn starts them, read as one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

WORKERS = 3
_SERVICE = """
import os
from pathlib import Path
from insight_cloud.telemetry import Metrics, Recorder, Requests, Shared, anybody

recorder = Recorder(Shared(Path(os.environ["DIRECTORY"])))
metrics = Metrics(recorder, allowed=anybody)

async def page(scope, receive, send):
    headers = [(b"content-type", b"text/plain"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})

async def route(scope, receive, send):
    await (metrics if scope["path"] == "/metrics" else page)(scope, receive, send)

app = Requests(route, recorder, route=lambda scope: scope["path"])
"""


@dataclass(frozen=True, slots=True)
class Service:
    url: str
    directory: Path

    def pages(self, count: int) -> set[int]:
        """Ask for so many pages, each on a connection of its own; who answered."""
        return {int(httpx.get(f"{self.url}/page", timeout=30).text) for _ in range(count)}

    def counted(self) -> float:
        """Pages by `/metrics` of whichever process answers."""
        text = httpx.get(f"{self.url}/metrics", timeout=30).text
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == "http_request_duration_seconds_count"
            and sample.labels["route"] == "/page"
        )

    def wait_until(self, count: float) -> None:
        """A request is counted just after it was answered."""
        while self.counted() < count:
            time.sleep(0.01)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    (tmp_path / "service.py").write_text(_SERVICE)
    directory = tmp_path / "metrics"
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "uvicorn", "--lifespan", "off", "--no-access-log"),
                *("--workers", str(WORKERS), "--fd", str(listener.fileno()), "service:app"),
            ],
            cwd=tmp_path,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(tmp_path),
                "DIRECTORY": str(directory),
            },
            pass_fds=[listener.fileno()],
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        started = 0
        while started < WORKERS:
            line = process.stderr.readline()
            assert line, "the service ended"
            started += "Started server process" in line
        try:
            yield Service(f"http://127.0.0.1:{listener.getsockname()[1]}", directory)
        finally:
            process.terminate()
            process.communicate(timeout=30)


def test_every_worker_tells_the_sum_and_a_killed_one_loses_nothing(service: Service) -> None:
    answered, asked = set[int](), 0
    while len(answered) < 2:  # the kernel spreads the connections as it likes
        asked += 20
        answered |= service.pages(20)
    service.wait_until(asked)
    assert [service.counted() for _ in range(5)] == [asked] * 5
    os.kill(answered.pop(), signal.SIGKILL)
    assert service.counted() == asked
    service.pages(20)
    service.wait_until(asked + 20)
    assert service.counted() == asked + 20
