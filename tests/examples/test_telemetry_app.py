"""The example as its readers run it: a server, pages, a scraper, a probe, a beacon."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

EXAMPLES = Path(__file__).parents[2] / "examples"
TOKEN = "a-long-random-word"


@dataclass(frozen=True, slots=True)
class Example:
    url: str
    process: subprocess.Popen[str]

    def stop(self) -> list[Any]:
        """End it; what it has logged."""
        self.process.terminate()
        return [json.loads(line) for line in self.process.communicate(timeout=30)[1].splitlines()]


@pytest.fixture
def example() -> Iterator[Example]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "uvicorn", "--no-access-log", "--lifespan", "off"),
                *("--fd", str(listener.fileno()), "telemetry_app:app"),
            ],
            cwd=EXAMPLES,
            env={"PATH": os.environ["PATH"], "METRICS_TOKEN": TOKEN, "PYTHONPATH": str(EXAMPLES)},
            pass_fds=[listener.fileno()],
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield Example(f"http://127.0.0.1:{listener.getsockname()[1]}", process)
        finally:
            process.kill()
            process.communicate()


def test_the_example_tells_everything_about_itself(example: Example) -> None:
    with httpx.Client(base_url=example.url, timeout=30) as client:
        shown = client.get("/")
        assert "<script src=" in shown.text
        assert client.get("/vitals").headers["content-type"].startswith("text/javascript")
        beacon = {"route": "/", "device": "phone", "lcp": 900}
        own = {"origin": example.url}
        assert client.post("/vitals", json=beacon, headers=own).status_code == 204
        health = client.get("/readyz?verbose")
        assert health.status_code == 200
        assert list(health.json()["checks"]) == ["disk:free"]
        assert client.get("/metrics").status_code == 403
        text = client.get("/metrics", headers={"authorization": f"Bearer {TOKEN}"}).text
    samples = {
        (sample.name, sample.labels.get("route")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples["http_request_duration_seconds_count", "/"] == 1
    assert samples["web_vital_lcp_seconds_count", "/"] == 1
    assert samples["process_resident_memory_bytes", None] > 0
    logged = example.stop()
    (line,) = [line for line in logged if line["logger"] == "shop.page"]
    assert (line["event"], line["message"]) == ("page.shown", "/")
    assert line["request_id"] == shown.headers["x-request-id"]
