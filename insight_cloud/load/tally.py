"""What is counted while a load test runs, so that several processes' counts add up exactly."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from insight_cloud.load.histogram import Histogram
from insight_cloud.load.thresholds import Metric, Selector

__all__ = ["Key", "Line", "Second", "Tally"]

Key: TypeAlias = tuple[str, str, str]
"""Scenario, name of the step, method."""

_MOST_ERRORS = 100
_MOST_ERROR_CHARACTERS = 300


@dataclass(slots=True)
class Line:
    """The requests of one step."""

    durations: Histogram = field(default_factory=Histogram)
    failed: int = 0
    bytes: int = 0

    def merge(self, other: Line) -> None:
        """Add all of `other`."""
        self.durations.merge(other.durations)
        self.failed += other.failed
        self.bytes += other.bytes


@dataclass(slots=True)
class Second:
    """One second of the run: its answers, and the busiest process of the generator."""

    durations: Histogram = field(default_factory=Histogram)
    failed: int = 0
    cpu: float = 0.0


class Tally:
    """Counts of one process, or of several added."""

    def __init__(self) -> None:
        self.lines: dict[Key, Line] = {}
        self.iterations: dict[str, Histogram] = {}
        self.broken: dict[str, int] = {}
        self.seconds: dict[int, Second] = {}
        self.errors: dict[tuple[str, str], int] = {}
        self.lag = Histogram()
        self.waited = 0
        self.due = 0
        self.dropped = 0
        self.memory: dict[str, int] = {}

    # -- counting ------------------------------------------------------------------------------

    def request(
        self, key: Key, second: int, milliseconds: float, size: int, error: str | None
    ) -> None:
        """Count one answer, or its absence."""
        line = self.lines.get(key)
        if line is None:
            line = self.lines[key] = Line()
        now = self.second(second)
        line.durations.add(milliseconds)
        now.durations.add(milliseconds)
        line.bytes += size
        if error is not None:
            line.failed += 1
            now.failed += 1
            self._error(key[1], error[:_MOST_ERROR_CHARACTERS], 1)

    def iteration(self, scenario: str, milliseconds: float, *, whole: bool) -> None:
        """Count one passage through all steps, or one that a failure ended."""
        self.iterations.setdefault(scenario, Histogram()).add(milliseconds)
        if not whole:
            self.broken[scenario] = self.broken.get(scenario, 0) + 1

    def second(self, number: int) -> Second:
        """The counts of second `number`."""
        found = self.seconds.get(number)
        if found is None:
            found = self.seconds[number] = Second()
        return found

    def _error(self, name: str, text: str, count: int) -> None:
        key = (name, text)
        if key not in self.errors and len(self.errors) >= _MOST_ERRORS:
            key = ("", "further errors, of other kinds")
        self.errors[key] = self.errors.get(key, 0) + count

    # -- adding up -----------------------------------------------------------------------------

    def merge(self, other: Tally) -> None:
        """Add all of `other`."""
        for key, line in other.lines.items():
            self.lines.setdefault(key, Line()).merge(line)
        for name, durations in other.iterations.items():
            self.iterations.setdefault(name, Histogram()).merge(durations)
        for name, count in other.broken.items():
            self.broken[name] = self.broken.get(name, 0) + count
        for number, theirs in other.seconds.items():
            ours = self.second(number)
            ours.durations.merge(theirs.durations)
            ours.failed += theirs.failed
            ours.cpu = max(ours.cpu, theirs.cpu)
        for (name, text), count in other.errors.items():
            self._error(name, text, count)
        self.lag.merge(other.lag)
        self.waited += other.waited
        self.due += other.due
        self.dropped += other.dropped
        for process, size in other.memory.items():
            self.memory[process] = max(size, self.memory.get(process, 0))

    def as_data(self) -> dict[str, Any]:
        """The same as plain data, to be sent to another process."""
        return {
            "lines": [
                [*key, line.durations.as_list(), line.failed, line.bytes]
                for key, line in self.lines.items()
            ],
            "iterations": [[name, found.as_list()] for name, found in self.iterations.items()],
            "broken": list(self.broken.items()),
            "seconds": [
                [number, found.durations.as_list(), found.failed, found.cpu]
                for number, found in self.seconds.items()
            ],
            "errors": [[*key, count] for key, count in self.errors.items()],
            "lag": self.lag.as_list(),
            "counts": [self.waited, self.due, self.dropped],
            "memory": list(self.memory.items()),
        }

    @classmethod
    def of_data(cls, data: dict[str, Any]) -> Tally:
        """Read what `as_data` wrote."""
        made, of = cls(), Histogram.of_list
        for scenario, name, method, durations, failed, size in data["lines"]:
            made.lines[scenario, name, method] = Line(of(durations), failed, size)
        made.iterations = {name: of(found) for name, found in data["iterations"]}
        made.broken = {name: count for name, count in data["broken"]}  # noqa: C416 - pairs are lists
        for number, durations, failed, cpu in data["seconds"]:
            made.seconds[number] = Second(of(durations), failed, cpu)
        made.errors = {(name, text): count for name, text, count in data["errors"]}
        made.lag = of(data["lag"])
        made.waited, made.due, made.dropped = data["counts"]
        made.memory = {process: size for process, size in data["memory"]}  # noqa: C416 - see above
        return made

    # -- asking --------------------------------------------------------------------------------

    def total(self, keys: Iterable[Key] | None = None) -> Line:
        """The lines of `keys`, or all, as one."""
        made = Line()
        for key in self.lines if keys is None else keys:
            made.merge(self.lines[key])
        return made

    def metric(self, selector: Selector, seconds: float) -> Metric:
        """What `selector` chooses."""
        keys = [
            key
            for key in self.lines
            if selector.takes({"scenario": key[0], "name": key[1], "method": key[2]})
        ]
        found, asked = self.total(keys), selector.metric
        count = found.durations.count
        passages = self._passages(selector)
        return {
            "http_req_duration": Metric(found.durations),
            "http_req_failed": Metric(None, found.failed, of=count),
            "checks": Metric(None, count - found.failed, of=count),
            "http_reqs": Metric(None, count, seconds=seconds),
            "data_received": Metric(None, found.bytes, seconds=seconds),
            "schedule_lag": Metric(self.lag),
            "dropped_iterations": Metric(None, self.dropped, seconds=seconds),
            "iterations": Metric(None, passages.count, seconds=seconds),
            "iteration_duration": Metric(passages),
        }[asked]

    def _passages(self, selector: Selector) -> Histogram:
        made = Histogram()
        for name, durations in self.iterations.items():
            if selector.takes({"scenario": name}):
                made.merge(durations)
        return made
