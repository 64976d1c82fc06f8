"""The last errors that were logged, for the operator's page: who has no log search finds them."""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime

from insight_cloud.telemetry.logs import redact, request_id

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

    Add it to the root logger for as long as the process serves.
    """

    def __init__(self, *, keep: int = 50) -> None:
        super().__init__(logging.ERROR)
        self._kept: deque[LoggedError] = deque(maxlen=keep)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one record."""
        text = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            text = f"{text}: {type(error).__name__}: {error}"
        at = datetime.fromtimestamp(record.created, UTC)
        self._kept.append(
            LoggedError(at, record.name, redact(text[:_CHARACTERS]), request_id.get())
        )

    def errors(self) -> tuple[LoggedError, ...]:
        """The remembered ones, the newest first."""
        return tuple(reversed(self._kept))
