"""Measured values as plain data, and the pure arithmetic on them: merging and percentiles."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Literal, TypeAlias

__all__ = [
    "Found",
    "Kind",
    "Labels",
    "Merge",
    "Sample",
    "Series",
    "filled",
    "matching",
    "merged",
    "percentile",
    "sum_of",
]

Kind: TypeAlias = Literal["counter", "gauge", "histogram"]
Merge: TypeAlias = Literal["sum", "max", "min", "latest"]
Labels: TypeAlias = tuple[tuple[str, str], ...]
Sample: TypeAlias = tuple[str, Mapping[str, str], float]
"""What a collector returns: name, labels, value. A name that ends in `_total` is a counter."""

_COMBINED: Mapping[str, Callable[[float, float], float]] = {
    "sum": operator.add,
    "max": max,
    "min": min,
}


@dataclass(frozen=True, slots=True)
class Series:
    """One line of measurement.

    `values` are, by kind: the count; the value and when it was set (Unix seconds, 0 for never);
    or how many observations fell into each bucket of `bounds` and beyond the last, then their
    sum. `merge` says how gauges of several processes become one.
    """

    name: str
    kind: Kind
    about: str
    labels: Labels
    values: tuple[float, ...]
    bounds: tuple[float, ...] = ()
    merge: Merge = "sum"

    @property
    def key(self) -> tuple[str, Labels]:
        """What makes a series the same in another process."""
        return self.name, self.labels

    @property
    def count(self) -> float:
        """Observations of a histogram; the count of a counter."""
        return sum(self.values[:-1]) if self.kind == "histogram" else self.values[0]

    @property
    def total(self) -> float:
        """The sum of what a histogram observed; the value of the others."""
        return self.values[-1] if self.kind == "histogram" else self.values[0]


Found: TypeAlias = tuple[Series, Sequence[float]]
"""A series and its present values, before they are put into it."""


def merged(processes: Iterable[Iterable[Found]]) -> tuple[Series, ...]:
    """Make one of the same series of several processes, ordered by name and labels.

    Where two releases disagree about a series' kind or buckets, the first process wins: values
    of different meaning cannot be added.
    """
    sums: dict[tuple[str, Labels], tuple[Series, list[float]]] = {}
    kinds: dict[str, tuple[Kind, tuple[float, ...]]] = {}
    for series, values in chain.from_iterable(processes):
        if series.kind == "gauge" and values[1] == 0:
            continue  # never set
        meaning = (series.kind, series.bounds)
        if kinds.setdefault(series.name, meaning) != meaning:
            continue
        key = (series.name, series.labels)
        known = sums.get(key)
        if known is None:
            sums[key] = (series, list(values))
        elif series.kind == "gauge":
            known[1][:] = _joined(series.merge, known[1], values)
        else:
            known[1][:] = map(operator.add, known[1], values)
    return tuple(filled(*sums[key]) for key in sorted(sums))


def _joined(merge: Merge, one: Sequence[float], other: Sequence[float]) -> Sequence[float]:
    if merge == "latest":
        return one if one[1] >= other[1] else other
    return _COMBINED[merge](one[0], other[0]), max(one[1], other[1])


def filled(series: Series, values: Sequence[float]) -> Series:
    """`series` with other values."""
    # dataclasses.replace takes three times as long, and a reading has thousands of these
    return Series(
        series.name,
        series.kind,
        series.about,
        series.labels,
        tuple(values),
        series.bounds,
        series.merge,
    )


def matching(series: Iterable[Series], name: str, labels: Mapping[str, str]) -> list[Series]:
    """The series called `name` that have all of `labels`."""
    wanted = labels.items()
    return [one for one in series if one.name == name and wanted <= dict(one.labels).items()]


def sum_of(series: Iterable[Series]) -> Series | None:
    """All of one metric's series as one without labels, or None when there are none."""
    found = merged([[(replace(one, labels=()), one.values) for one in series]])
    return found[0] if found else None


def percentile(histogram: Series, share: float) -> float | None:
    """The value below which `share` (0..1) of the observations lie, or None without any.

    Within a bucket it is interpolated, so it is as exact as the buckets are narrow. Beyond the
    last bound nothing is known: the last bound is returned.
    """
    counts = histogram.values[:-1]
    total = sum(counts)
    if total <= 0:
        return None
    rank, below, lower = share * total, 0.0, 0.0
    for bound, count in zip(histogram.bounds, counts, strict=False):
        if count > 0 and below + count >= rank:
            return lower + (bound - lower) * max(0.0, rank - below) / count
        below, lower = below + count, bound
    return histogram.bounds[-1] if histogram.bounds else math.nan
