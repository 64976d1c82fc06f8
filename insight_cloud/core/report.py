"""A report: what was found. Health, verification, launch, certificates and backups all speak it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Literal

__all__ = ["Check", "Report", "Status", "Stopwatch", "stopwatch"]

Status = Literal["pass", "warn", "fail", "skip"]
_WORST_FIRST: tuple[Status, ...] = ("fail", "warn", "pass", "skip")


@dataclass(frozen=True, slots=True)
class Check:
    """One question and its answer. `skip` says in `detail` why it was not asked."""

    name: str
    status: Status
    detail: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Report:
    """The checks of one subject, in the order in which they were made."""

    checks: tuple[Check, ...]

    @classmethod
    def of(cls, checks: Iterable[Check]) -> Report:
        """Collect `checks`."""
        return cls(tuple(checks))

    @property
    def status(self) -> Status:
        """The worst status; `skip` only when nothing was checked at all."""
        found = {check.status for check in self.checks}
        return next((status for status in _WORST_FIRST if status in found), "skip")

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if check.status == "fail")

    def as_dict(self) -> dict[str, Any]:
        """The same data for `--json`."""
        return {"status": self.status, "checks": [asdict(check) for check in self.checks]}


class Stopwatch:
    """Seconds since construction until `stop`, by the monotonic clock."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._stop: float | None = None

    def stop(self) -> None:
        """Keep the present reading."""
        self._stop = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Elapsed seconds, running until stopped."""
        return (time.perf_counter() if self._stop is None else self._stop) - self._start


@contextmanager
def stopwatch() -> Iterator[Stopwatch]:
    """Measure the body; `seconds` of what the `with` statement binds is its duration."""
    watch = Stopwatch()
    try:
        yield watch
    finally:
        watch.stop()
