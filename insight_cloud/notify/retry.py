"""When to try again. Pure: the time and the chance are arguments."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

__all__ = ["asked_seconds", "pause_seconds"]

_FIRST = 0.5
_LONGEST = 3600.0
"""No receiver may silence its channel for longer, whatever it says."""


def pause_seconds(attempt: int, asked: float, chance: float) -> float:
    """Seconds before the next attempt after `attempt` (from 0) failed; `chance` is in [0, 1).

    Doubling, and never twice the same for two processes; at least what the receiver asked for.
    """
    doubled: float = _FIRST * 2**attempt
    return max(asked, doubled * (1 + chance))


def asked_seconds(retry_after: str | None, now: datetime) -> float:
    """Seconds that a Retry-After header asks for: a number or a date; 0 when it says nothing."""
    if not retry_after:
        return 0.0
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            date = parsedate_to_datetime(retry_after)
        except (ValueError, OverflowError):
            return 0.0
        if date.tzinfo is None:
            date = date.replace(tzinfo=UTC)
        seconds = (date - now).total_seconds()
    return min(max(seconds, 0.0), _LONGEST) if math.isfinite(seconds) else 0.0
