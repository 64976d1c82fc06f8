"""The rule: an exact log of admissions. Pure, with time as an argument.

`window.lua` is the same rule on Redis; one property test runs both on the same schedules.
"""

from __future__ import annotations

import math
from array import array

__all__ = ["Log"]


class Log:
    """When the permits of one key were given, as a ring that holds those still in the window.

    A permit given at t counts until just before t + window. The ring grows only as far as it
    is used, so 100 permits take about 900 bytes.
    """

    __slots__ = ("_last", "_live", "_start", "_times")

    def __init__(self) -> None:
        self._times = array("d")
        self._start = 0
        self._live = 0
        self._last = -math.inf  # the latest time in the ring, or later

    def count(self, now: float, window: float) -> int:
        """Forget what has left the window, and return how many permits are in it."""
        if self._last > now:
            self._step_back(now)
        live, start, times = self._live, self._start, self._times
        # The same sum as in a wait, so that rounding cannot let the two disagree.
        while live and times[start] + window - now <= 0:
            start = start + 1 if start + 1 < len(times) else 0
            live -= 1
        self._start = start
        self._live = live
        return live

    def take(self, now: float, window: float, limit: int, cost: int) -> tuple[int, float, float]:
        """Give `cost` permits if `limit` allows: permits left, seconds to wait, seconds to more.

        Nothing was given when there is something to wait for. It is `count`, `leaves` and `add`
        in one, because it is in the path of every request.
        """
        live, times = self._live, self._times
        following = window
        if live:
            following = times[self._start] + window - now
            if following <= 0 or self._last > now:
                live = self.count(now, window)
                following = self.leaves(0, now, window) if live else window
        left = limit - live - cost
        if left < 0:
            wait = following if left == -1 else self.leaves(-left - 1, now, window)
            return left + cost, wait, following
        if cost == 1 and live == len(times) and not self._start:
            times.append(now)
            self._live = live + 1
            self._last = now
        else:
            self.add(now, cost)
        return left, 0.0, following

    def add(self, now: float, cost: int) -> None:
        """Note `cost` permits, given at `now`; the caller has asked `count` at the same time."""
        self._last = now
        for _ in range(cost):
            times, live = self._times, self._live
            size = len(times)
            if live < size:
                times[(self._start + live) % size] = now
            else:
                if self._start:
                    self._times = times = times[self._start :] + times[: self._start]
                    self._start = 0
                times.append(now)
            self._live = live + 1

    def leaves(self, index: int, now: float, window: float) -> float:
        """Seconds until the permit at `index`, counted from the oldest, leaves the window."""
        return self._times[(self._start + index) % len(self._times)] + window - now

    def remove(self, stamp: float, cost: int) -> None:
        """Take back up to `cost` permits that were given at `stamp`, and no others."""
        size = len(self._times)
        kept = array("d")
        for index in range(self._live):
            time = self._times[(self._start + index) % size]
            if time == stamp and cost:
                cost -= 1
            else:
                kept.append(time)
        self._times, self._start, self._live = kept, 0, len(kept)

    def idle(self, now: float, window: float) -> bool:
        """Whether nothing of it can matter any more."""
        return self.count(now, window) == 0

    def copy(self) -> Log:
        """Return an independent log with the same permits."""
        twin = Log()
        twin._times, twin._start = self._times[:], self._start
        twin._live, twin._last = self._live, self._last
        return twin

    def _step_back(self, now: float) -> None:
        """The clock was set back: what lies in the future was given now at the latest.

        So nothing leaves the window too early, and nobody waits longer than one window.
        """
        for index, time in enumerate(self._times):
            if time > now:
                self._times[index] = now
        self._last = now
