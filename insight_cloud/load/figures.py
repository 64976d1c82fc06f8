"""The result of a load test, and whether it may be believed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import msgspec

from insight_cloud.load.histogram import Histogram
from insight_cloud.load.scenario import Scenario
from insight_cloud.load.tally import Line, Second, Tally

__all__ = ["Durations", "Figures", "Generator", "Judged", "Problem", "Request", "Slice", "of"]

_MOST_SLICES = 600
_OFFERED_SHARE = 0.99


class _Data(msgspec.Struct, frozen=True):
    pass


class Durations(_Data, frozen=True):
    """Milliseconds from the intended start to the end of the answer."""

    average: float
    least: float
    p50: float
    p90: float
    p95: float
    p99: float
    p999: float
    most: float


class Request(_Data, frozen=True):
    """The requests of one step, or of all."""

    scenario: str
    name: str
    method: str
    count: int
    failed: int
    per_second: float
    bytes: int
    ms: Durations


class Slice(_Data, frozen=True):
    """The answers that came in a part of the run."""

    second: int
    requests: int
    failed: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    generator_cpu_percent: float


class Judged(_Data, frozen=True):
    """A threshold and what was measured; a value of null: there was nothing to measure."""

    metric: str
    expression: str
    value: float | None
    passed: bool


class Problem(_Data, frozen=True):
    """What a failed request got, and how often."""

    name: str
    error: str
    count: int


class Generator(_Data, frozen=True):
    """The generator's own state, which says whether it could do what was asked of it."""

    processes: int
    cpu_percent: float
    """Of one core, by the busiest process; nine of ten seconds were below."""
    lag_p99_ms: float
    """How late requests began that had a free user: the generator's own fault."""
    lag_most_ms: float
    waited: int
    """Arrivals that found no free user and began later; their wait is in the durations."""
    due: int
    dropped: int
    """Arrivals that had not begun when the run ended."""
    memory_bytes: int
    """The largest of all processes together."""


class Figures(_Data, frozen=True, kw_only=True):
    """A whole result. `valid` is false when the generator was the bottleneck."""

    schema: str = "insight-load/1"
    scenario: str
    target: str
    started: datetime
    seconds: float
    users: int
    interrupted: bool
    stopped_by: str | None
    """The threshold that ended the run, if one did."""
    valid: bool
    invalid: tuple[str, ...]
    total: Request
    requests: tuple[Request, ...]
    iterations: int
    broken_iterations: int
    thresholds: tuple[Judged, ...]
    generator: Generator
    timeline: tuple[Slice, ...]
    errors: tuple[Problem, ...]

    @property
    def passed(self) -> bool:
        """Whether every threshold holds."""
        return all(threshold.passed for threshold in self.thresholds)

    def as_dict(self) -> dict[str, Any]:
        """The same as plain data."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found


def of(
    scenario: Scenario,
    tally: Tally,
    *,
    target: str,
    started: datetime,
    seconds: float,
    processes: int,
    lost: int = 0,
    interrupted: bool = False,
    stopped_by: str | None = None,
) -> Figures:
    """Draw the result from the counts of all processes; `lost` of them did not say theirs."""
    invalid = tuple(_invalid(scenario, tally, lost, whole=not (interrupted or stopped_by)))
    return Figures(
        scenario=scenario.name,
        target=target,
        started=started,
        seconds=round(seconds, 3),
        users=scenario.users,
        interrupted=interrupted,
        stopped_by=stopped_by,
        valid=not invalid,
        invalid=invalid,
        total=_request(("", "all", ""), tally.total(), seconds),
        requests=tuple(_request(key, line, seconds) for key, line in tally.lines.items()),
        iterations=sum(found.count for found in tally.iterations.values()),
        broken_iterations=sum(tally.broken.values()),
        thresholds=tuple(judge(scenario, tally, seconds)),
        generator=_generator(tally, processes),
        timeline=tuple(_timeline(tally)),
        errors=tuple(
            Problem(name=name, error=text, count=count)
            for (name, text), count in sorted(tally.errors.items(), key=lambda pair: -pair[1])
        ),
    )


def judge(scenario: Scenario, tally: Tally, seconds: float) -> Iterator[Judged]:
    """Hold every threshold against what was counted until now."""
    for threshold in scenario.conditions():
        value = tally.metric(threshold.selector, seconds).ask(threshold.what, threshold.percent)
        yield Judged(
            metric=str(threshold.selector),
            expression=threshold.expression,
            value=None if value is None else _rounded(value),
            passed=threshold.holds(value),
        )


def _invalid(scenario: Scenario, tally: Tally, lost: int, *, whole: bool) -> Iterator[str]:
    """Why the generator, not the target, was measured."""
    limits = scenario.generator
    lag, cpu = tally.lag.percentile(99), _busy(tally)
    if lag > limits.lag_ms:
        yield (
            f"one request in a hundred began {lag:.0f} ms late or later (limit "
            f"{limits.lag_ms:g} ms): the generator was too slow; use --workers or less load"
        )
    if cpu > limits.cpu_percent:
        yield (
            f"a process of the generator used {cpu:.0f} % of its core (limit "
            f"{limits.cpu_percent:g} %): use --workers or less load"
        )
    begun = tally.due - tally.dropped
    if whole and begun < tally.due * _OFFERED_SHARE:
        yield (
            f"only {begun} of {tally.due} arrivals could begin: the target is slower than the "
            "users were counted for; raise most_users"
        )
    if lost:
        yield f"{lost} of the generator's processes ended before they had reported"
    if whole and tally.total().durations.count == 0:
        yield "not one request was made"


def _generator(tally: Tally, processes: int) -> Generator:
    return Generator(
        processes=processes,
        cpu_percent=round(_busy(tally), 1),
        lag_p99_ms=_rounded(tally.lag.percentile(99)),
        lag_most_ms=_rounded(tally.lag.longest),
        waited=tally.waited,
        due=tally.due,
        dropped=tally.dropped,
        memory_bytes=sum(tally.memory.values()),
    )


def _busy(tally: Tally) -> float:
    """The processor time of the busiest process: the second of which one in ten is above."""
    shares = sorted(second.cpu for second in tally.seconds.values() if second.cpu)
    return shares[math.ceil(len(shares) * 0.9) - 1] if shares else 0.0


def _request(key: tuple[str, str, str], line: Line, seconds: float) -> Request:
    scenario, name, method = key
    return Request(
        scenario=scenario,
        name=name,
        method=method,
        count=line.durations.count,
        failed=line.failed,
        per_second=_rounded(line.durations.count / seconds) if seconds else 0.0,
        bytes=line.bytes,
        ms=durations(line.durations),
    )


def durations(found: Histogram) -> Durations:
    """The usual figures of `found`."""
    return Durations(
        average=_rounded(found.average),
        least=_rounded(found.least),
        p50=_rounded(found.percentile(50)),
        p90=_rounded(found.percentile(90)),
        p95=_rounded(found.percentile(95)),
        p99=_rounded(found.percentile(99)),
        p999=_rounded(found.percentile(99.9)),
        most=_rounded(found.longest),
    )


def _timeline(tally: Tally) -> Iterator[Slice]:
    """Every second, or in a long run every few, so that there are never more than 600."""
    if not tally.seconds:
        return
    width = max(1, math.ceil((max(tally.seconds) + 1) / _MOST_SLICES))
    for begin in range(0, max(tally.seconds) + 1, width):
        yield _slice(begin, [tally.seconds.get(n, Second()) for n in range(begin, begin + width)])


def _slice(begin: int, seconds: Sequence[Second]) -> Slice:
    found = Histogram()
    for second in seconds:
        found.merge(second.durations)
    return Slice(
        second=begin,
        requests=found.count,
        failed=sum(second.failed for second in seconds),
        p50_ms=_rounded(found.percentile(50)),
        p95_ms=_rounded(found.percentile(95)),
        p99_ms=_rounded(found.percentile(99)),
        generator_cpu_percent=round(max(second.cpu for second in seconds), 1),
    )


def _rounded(value: float) -> float:
    """Four figures, which is what the buckets hold."""
    return float(f"{value:.5g}")
