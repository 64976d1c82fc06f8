"""An example as its reader runs it: uvicorn, in the folder of examples."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

__all__ = ["serving"]

EXAMPLES = Path(__file__).parents[2] / "examples"


@contextmanager
def serving(name: str, **environment: str) -> Iterator[str]:
    """Serve the application of the example `name`, and say where."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "uvicorn", "--log-level", "warning"),
                *("--fd", str(listener.fileno()), f"{name}:app"),
            ],
            cwd=EXAMPLES,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(EXAMPLES)} | environment,
            pass_fds=[listener.fileno()],
        )
        try:
            _wait(process, url)
            yield url
        finally:
            process.terminate()
            assert process.wait(30) in {0, -signal.SIGTERM}


def _wait(process: subprocess.Popen[bytes], url: str) -> None:
    limit = time.monotonic() + 60
    while True:
        assert process.poll() is None, "the example does not start"
        try:
            httpx.get(url, timeout=30)
        except httpx.TransportError:
            assert time.monotonic() < limit
            time.sleep(0.05)
        else:
            return
