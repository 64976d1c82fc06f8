"""The last errors that were logged, for the operator's page: who has no log search finds them."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from insight_cloud.telemetry.logs import redact, request_id
from insight_cloud.telemetry.ring import Ring

__all__ = ["LastErrors", "LoggedError"]

_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class LoggedError:
    """One error: when, from where, what, in which request."""

    at: datetime
    logger: str
    text: str
    request_id: str


class LastErrors(logging.Handler):
    """Remembers the last `keep` records of level ERROR and above, without secrets.

    Add it to the root logger for as long as the process serves. With a `file`, beside
    `multiprocess.Shared`, several processes remember together.
    """

    def __init__(self, *, keep: int = 50, file: Path | None = None) -> None:
        super().__init__(logging.ERROR)
        self._ring = Ring(LoggedError, keep=keep, file=file)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one record."""
        text = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            text = f"{text}: {type(error).__name__}: {error}"
        at = datetime.fromtimestamp(record.created, UTC)
        shown = redact(text[: 10 * _CHARACTERS])[:_CHARACTERS]
        self._ring.add(LoggedError(at, record.name, shown, request_id.get()))

    def errors(self) -> tuple[LoggedError, ...]:
        """The remembered ones, the newest first."""
        return self._ring.entries()
