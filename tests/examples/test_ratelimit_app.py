"""The sixth attempt to sign in is 429, from four worker processes, whatever its headers say."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.redis import redis_server

EXAMPLES = Path(__file__).parents[2] / "examples"
WORKERS = 4


@pytest.fixture
def url() -> Iterator[str]:
    with redis_server() as server, socket.socket() as listener:
        # All workers accept on one socket, so the kernel spreads the connections over them.
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "uvicorn", "--workers", str(WORKERS)),
                *("--no-proxy-headers", "--fd", str(listener.fileno()), "ratelimit_app:app"),
            ],
            cwd=EXAMPLES,
            env={"PATH": os.environ["PATH"], "REDIS_URL": server.url, "PYTHONPATH": str(EXAMPLES)},
            pass_fds=[listener.fileno()],
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        started = 0
        while started < WORKERS:
            line = process.stderr.readline()
            assert line, "the service ended"
            started += "Application startup complete" in line
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            process.terminate()
            process.communicate(timeout=30)


def test_the_sixth_attempt_is_refused_by_every_worker_whatever_the_headers_say(url: str) -> None:
    began = time.monotonic()
    answers = []
    for number in range(40):  # a new connection each time, so that every worker is met
        forged = {
            "X-Forwarded-For": f"198.51.100.{number}",
            "CF-Connecting-IP": f"198.51.100.{number}",
            "Forwarded": f"for=198.51.100.{number}",
        }
        answers.append(httpx.post(url, headers=forged if number % 2 else {}))
    passed = time.monotonic() - began
    assert [answer.status_code for answer in answers] == [401] * 5 + [429] * 35
    for answer in answers[5:]:
        assert 900 - passed - 1 <= int(answer.headers["retry-after"]) <= 900
        assert answer.json()["violated-policies"] == ["auth"]
    assert answers[4].headers["ratelimit"].startswith('"auth";r=0;t=')
