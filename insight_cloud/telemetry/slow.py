"""The last slow requests, of all processes, for the operator's page and the log."""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

__all__ = ["Slow", "SlowRequest"]

log = logging.getLogger("insight.http")

_LINE_BYTES = 512
"""More than a line takes; twice the lines that are kept fit into the file before it is cut."""


@dataclass(frozen=True, slots=True)
class SlowRequest:
    """One request that took long."""

    at: datetime
    request_id: str
    method: str
    route: str
    status: int
    seconds: float


class Slow:
    """Remembers the last `keep` slow requests and logs each as `http.slow`.

    Args:
        warn_seconds: from how many seconds on a request is slow.
        error_seconds: from how many on it is logged as an error.
        keep: how many are remembered.
        file: where several processes remember them together, best in memory, beside `Shared`;
            without it each process has its own. A file that cannot be written loses the entry:
            watching must not break what is watched.
        clock: Unix seconds.
    """

    def __init__(
        self,
        *,
        warn_seconds: float = 1.0,
        error_seconds: float = 5.0,
        keep: int = 100,
        file: Path | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.warn_seconds = warn_seconds
        self._error_seconds = error_seconds
        self._keep = keep
        self._file = file
        self._clock = clock
        self._kept: deque[SlowRequest] = deque(maxlen=keep)

    def add(self, request_id: str, method: str, route: str, status: int, seconds: float) -> None:
        """Remember a request that took at least `warn_seconds`."""
        at = datetime.fromtimestamp(self._clock(), UTC)
        request = SlowRequest(at, request_id, method, route[:200], status, seconds)
        if self._file is None:
            self._kept.append(request)
        else:
            _append(self._file, msgspec.json.encode(request) + b"\n", self._keep)
        level = logging.ERROR if seconds >= self._error_seconds else logging.WARNING
        extra = {"method": method, "route": route, "status": status, "seconds": round(seconds, 3)}
        log.log(level, "http.slow: %s %s took %.3f s", method, route, seconds, extra=extra)

    def requests(self) -> tuple[SlowRequest, ...]:
        """The remembered ones, the newest first."""
        if self._file is None:
            return tuple(reversed(self._kept))
        return tuple(reversed(_read(self._file, self._keep)))


def _append(path: Path, line: bytes, keep: int) -> None:
    """Add a line; when there are many more than are kept, only these stay."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file).st_size > 2 * keep * _LINE_BYTES:
            lines = path.read_bytes().splitlines(keepends=True)[-keep:]
            os.ftruncate(file, 0)
            line = b"".join(lines) + line
        os.write(file, line)
    except OSError:
        return
    finally:
        os.close(file)


def _read(path: Path, keep: int) -> list[SlowRequest]:
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH)  # not between cutting and writing
            content = file.read()
    except OSError:
        return []
    complete = content[: content.rfind(b"\n") + 1]  # the last may be half written
    found = []
    for line in complete.splitlines()[-keep:]:
        try:
            found.append(msgspec.json.decode(line, type=SlowRequest))
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
    return found
