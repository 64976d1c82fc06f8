"""Thresholds in k6's words: `http_req_duration{name:sign in}` must have `p(95)<500`."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from insight_cloud.core.errors import Invalid

if TYPE_CHECKING:
    from insight_cloud.load.histogram import Histogram

__all__ = ["METRICS", "TAGS", "Metric", "Selector", "Threshold", "parse", "selector"]

_TREND: Final = ("avg", "min", "max", "med", "p", "count")
METRICS: Final[Mapping[str, tuple[str, ...]]] = {
    "http_req_duration": _TREND,
    "iteration_duration": _TREND,
    "schedule_lag": _TREND,
    "http_req_failed": ("rate", "count"),
    "checks": ("rate", "count"),
    "http_reqs": ("count", "rate"),
    "iterations": ("count", "rate"),
    "dropped_iterations": ("count", "rate"),
    "data_received": ("count", "rate"),
}
"""Each metric and what may be asked of it, as in k6; durations are milliseconds."""

TAGS: Final = ("name", "method", "scenario")
_COMPARISONS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "===": operator.eq,
    "!=": operator.ne,
}
_METRIC = re.compile(r"(?P<metric>\w+)(?:\{(?P<tags>[^{}]*)\})?")
_EXPRESSION = re.compile(
    r"\s*(?P<what>avg|min|max|med|count|rate|p\(\s*(?P<percent>\d+(?:\.\d+)?)\s*\))"
    r"\s*(?P<sign><=|>=|===|==|!=|<|>)\s*(?P<limit>\d+(?:\.\d+)?)\s*"
)


@dataclass(frozen=True, slots=True)
class Selector:
    """A metric, and the tags that a request must have to be counted in."""

    metric: str
    tags: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        inner = ",".join(f"{name}:{value}" for name, value in self.tags)
        return f"{self.metric}{{{inner}}}" if inner else self.metric

    def takes(self, tags: Mapping[str, str]) -> bool:
        """Whether a request with `tags` is counted in."""
        return all(tags.get(name) == value for name, value in self.tags)


@dataclass(frozen=True, slots=True)
class Metric:
    """What was measured: durations if it is a trend, else how many of how many in which time."""

    trend: Histogram | None = None
    count: float = 0
    of: float = 0
    seconds: float = 0

    def ask(self, what: str, percent: float) -> float | None:
        """The value of `what`; None when there was nothing to measure."""
        if self.trend is None:
            return self.count if what == "count" else self._rate()
        if what == "count":
            return self.trend.count
        if self.trend.count == 0:
            return None
        values = {"avg": self.trend.average, "min": self.trend.least, "max": self.trend.longest}
        return values[what] if what in values else self.trend.percentile(percent)

    def _rate(self) -> float | None:
        """A share where something is counted of something, else how many a second."""
        below = self.of or self.seconds
        return self.count / below if below else None


@dataclass(frozen=True, slots=True)
class Threshold:
    """One condition. With `abort` the run ends as soon as it fails, but not before that second."""

    selector: Selector
    expression: str
    what: str
    percent: float
    sign: str
    limit: float
    abort: float | None = None

    def holds(self, value: float | None) -> bool:
        """Whether `value` is as wanted; nothing measured is never what was wanted."""
        return value is not None and _COMPARISONS[self.sign](value, self.limit)


def selector(text: str, names: Sequence[str] = (), scenarios: Sequence[str] = ()) -> Selector:
    """Read `metric{tag:value,...}`; a name that no step has would never be measured: refuse it.

    Raises:
        Invalid: the metric or a tag does not exist.
    """
    found = _METRIC.fullmatch(text.strip())
    if found is None or found["metric"] not in METRICS:
        raise Invalid(f"{text!r} is no metric; there are {', '.join(METRICS)}")
    tags = []
    for part in filter(None, (found["tags"] or "").split(",")):
        name, colon, value = (piece.strip() for piece in part.partition(":"))
        known = {"name": names, "scenario": scenarios}.get(name)
        if not colon or name not in TAGS:
            raise Invalid(
                f"{text!r}: {part.strip()!r} is no tag; write name:, method: or scenario:"
            )
        if known and value not in known:
            raise Invalid(f"{text!r}: there is no {name} {value!r}, but {', '.join(known)}")
        tags.append((name, value))
    return Selector(found["metric"], tuple(tags))


def parse(where: Selector, text: str, *, abort: float | None = None) -> Threshold:
    """Read an expression such as `p(95)<500`.

    Raises:
        Invalid: it cannot be read, or the metric has no such value.
    """
    found = _EXPRESSION.fullmatch(text)
    if found is None:
        raise Invalid(f"{where}: cannot read {text!r}; write for example p(95)<500 or rate<0.01")
    what = found["what"].partition("(")[0]
    if what == "med":
        what, percent = "p", 50.0
    else:
        percent = float(found["percent"] or 0)
    if what not in METRICS[where.metric]:
        possible = ", ".join(METRICS[where.metric]).replace("p,", "p(N),")
        raise Invalid(f"{where}: {text!r} asks for what it has not; it has {possible}")
    if percent > 100:
        raise Invalid(f"{where}: there is no {percent:g}th percentile in {text!r}")
    limit = float(found["limit"])
    return Threshold(where, text.strip(), what, percent, found["sign"], limit, abort)
