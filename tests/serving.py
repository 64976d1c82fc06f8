"""`insight serve` as a process of its own, for tests that need a real server."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

__all__ = ["Served", "insight", "served"]

_INSIGHT = [sys.executable, "-m", "insight_cloud.cli"]


class Served:
    """A running service: its URL, its process, and what it has said so far."""

    def __init__(self, process: subprocess.Popen[str], environment: dict[str, str]) -> None:
        self.process = process
        self.environment = environment
        self.lines: list[str] = []
        self._ready = threading.Event()
        threading.Thread(target=self._listen, daemon=True).start()
        self._ready.wait(60)
        self.url = self.find(r"Insight Cloud is on (\S+)")
        while not self._answers():
            assert process.poll() is None, self.said
            time.sleep(0.05)

    @property
    def said(self) -> str:
        """Everything on its standard error until now."""
        return "".join(self.lines)

    def find(self, pattern: str) -> str:
        """The first group of `pattern` in what it said."""
        match = re.search(pattern, self.said)
        assert match is not None, f"{pattern!r} is not in:\n{self.said}"
        return match[1]

    def run(self, *arguments: str, cwd: Path | None = None, given: str = "") -> str:
        """Run another `insight` command beside it; return its standard output."""
        done = insight(*arguments, environment=self.environment, cwd=cwd, given=given)
        return done.stdout.strip()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask it to stop and return its exit status."""
        self.process.send_signal(number)
        return self.process.wait(30)

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/api/health", timeout=20).is_success
        except httpx.TransportError:
            return False

    def _listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)
            if "Insight Cloud is on" in line:
                self._ready.set()
        self.process.stderr.close()
        self._ready.set()


def insight(
    *arguments: str,
    environment: dict[str, str],
    cwd: Path | None = None,
    check: bool = True,
    given: str = "",
) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    done = subprocess.run(
        [*_INSIGHT, *arguments],
        env=environment,
        cwd=cwd,
        input=given,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert not check or done.returncode == 0, done.stderr
    return done


@contextmanager
def served(home: Path, *arguments: str, **settings: str) -> Iterator[Served]:
    """Serve on a free port with `settings`, by default on an embedded server of its own."""
    given = {"INSIGHT_DATABASE__DIRECTORY": str(home / "postgres")} | settings
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8"} | given
    process = subprocess.Popen(
        [*_INSIGHT, "serve", "--port", "0", *arguments],
        env=environment,
        cwd=home,
        stderr=subprocess.PIPE,
        text=True,
    )
    service = Served(process, environment)
    try:
        yield service
    finally:
        if process.poll() is None:
            status = service.stop()
            assert status == 0, service.said
