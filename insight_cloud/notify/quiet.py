"""What need not be said again: repetitions and floods. Pure; time is an argument, in seconds.

One `Quiet` for each channel, because a message that one channel did not take must still be said
there when it is repeated, and nowhere else.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from insight_cloud.notify.message import SEVERITIES, Message, Severity

__all__ = ["OTHERS", "Held", "Quiet"]

OTHERS = "other messages"
"""The title under which a flood is counted."""


@dataclass(frozen=True, slots=True)
class Held:
    """So many messages called `title` that nobody has read; the worst had `severity`."""

    title: str
    count: int
    severity: Severity


@dataclass(slots=True)
class _Said:
    title: str
    at: float
    held: int = 0
    severity: Severity = "info"

    def hold(self, count: int, severity: Severity) -> None:
        self.held += count
        self.severity = max(self.severity, severity, key=SEVERITIES.index)


class Quiet:
    """Each message once in `window` seconds, and at most `burst` different ones in it.

    What is held back is counted, so that a summary can tell it. The memory is bounded by
    `burst` entries: a flood beyond it is one number.
    """

    def __init__(self, window: float, burst: int) -> None:
        self._window = window
        self._burst = burst
        self._said: dict[str, _Said] = {}
        self._others = _Said(OTHERS, math.inf)

    def admit(self, message: Message, now: float) -> int | None:
        """None when `message` is held back; else how many like it were, since the last one.

        An admitted message counts as said; tell `failed` when it was not.
        """
        said = self._said.get(message.key)
        if said is not None and now - said.at < self._window:
            said.hold(1, message.severity)
            return None
        if said is None and not self._room(now):
            self._hold_other(1, message.severity, now)
            return None
        self._said[message.key] = _Said(message.title, now)
        return 0 if said is None else said.held

    def failed(self, message: Message, held_before: int) -> None:
        """Nobody has read `message`: its repetition is welcome, and it counts as held back."""
        said = self._said.get(message.key)
        if said is None:  # its window ended while it was being delivered
            self._hold_other(1 + held_before, message.severity, -math.inf)
            return
        said.at = -math.inf
        said.hold(1 + held_before, message.severity)

    def take_due(self, now: float) -> tuple[Held, ...]:
        """What was held back and whose window is over; the caller tells it, or restores it."""
        over = [key for key, said in self._said.items() if now - said.at >= self._window]
        ended = [self._said.pop(key) for key in over]
        if now - self._others.at >= self._window:
            ended.append(self._others)
            self._others = _Said(OTHERS, math.inf)
        return tuple(Held(said.title, said.held, said.severity) for said in ended if said.held)

    def restore(self, held: Iterable[Held]) -> None:
        """The summary of `held` reached nobody: it is due again."""
        for one in held:
            self._hold_other(one.count, one.severity, -math.inf)

    def _room(self, now: float) -> bool:
        """Whether one more may be said; what is long past makes room."""
        if len(self._said) < self._burst:
            return True
        self.restore(self.take_due(now))
        return len(self._said) < self._burst

    def _hold_other(self, count: int, severity: Severity, at: float) -> None:
        self._others.hold(count, severity)
        self._others.at = min(self._others.at, at)
