"""What was counted in each minute of the last days, so that a period can be judged.

A scraper keeps this for who has one; this is for the operator's page, the alerts and the launch
checklist of those who have none.
"""

from __future__ import annotations

import time
from array import array
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from insight_cloud.telemetry.series import Labels, Series, matching, percentile, sum_of

__all__ = ["History", "Period"]


@dataclass(frozen=True, slots=True)
class Period:
    """What was counted in `seconds`: the part of the period asked for that is remembered."""

    seconds: float
    series: tuple[Series, ...]

    def count(self, name: str, /, **labels: str) -> float:
        """How often a counter or histogram called `name`, with these labels, was advanced."""
        return sum(series.count for series in matching(self.series, name, labels))

    def total(self, name: str, /, **labels: str) -> float:
        """The sum of what was observed or counted."""
        return sum(series.total for series in matching(self.series, name, labels))

    def rate(self, name: str, /, **labels: str) -> float:
        """`count` per second."""
        return self.count(name, **labels) / self.seconds if self.seconds > 0 else 0.0

    def percentile(self, name: str, share: float, /, **labels: str) -> float | None:
        """The value below which `share` (0..1) of the observations lie; None without any."""
        found = sum_of(matching(self.series, name, labels))
        return None if found is None else percentile(found, share)


@dataclass(frozen=True, slots=True)
class _Minute:
    """What changed between two ticks: numbers of slots, and by how much."""

    begin: float
    end: float
    slots: array[int]
    deltas: array[float]


class History:
    """The counts of each minute, of all processes that share the recorder's store.

    Call `tick` every minute. Only what changed is kept: a minute of a service with 30 busy
    routes takes about 1.5 kB. A count that becomes smaller began anew.

    Args:
        read: returns every series, as `Recorder.read` does.
        minutes: how many are remembered.
        clock: Unix seconds.
    """

    def __init__(
        self,
        read: Callable[[], Iterable[Series]],
        *,
        minutes: int = 48 * 60,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._read = read
        self.clock = clock
        self._minutes: deque[_Minute] = deque(maxlen=minutes)
        self._places: dict[tuple[str, Labels], tuple[int, Series]] = {}
        self._size = 0
        self._last: dict[tuple[str, Labels], tuple[float, ...]] | None = None
        self._ticked = 0.0

    def tick(self) -> None:
        """End a minute. The first call only notes from what everything is counted."""
        begin, now = self._ticked, self.clock()
        current = self._current()
        if self._last is not None:
            slots, deltas = array("L"), array("d")
            for slot, delta in self._changes(current):
                slots.append(slot)
                deltas.append(delta)
            self._minutes.append(_Minute(begin, now, slots, deltas))
        self._last = {series.key: series.values for series in current}
        self._ticked = now

    def over(self, seconds: float) -> Period:
        """What was counted in the last `seconds`, to the minute, until this moment."""
        import numpy as np

        now = self.clock()
        if self._last is None:
            return Period(0.0, ())
        current = self._current()
        changes = list(self._changes(current))
        since = now - seconds
        # A minute belongs to the period when most of it does.
        chosen = [m for m in self._minutes if (m.begin + m.end) / 2 >= since]
        sums = np.zeros(self._size)
        for minute in chosen:
            np.add.at(
                sums,
                np.frombuffer(minute.slots, dtype=f"u{minute.slots.itemsize}"),
                np.frombuffer(minute.deltas),
            )
        for slot, delta in changes:
            sums[slot] += delta
        begin = chosen[0].begin if chosen else self._ticked
        return Period(max(0.0, now - begin), tuple(self._filled(sums.tolist())))

    def _current(self) -> list[Series]:
        return [series for series in self._read() if series.kind != "gauge"]

    def _changes(self, current: list[Series]) -> Iterable[tuple[int, float]]:
        last = self._last or {}
        for series in current:
            first = self._place(series)
            before = last.get(series.key, (0.0,) * len(series.values))
            if series.values == before:
                continue
            if sum(series.values) < sum(before) or len(before) != len(series.values):
                before = (0.0,) * len(series.values)  # began anew
            for offset, (value, old) in enumerate(zip(series.values, before, strict=True)):
                if value != old:
                    yield first + offset, value - old

    def _place(self, series: Series) -> int:
        known = self._places.get(series.key)
        if known is None or known[1].bounds != series.bounds:
            known = self._places[series.key] = (self._size, series)
            self._size += len(series.values)
        return known[0]

    def _filled(self, sums: list[float]) -> Iterable[Series]:
        for first, series in self._places.values():
            values = tuple(sums[first : first + len(series.values)])
            if any(values):
                yield replace(series, values=values)
