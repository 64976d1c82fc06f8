"""Counters, gauges and histograms that cost the request less than a microsecond each.

A series is found by the tuple of its label values in a dictionary; its numbers are adjacent
slots of one array. The array lies in memory or in a file that other processes read
(`multiprocess.Shared`): recording is the same.
"""

from __future__ import annotations

import logging
import re
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol, TypeAlias, TypeVar

from insight_cloud.telemetry.series import Merge, Sample, Series, merged

__all__ = [
    "BUCKETS",
    "OTHER",
    "Collector",
    "Counter",
    "Gauge",
    "Histogram",
    "Memory",
    "Recorder",
    "Store",
]

log = logging.getLogger("insight.telemetry")

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0)
"""Upper bounds in seconds; with what lies beyond, 13 buckets. The alert thresholds are bounds."""

OTHER = "other"
"""The label value that stands for every further one when a metric has all the series it may."""

SCRATCH = 64
"""Slots at the beginning that no series owns: what finds no room is written there, and lost."""

Slots: TypeAlias = "list[float] | memoryview[float]"
Collector: TypeAlias = Callable[[], Iterable[Sample]]
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


class Store(Protocol):
    """Where the numbers lie. `values` stays the same object for the store's life."""

    @property
    def values(self) -> Slots:
        """The slots."""

    def allocate(self, series: Series) -> int:
        """The first of the zeroed slots for `series`, or 0 (scratch) when there is no room."""

    def read(self) -> tuple[Series, ...]:
        """Every series with its present values, of all processes that share the store."""


class Memory:
    """The numbers of a process that shares them with nobody."""

    def __init__(self, *, slots: int = 65_536) -> None:
        self.values: list[float] = [0.0] * SCRATCH
        self._limit = slots
        self._series: list[tuple[int, Series]] = []

    def allocate(self, series: Series) -> int:
        """Give `series` its slots."""
        first = len(self.values)
        if first + len(series.values) > self._limit:
            return 0
        self.values.extend(series.values)
        self._series.append((first, series))
        return first

    def read(self) -> tuple[Series, ...]:
        """Every series with its present values."""
        return merged(
            [
                [
                    (series, self.values[first : first + len(series.values)])
                    for first, series in self._series
                ]
            ]
        )


class _Metric:
    """What the three kinds share: series by label values, at most `limit` of them."""

    def __init__(
        self, store: Store, name: str, about: str, labels: Sequence[str], *, limit: int
    ) -> None:
        for word in (name, *labels):
            if not _NAME.fullmatch(word):
                raise ValueError(f"{word!r} cannot be the name of a metric or label")
        self.name = name
        self.about = about
        self.labels = tuple(labels)
        self._store = store
        self._values = store.values
        self._limit = limit
        self._slots: dict[tuple[str, ...], int] = {}

    def _template(self) -> Series:
        raise NotImplementedError

    def _place(self, labels: tuple[str, ...]) -> int:
        """The slots of a series that is new; beyond the limit all share one, called `other`."""
        if len(labels) != len(self.labels):
            raise ValueError(f"{self.name} has the labels {self.labels}, not {labels!r}")
        if len(self._slots) >= self._limit:
            labels = (OTHER,) * len(self.labels)
            if labels in self._slots:
                return self._slots[labels]
        pairs = tuple(zip(self.labels, labels, strict=True))
        first = self._store.allocate(replace(self._template(), labels=pairs))
        self._slots[labels] = first
        if not first:
            log.warning("telemetry.full: no room for the series %s%s", self.name, labels)
        return first


_MetricT = TypeVar("_MetricT", bound=_Metric)


class Counter(_Metric):
    """A number that only grows."""

    def add(self, labels: tuple[str, ...] = (), amount: float = 1.0) -> None:
        """Add `amount`, which is not negative."""
        slot = self._slots.get(labels)
        if slot is None:
            slot = self._place(labels)
        self._values[slot] += amount

    def advance(self, labels: tuple[str, ...], total: float) -> None:
        """Take over a total that somebody else counts."""
        slot = self._slots.get(labels)
        self._values[self._place(labels) if slot is None else slot] = total

    def _template(self) -> Series:
        return Series(self.name, "counter", self.about, (), (0.0,))


class Gauge(_Metric):
    """A number that goes up and down; `merge` makes one of several processes' numbers."""

    def __init__(
        self,
        store: Store,
        name: str,
        about: str,
        labels: Sequence[str],
        *,
        limit: int,
        merge: Merge,
        clock: Callable[[], float],
    ) -> None:
        super().__init__(store, name, about, labels, limit=limit)
        self._merge: Merge = merge
        self._clock = clock

    def set(self, value: float, labels: tuple[str, ...] = ()) -> None:
        """Replace the value."""
        slot = self._slots.get(labels)
        if slot is None:
            slot = self._place(labels)
        self._values[slot] = value
        self._values[slot + 1] = self._clock()

    def _template(self) -> Series:
        return Series(self.name, "gauge", self.about, (), (0.0, 0.0), (), self._merge)


class Histogram(_Metric):
    """How often values fell between the bounds, and their sum."""

    def __init__(
        self,
        store: Store,
        name: str,
        about: str,
        labels: Sequence[str],
        *,
        limit: int,
        bounds: Sequence[float],
    ) -> None:
        super().__init__(store, name, about, labels, limit=limit)
        if list(bounds) != sorted(set(bounds)) or not 0 < len(bounds) < SCRATCH - 2:
            raise ValueError(f"the bounds of {name} must grow, and be 1 to {SCRATCH - 3}")
        self.bounds = tuple(map(float, bounds))
        self._sum = len(self.bounds) + 1

    def observe(self, value: float, labels: tuple[str, ...] = ()) -> None:
        """Count `value`."""
        slot = self._slots.get(labels)
        if slot is None:
            slot = self._place(labels)
        values = self._values
        values[slot + bisect_left(self.bounds, value)] += 1.0
        values[slot + self._sum] += value

    def _template(self) -> Series:
        values = (0.0,) * (len(self.bounds) + 2)
        return Series(self.name, "histogram", self.about, (), values, self.bounds)


class Recorder:
    """The metrics of a process, and those that other parts of it count themselves.

    Record from one thread, that of the event loop: an addition is a read and a write.

    Args:
        store: where the numbers lie; by default in this process alone. With
            `multiprocess.Shared` what is read is the sum over all processes.
        collectors: called before each reading, and by `publish`; each returns samples
            `(name, labels, value)`. A name that ends in `_total` is a counter, any other a gauge.
            One that raises is left out, and logged.
        merge: how gauges of collectors become one, by name; `sum` where nothing is said.
        series: how many series one metric may have; further ones share one called `other`.
        clock: Unix seconds, for gauges of which the latest counts.
    """

    def __init__(
        self,
        store: Store | None = None,
        *,
        collectors: Iterable[Collector] = (),
        merge: Mapping[str, Merge] | None = None,
        series: int = 1000,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store: Store = Memory() if store is None else store
        self._collectors = list(collectors)
        self._merge = dict(merge or {})
        self._limit = series
        self._clock = clock
        self._metrics: dict[str, _Metric] = {}
        self._broken: set[Collector] = set()

    def counter(self, name: str, about: str = "", labels: Sequence[str] = ()) -> Counter:
        """The counter called `name`, which ends in `_total`."""
        if not name.endswith("_total"):
            raise ValueError(f"the counter {name!r} must end in _total")
        return self._metric(Counter(self._store, name, about, labels, limit=self._limit))

    def gauge(
        self, name: str, about: str = "", labels: Sequence[str] = (), *, merge: Merge = "sum"
    ) -> Gauge:
        """The gauge called `name`."""
        return self._metric(
            Gauge(
                self._store, name, about, labels, limit=self._limit, merge=merge, clock=self._clock
            )
        )

    def histogram(
        self,
        name: str,
        about: str = "",
        labels: Sequence[str] = (),
        *,
        bounds: Sequence[float] = BUCKETS,
    ) -> Histogram:
        """The histogram called `name`; the name ends in the unit, as in `_seconds`."""
        return self._metric(
            Histogram(self._store, name, about, labels, limit=self._limit, bounds=bounds)
        )

    def collect(self, collector: Collector) -> None:
        """Ask `collector` too from now on."""
        self._collectors.append(collector)

    def publish(self) -> None:
        """Ask the collectors, so that other processes see this one's numbers.

        Cheap, and to be called every few seconds where a store is shared.
        """
        for collector in self._collectors:
            try:
                for name, labels, value in collector():
                    self._take(name, labels, value)
            except Exception:
                if collector not in self._broken:  # once, not with every reading
                    self._broken.add(collector)
                    log.exception("telemetry.collector_failed: %r is left out", collector)
            else:
                self._broken.discard(collector)

    def read(self) -> tuple[Series, ...]:
        """Every series of all processes, ordered by name and labels."""
        self.publish()
        return self._store.read()

    def _take(self, name: str, labels: Mapping[str, str], value: float) -> None:
        names, values = tuple(labels), tuple(map(str, labels.values()))
        metric = self._metrics.get(name)
        if metric is None:
            merge = self._merge.get(name, "sum")
            counts = name.endswith("_total")
            metric = (
                self.counter(name, "", names)
                if counts
                else self.gauge(name, "", names, merge=merge)
            )
        if metric.labels != names:
            values = tuple(str(labels[label]) for label in metric.labels)
        if isinstance(metric, Counter):
            metric.advance(values, value)
        elif isinstance(metric, Gauge):
            metric.set(value, values)

    def _metric(self, metric: _MetricT) -> _MetricT:
        """Register `metric`, or return the one of the same name and kind."""
        known = self._metrics.setdefault(metric.name, metric)
        if type(known) is not type(metric) or known.labels != metric.labels:
            raise ValueError(f"there is another metric called {metric.name!r}")
        return known
