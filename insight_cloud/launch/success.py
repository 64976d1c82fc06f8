"""The success metrics of a launch: measured over a period, and held against their targets."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, TypeAlias

import msgspec

from insight_cloud.core.errors import Unavailable
from insight_cloud.launch.probes.metrics import read_metrics, scrape
from insight_cloud.launch.readings import numbers, parse
from insight_cloud.launch.target import NotRun, Target

__all__ = ["TARGETS", "Goal", "Measured", "Success", "measure", "sample"]

Result: TypeAlias = Literal["met", "missed", "unknown"]
_KEPT = (
    "http_",
    "cache_",
    "database_statement",
    "ratelimit_denied",
    "web_vital_",
    "process_resident",
    "process_start",
)
"""The families that a sample keeps: what a later reading is compared with."""


class Goal(msgspec.Struct, frozen=True):
    """A number of `numbers` and the side on which it shall lie."""

    name: str
    about: str
    below: float | None = None
    at_least: float | None = None

    def met(self, value: float) -> bool:
        """Whether `value` is where it shall be."""
        above = self.at_least is None or value >= self.at_least
        return above and (self.below is None or value < self.below)

    @property
    def words(self) -> str:
        """The goal as people write it."""
        return f"< {self.below:g}" if self.below is not None else f"≥ {self.at_least:g}"


TARGETS: tuple[Goal, ...] = (
    Goal("p95_seconds", "95 % of the requests", below=2.0),
    Goal("p99_seconds", "99 % of the requests", below=5.0),
    Goal("query_mean_seconds", "Statements on average", below=0.1),
    Goal("cache_hit_share", "Answered by the cache", at_least=0.7),
    Goal("uptime_share", "Available", at_least=0.995),
    Goal("error_share", "Requests that fail", below=0.01),
    Goal("lcp_p75_seconds", "Largest Contentful Paint, p75", below=2.5),
    Goal("inp_p75_seconds", "Interaction to Next Paint, p75", below=0.2),
    Goal("cls_p75", "Cumulative Layout Shift, p75", below=0.1),
)


class Measured(msgspec.Struct, frozen=True):
    """One goal and its value; None: nothing was measured, which is never success."""

    name: str
    about: str
    goal: str
    value: float | None
    result: Result


class Success(msgspec.Struct, frozen=True):
    """All goals over one period. `period_hours` is how much of it is known."""

    at: datetime
    over: str
    url: str | None
    period_hours: float | None
    requests: float | None
    looks: int
    targets: tuple[Measured, ...]
    format: str = "insight-launch-metrics/1"

    @property
    def missed(self) -> bool:
        """Whether any goal was missed."""
        return any(one.result == "missed" for one in self.targets)

    @property
    def unknown(self) -> bool:
        """Whether anything is not known."""
        return any(one.result == "unknown" for one in self.targets)


async def measure(target: Target, *, over: str) -> Success:
    """Read the metrics of the last `over` (`48h`) and judge.

    Availability is the share of the samples at which the service answered; with fewer than ten
    of them it is the share of requests that did not fail, as far as the service counted them.

    Raises:
        Unavailable: the metrics cannot be read.
    """
    try:
        found = await read_metrics(target, {"over": over})
    except NotRun as reason:
        raise Unavailable(str(reason)) from reason
    if found["uptime_share"] is None and found["error_share"] is not None:
        found["uptime_share"] = 1 - found["error_share"]
    return Success(
        at=target.now,
        over=over,
        url=target.url,
        period_hours=None if found["period_hours"] is None else round(found["period_hours"], 2),
        requests=found["requests"],
        looks=found["looks"],
        targets=tuple(_judged(goal, found.get(goal.name)) for goal in TARGETS),
    )


def _judged(goal: Goal, value: float | None) -> Measured:
    if value is None:
        return Measured(goal.name, goal.about, goal.words, None, "unknown")
    result: Result = "met" if goal.met(value) else "missed"
    return Measured(goal.name, goal.about, goal.words, round(value, 5), result)


async def sample(target: Target) -> Mapping[str, Any]:
    """Look once whether the service answers, and what it has counted; made for a timer.

    A service that does not answer is a sample too: that is what availability is made of.
    """
    found: dict[str, Any] = {"at": target.now.isoformat(), "url": target.url, "up": False}
    try:
        text, _ = await scrape(target)
    except Unavailable as error:
        return found | {"problem": str(error)}
    lines = parse(text)
    seen = numbers(lines)
    kept = {line: value for line, value in lines.items() if line[0].startswith(_KEPT)}
    return found | {
        "up": True,
        "started": seen["started"],
        "memory_bytes": seen["memory_bytes"],
        "values": {msgspec.json.encode(line).decode(): value for line, value in kept.items()},
    }
