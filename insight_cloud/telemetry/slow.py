"""The last slow requests, of all processes, for the operator's page and the log."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from insight_cloud.telemetry.ring import Ring

__all__ = ["Slow", "SlowRequest"]

log = logging.getLogger("insight.http")


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
            without it each process has its own.
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
        self._clock = clock
        self._ring = Ring(SlowRequest, keep=keep, file=file)

    def add(self, request_id: str, method: str, route: str, status: int, seconds: float) -> None:
        """Remember a request that took at least `warn_seconds`."""
        at = datetime.fromtimestamp(self._clock(), UTC)
        self._ring.add(SlowRequest(at, request_id, method, route[:200], status, seconds))
        level = logging.ERROR if seconds >= self._error_seconds else logging.WARNING
        extra = {"method": method, "route": route, "status": status, "seconds": round(seconds, 3)}
        log.log(level, "http.slow: %s %s took %.3f s", method, route, seconds, extra=extra)

    def requests(self) -> tuple[SlowRequest, ...]:
        """The remembered ones, the newest first."""
        return self._ring.entries()
