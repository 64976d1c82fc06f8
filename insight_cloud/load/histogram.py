"""Durations as counts in buckets that are never wider than 0.4 %: they merge without loss."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

__all__ = ["Histogram"]

_BITS = 8
_LOW, _HIGH = 1 << _BITS, 1 << (_BITS + 1)


class Histogram:
    """Durations in milliseconds, kept to the microsecond below 0.5 ms and to 0.4 % above.

    Two histograms added are what one would have held that saw both; so those of processes and
    seconds may be added in any order.
    """

    __slots__ = ("buckets", "count", "longest", "shortest", "total")

    def __init__(self) -> None:
        self.buckets: dict[int, int] = {}
        self.count = 0
        self.total = 0.0
        self.shortest = math.inf
        self.longest = 0.0

    def add(self, milliseconds: float) -> None:
        """Count one duration; a negative one counts as none at all."""
        milliseconds = max(0.0, milliseconds)
        value = int(milliseconds * 1000)
        if value >= _HIGH:
            shift = value.bit_length() - _BITS - 1
            value = shift * _LOW + (value >> shift)
        self.buckets[value] = self.buckets.get(value, 0) + 1
        self.count += 1
        self.total += milliseconds
        self.shortest = min(self.shortest, milliseconds)
        self.longest = max(self.longest, milliseconds)

    def merge(self, other: Histogram) -> None:
        """Add all of `other`."""
        for bucket, count in other.buckets.items():
            self.buckets[bucket] = self.buckets.get(bucket, 0) + count
        self.count += other.count
        self.total += other.total
        self.shortest = min(self.shortest, other.shortest)
        self.longest = max(self.longest, other.longest)

    @property
    def average(self) -> float:
        """The mean; 0 of nothing."""
        return self.total / self.count if self.count else 0.0

    @property
    def least(self) -> float:
        """The shortest; 0 of nothing."""
        return self.shortest if self.count else 0.0

    def percentile(self, percent: float) -> float:
        """The duration that `percent` of all do not exceed (nearest rank); 0 of nothing."""
        rank, seen = max(1, math.ceil(self.count * percent / 100)), 0
        if rank >= self.count:
            return self.longest
        for bucket in sorted(self.buckets):
            seen += self.buckets[bucket]
            if seen >= rank:
                return min(max(_middle(bucket), self.least), self.longest)
        return 0.0

    def as_list(self) -> list[object]:
        """The same as plain data, to be sent to another process."""
        return [list(self.buckets.items()), self.total, self.least, self.longest]

    @classmethod
    def of_list(cls, data: Iterable[object]) -> Histogram:
        """Read what `as_list` wrote."""
        buckets, total, least, longest = data
        made = cls()
        made.buckets = _counts(buckets)
        made.count = sum(made.buckets.values())
        made.total = float(str(total))
        made.shortest = float(str(least)) if made.count else math.inf
        made.longest = float(str(longest))
        return made


def _middle(bucket: int) -> float:
    """The middle of a bucket in milliseconds."""
    if bucket < _HIGH:
        return (bucket + 0.5) / 1000
    shift, part = divmod(bucket - _LOW, _LOW)
    return (part + _LOW + 0.5) * (1 << shift) / 1000


def _counts(pairs: object) -> dict[int, int]:
    if isinstance(pairs, Mapping) or not isinstance(pairs, Iterable):
        raise TypeError("the buckets of a histogram are a list of pairs")
    return {int(bucket): int(count) for bucket, count in pairs}
