"""What statements cost: calls, time, rows, and a warning in the log for the slow ones.

Apart, because it works on every server, also where `pg_stat_statements` does not exist.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sized
from dataclasses import dataclass, field
from typing import Any

__all__ = ["OTHERS", "Recorder", "SlowQueries", "Statement", "shape"]

logger = logging.getLogger("database.slow_query")

OTHERS = "(others)"
"""The entry that counts every statement beyond the recorder's limit."""


@dataclass(frozen=True, slots=True)
class SlowQueries:
    """From how many seconds on a statement is logged as a warning, and as an error."""

    warn_seconds: float = 1.0
    error_seconds: float = 5.0


@dataclass(frozen=True, slots=True)
class Statement:
    """What one statement cost so far, in all calls of this process."""

    name: str
    calls: int
    errors: int
    rows: int
    total_seconds: float
    max_seconds: float
    slowest_parameters: dict[str, str]
    """The shapes, never the values, of the slowest call's parameters."""

    @property
    def mean_seconds(self) -> float:
        """Seconds a call took on average."""
        return self.total_seconds / self.calls


@dataclass(slots=True)
class _Entry:
    calls: int = 0
    errors: int = 0
    rows: int = 0
    total_seconds: float = 0.0
    max_seconds: float = -1.0
    shapes: dict[str, str] = field(default_factory=dict)


class Recorder:
    """Counts statements by name, at most `limit` of them; further ones share one entry.

    A call costs a dictionary look-up and four additions. The parameters' shapes are taken only
    when a call is the slowest so far of its name.
    """

    def __init__(self, *, limit: int = 500, slow: SlowQueries = SlowQueries()) -> None:
        self._limit = limit
        self._slow = slow
        self._entries: dict[str, _Entry] = {}
        self.slow = 0
        """Statements that took at least as long as is a warning."""
        self.very_slow = 0
        """Those of them that took as long as is an error."""

    def record(
        self,
        name: str,
        *,
        seconds: float,
        rows: int,
        parameters: Mapping[str, Any],
        failed: bool = False,
    ) -> None:
        """Count one call of `name`. `rows` is negative where the server gave no number."""
        entry = self._entries.get(name) or self._add(name)
        entry.calls += 1
        entry.total_seconds += seconds
        if rows > 0:
            entry.rows += rows
        if failed:
            entry.errors += 1
        if seconds > entry.max_seconds:
            entry.max_seconds = seconds
            entry.shapes = {key: shape(value) for key, value in parameters.items()}
        if seconds >= self._slow.warn_seconds:
            self.slow += 1
            self.very_slow += seconds >= self._slow.error_seconds
            self._log(name, seconds, rows, parameters)

    def statements(self) -> tuple[Statement, ...]:
        """What was counted, the most expensive in total first."""
        found = (
            Statement(
                name,
                entry.calls,
                entry.errors,
                entry.rows,
                entry.total_seconds,
                entry.max_seconds,
                dict(entry.shapes),
            )
            for name, entry in self._entries.items()
        )
        return tuple(sorted(found, key=lambda statement: -statement.total_seconds))

    def clear(self) -> None:
        """Begin to count anew."""
        self._entries.clear()

    def _add(self, name: str) -> _Entry:
        if len(self._entries) >= self._limit:
            name = OTHERS
        return self._entries.setdefault(name, _Entry())

    def _log(self, name: str, seconds: float, rows: int, parameters: Mapping[str, Any]) -> None:
        level = logging.ERROR if seconds >= self._slow.error_seconds else logging.WARNING
        shapes = {key: shape(value) for key, value in parameters.items()}
        logger.log(
            level,
            "%s took %.3f s, %d rows, parameters %s",
            name,
            seconds,
            rows,
            shapes,
            extra={"statement": name, "seconds": seconds, "rows": rows, "parameters": shapes},
        )


def shape(value: Any) -> str:
    """The type of `value` and its length: enough to understand a plan, nothing to leak."""
    kind = type(value).__name__
    return f"{kind}[{len(value)}]" if isinstance(value, Sized) else kind
