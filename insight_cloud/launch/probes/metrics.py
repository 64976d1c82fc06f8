"""Reads the metrics of the deployment over a period, and asks whether to roll back."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import httpx
import msgspec

from insight_cloud.core.errors import Corrupt, Unavailable
from insight_cloud.launch import readings
from insight_cloud.launch.target import NotRun, Target

__all__ = ["read_metrics", "read_triggers", "scrape", "span_of"]

_SPAN = re.compile(r"(\d+)([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_LARGEST_BYTES = 32 * 1024 * 1024
_ROOM = 1.25


async def read_metrics(target: Target, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """What was counted `over` a period (`15m`, `48h`), as numbers.

    Our own service is asked for the period. Of another one the difference to an earlier sample
    is taken (`insight launch sample` keeps them); without one there is only everything since it
    was started, which is told as `period_hours`. A number that nothing is known for makes the
    item not run, when `needs` names it. `at_least` is the shortest period that will do, as a
    share of the one asked for.
    """
    span = span_of(str(parameters.get("over", "15m")))
    found: dict[str, Any] = await target.once(f"metrics {span}", lambda: _over(target, span))
    for name in parameters.get("needs", []):
        if found.get(name) is None:
            raise NotRun(f"the metrics say nothing of {name}")
    wanted = float(parameters.get("at_least", 0)) * span.total_seconds() / 3600
    if found["period_hours"] is not None and found["period_hours"] < wanted:
        hours = span.total_seconds() / 3600
        raise NotRun(f"only {found['period_hours']:.1f} of the last {hours:g} hours are known")
    return found


def span_of(text: str) -> timedelta:
    """A period such as 15m or 48h.

    Raises:
        Corrupt: it is none.
    """
    match = _SPAN.fullmatch(text)
    if match is None:
        raise Corrupt(f"{text!r} is no period: write 15m, 48h or 7d")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


async def read_triggers(target: Target, _: Mapping[str, Any]) -> dict[str, Any]:
    """The rollback triggers of launch.toml, each with its value; `fired` are those beyond it."""
    triggers = target.file.rollback.triggers
    if not triggers:
        raise NotRun("launch.toml has no [[rollback.triggers]]")
    states = []
    for trigger in triggers:
        found = await read_metrics(target, {"over": trigger.over, "needs": [trigger.metric]})
        value = found[trigger.metric]
        fired = (trigger.above is not None and value > trigger.above) or (
            trigger.below is not None and value < trigger.below
        )
        states.append({"metric": trigger.metric, "value": value, "fired": fired})
    return {"triggers": states, "fired": [one["metric"] for one in states if one["fired"]]}


async def scrape(target: Target, seconds: float | None = None) -> tuple[str, float | None]:
    """The exposition, and the seconds for which it was counted where the service says so.

    Raises:
        NotRun: nobody has said where it is.
        Unavailable: it does not answer.
    """
    url = target.need_url() + str(target.value("metrics_path"))
    headers = {}
    with contextlib.suppress(NotRun):  # many let their own network in without one
        headers["authorization"] = f"Bearer {target.value('metrics_token')}"
    params = {} if seconds is None else {"seconds": f"{seconds:g}"}
    try:
        async with httpx.AsyncClient(
            verify=target.trust(), timeout=target.timeout_seconds, trust_env=False
        ) as client:
            answer = await client.get(url, headers=headers, params=params)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Unavailable(f"{url} does not answer: {type(error).__name__}") from error
    if answer.status_code in {401, 403, 404}:
        raise NotRun(f"{url} answers {answer.status_code}: set values.metrics_path, metrics_token")
    if not answer.is_success or len(answer.content) > _LARGEST_BYTES:
        raise Unavailable(f"{url} answers {answer.status_code}")
    counted = answer.headers.get("x-period-seconds")
    return answer.text, None if counted is None else float(counted)


async def _over(target: Target, span: timedelta) -> dict[str, Any]:
    text, seconds = await scrape(target, span.total_seconds())
    found = readings.parse(text)
    if not found:
        raise NotRun("what answers for the metrics is no Prometheus text")
    base = None if seconds is not None else _earlier(target, span)
    if base is not None:
        found = readings.difference(found, _lines(base["values"]))
        seconds = (target.now - _time(base)).total_seconds()
    result = readings.numbers(found, _names(target))
    if seconds is None and result["started"]:
        seconds = max(0.0, target.now.timestamp() - result["started"])
    result["period_hours"] = None if seconds is None else seconds / 3600
    result["request_rate"] = (
        result["requests"] / seconds if seconds and result["requests"] else None
    )
    return result | _of_samples(target, span)


def _names(target: Target) -> readings.Names:
    given = target.file.values.get("metric_names", {})
    try:
        return readings.Names(**{name: tuple(names) for name, names in given.items()})
    except TypeError as error:
        raise Corrupt(f"values.metric_names: {error}") from error


def _earlier(target: Target, span: timedelta) -> Mapping[str, Any] | None:
    """The sample from which on is counted: the youngest that is as old as the period, or nearly.

    When all are younger, the oldest: the caller learns how long the period really is.
    """
    able = [one for one in target.samples if one.get("values")]
    old = [one for one in able if target.now - _time(one) >= span / _ROOM]
    return old[-1] if old else (able[0] if able else None)


def _of_samples(target: Target, span: timedelta) -> dict[str, Any]:
    """What only repeated looks can say: how often it answered, restarts, growth of memory."""
    within = [one for one in target.samples if target.now - _time(one) <= span]
    up = [bool(one.get("up")) for one in within]
    starts = [one["started"] for one in within if one.get("started")]
    memory = [(_time(o).timestamp(), o["memory_bytes"]) for o in within if o.get("memory_bytes")]
    return {
        "looks": len(up),
        "uptime_share": sum(up) / len(up) if len(up) >= 10 else None,
        "restarts": _jumps(starts) if len(starts) > 1 else None,
        "memory_growth_share_per_hour": _slope(memory),
        "watched_hours": (target.now - _time(within[0])).total_seconds() / 3600 if within else 0.0,
    }


def _jumps(starts: list[float]) -> int:
    return sum(1 for one, other in pairwise(starts) if abs(other - one) > 1)


def _slope(points: list[tuple[float, float]]) -> float | None:
    """The median of the slopes between halves (a robust line), as a share of the median an hour."""
    if len(points) < 10:
        return None
    half = len(points) // 2
    pairs = zip(points[:half], points[-half:], strict=True)
    slopes = sorted((b[1] - a[1]) / (b[0] - a[0]) for a, b in pairs if b[0] > a[0])
    middle = sorted(value for _, value in points)[len(points) // 2]
    return slopes[len(slopes) // 2] * 3600 / middle if slopes and middle else None


def _time(sample: Mapping[str, Any]) -> datetime:
    return datetime.fromisoformat(sample["at"])


def _lines(values: Mapping[str, float]) -> dict[readings.Line, float]:
    return {_line(name): value for name, value in values.items()}


def _line(text: str) -> readings.Line:
    name, pairs = msgspec.json.decode(text, type=tuple[str, list[tuple[str, str]]])
    return name, tuple(pairs)
