"""The operator's story: start, stop, start again, and nothing is left behind."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path

import httpx
import pytest

from tests.serving import insight, served


def servers_of(home: Path) -> list[str]:
    """The command lines of every process that works below `home`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if str(home) in line:
                found.append(line)
    return found


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_stop_leaves_nothing_behind(home: Path, number: int, status: int) -> None:
    with served(home) as service:
        assert httpx.get(f"{service.url}/api/health").json()["status"] == "pass"
        assert service.find(r"(/welcome/\S+)")
        assert servers_of(home)
        assert service.stop(number) == status
    assert servers_of(home) == []


def test_a_second_start_keeps_what_was_there(home: Path) -> None:
    with served(home) as service:
        first = service.find(r"(/welcome/\S+)")
    with served(home, "--workers", "2") as service:
        assert "0001_initial" not in service.said
        assert service.find(r"(/welcome/\S+)") != first
        with httpx.Client(base_url=service.url) as client:
            assert all(client.get("/api/health").is_success for _ in range(10))
    assert servers_of(home) == []


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_killed_service_leaves_nothing_behind(home: Path, workers: str) -> None:
    with served(home, "--workers", workers) as service:
        service.process.kill()
        service.process.wait()
        deadline = time.monotonic() + 30
        while servers_of(home) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert servers_of(home) == []
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{service.url}/api/health")


def test_a_taken_port_is_said_before_anything_starts(home: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        environment = {"PATH": os.environ["PATH"], "HOME": str(home)}
        done = insight("serve", "--port", port, environment=environment, check=False)
    assert done.returncode == 6
    assert f"port {port}" in done.stderr
    assert not list(home.iterdir())


def test_an_unreachable_database_is_one_clear_line(home: Path) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "DATABASE_URL": "postgresql://u:hunter2@127.0.0.1:1/x",
    }
    done = insight("serve", "--port", "0", environment=environment, check=False)
    assert done.returncode == 6
    assert "hunter2" not in done.stderr
    assert "Traceback" not in done.stderr
