"""One run of the checklist: every probe asked, every answer kept with its evidence."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, Literal, TypeAlias

import msgspec

from insight_cloud.core.errors import InsightError
from insight_cloud.core.report import stopwatch
from insight_cloud.launch import probes
from insight_cloud.launch.conditions import bound, fill, judge
from insight_cloud.launch.items import Item, Phase, Probe
from insight_cloud.launch.target import NotRun, Target

__all__ = ["FORMAT", "Answer", "Outcome", "Run", "answer", "make"]

FORMAT = "insight-launch/1"
Outcome: TypeAlias = Literal["pass", "fail", "error", "not_run", "unsigned"]
"""`error` is a probe that was not answered, `not_run` one that could not be asked."""

_AT_ONCE = 8
_SECONDS = 180.0
_WORST_FIRST: tuple[Outcome, ...] = ("fail", "error", "not_run", "pass")
_DISTURBING = {"limits"}
"""Kinds that others would feel: they use limits up. They come last, one after the other."""


class Answer(msgspec.Struct, frozen=True):
    """What became of one item: the outcome, the reason, and what was found."""

    id: str
    phase: Phase
    at: float
    section: str
    text: str
    outcome: Outcome
    reason: str = ""
    evidence: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    seconds: float = 0.0


class Run(msgspec.Struct, frozen=True):
    """A whole run. It holds no secret: the database is only said to be known."""

    at: datetime
    name: str
    answers: tuple[Answer, ...]
    phase: Phase | None = None
    url: str | None = None
    release: str | None = None
    commit: str | None = None
    launch_at: datetime | None = None
    seconds: float = 0.0
    format: str = FORMAT


async def make(
    target: Target,
    items: Sequence[Item],
    *,
    phase: Phase | None = None,
    tell: Callable[[Answer], None] = lambda _: None,
) -> Run:
    """Ask every probe of `items`; `tell` hears each answer as it comes."""
    at_once = asyncio.Semaphore(_AT_ONCE)

    async def ask(item: Item) -> Answer:
        async with at_once:
            found = await answer(target, item)
        tell(found)
        return found

    with stopwatch() as watch:
        quiet = [item for item in items if not _disturbs(item)]
        found = {one.id: one for one in await asyncio.gather(*map(ask, quiet))}
        for item in items:
            if _disturbs(item):
                found[item.id] = await ask(item)
    about = target.file.about
    return Run(
        at=target.now,
        name=about.name,
        answers=tuple(found[item.id] for item in items),
        phase=phase,
        url=target.url,
        release=target.computed.get("release"),
        commit=target.computed.get("commit"),
        launch_at=about.at,
        seconds=round(watch.seconds, 2),
    )


def _disturbs(item: Item) -> bool:
    return any(probe.kind in _DISTURBING for probe in item.probes)


async def answer(target: Target, item: Item) -> Answer:
    """Ask the probes of one item. The worst of them is the answer."""
    with stopwatch() as watch:
        found = [await _asked(target, probe) for probe in item.probes]
    outcome, reason = _together(found)
    return Answer(
        id=item.id,
        phase=item.phase,
        at=item.at,
        section=item.section,
        text=item.text,
        outcome=outcome,
        reason=target.hidden(reason),
        evidence=tuple(target.hidden(line) for _, _, lines in found for line in lines),
        kinds=tuple(probe.kind for probe in item.probes),
        seconds=round(watch.seconds, 3),
    )


def _together(found: Iterable[tuple[Outcome, str, Any]]) -> tuple[Outcome, str]:
    outcomes = [(outcome, reason) for outcome, reason, _ in found]
    for worst in _WORST_FIRST:
        reasons = [reason for outcome, reason in outcomes if outcome == worst]
        if reasons:
            return worst, "; ".join(dict.fromkeys(filter(None, reasons)))
    return "unsigned", "a named person signs: insight launch sign"


async def _asked(target: Target, probe: Probe) -> tuple[Outcome, str, tuple[str, ...]]:
    try:
        async with asyncio.timeout(_SECONDS):
            parameters = fill(dict(probe.parameters), target.value)
            wanted = [bound(condition, target.value) for condition in probe.conditions()]
            document = await probes.reader(probe.kind)(target, parameters)
    except NotRun as reason:
        return "not_run", str(reason), ()
    except InsightError as error:
        return "error", str(error), ()
    except TimeoutError:
        return "error", f"no answer within {_SECONDS:g} s", ()
    except (KeyError, TypeError, ValueError) as error:
        return "error", f"the {probe.kind} probe cannot use its parameters: {error!r}", ()
    judged = [judge(condition, document, now=target.now) for condition in wanted]
    evidence = tuple(one.found for one in judged)
    broken = [
        f"{one.found}, wanted {condition.text}"
        for condition, one in zip(wanted, judged, strict=True)
        if not one.holds
    ]
    return ("fail", "; ".join(broken), evidence) if broken else ("pass", "", evidence)
