"""Many people at once: the load scenarios, with what must hold while they are there."""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from insight_cloud import load
from insight_cloud.core.errors import Missing
from insight_cloud.load.scenario import Crowd, Limits, Scenario, Stage, Strict
from insight_cloud.verify.asking import Answer, Asker, NotRunError, failed, passed
from insight_cloud.verify.subject import Subject

if TYPE_CHECKING:
    from insight_cloud.load import Figures
    from insight_cloud.load.figures import Slice

__all__ = ["QUESTIONS", "run", "scenario"]

_THRESHOLDS: dict[str, list[str | Strict]] = {
    "http_req_duration": ["p(95)<2000", "p(99)<5000"],
    "http_req_failed": ["rate<0.01"],
}
_WORDS = {
    "p(95)<2000": "95 of 100 answers come within 2 s",
    "p(99)<5000": "99 of 100 answers come within 5 s",
    "rate<0.01": "less than 1 % of the requests fail",
}
_LIMITS = Limits(lag_ms=100)  # a twentieth of the tightest threshold
_STILL_MS, _STILL_TIMES = 500, 20
_SLOWER_TIMES, _SLOWER_MS = 3, 100
_SHORT_SECONDS, _SECONDS = 15, 60
_SHORT_RATE, _RATE = 8, 20


async def run(subject: Subject, asker: Asker) -> None:
    """Let them come, then ask what was seen."""
    found: list[Figures] = []

    async def come() -> Answer:
        wanted = await scenario(subject)
        try:
            figures = await load.run(wanted, subject.url, ca_file=subject.ca_file)
        except Missing as error:
            raise NotRunError(str(error)) from error
        if not figures.valid:
            return Answer("error", "; ".join(figures.invalid))
        found.append(figures)
        own = figures.generator
        return passed(
            f"{figures.total.count} requests in {figures.seconds:.0f} s; the generator used "
            f"{own.cpu_percent:.0f} % of a core"
        )

    seconds = 3 * (_SHORT_SECONDS if subject.short else _SECONDS) + 90
    await asker.ask("the load could be made", come, seconds=seconds)
    for name, question in QUESTIONS.items():
        await asker.ask(name, _answer(found, question))


async def scenario(subject: Subject) -> Scenario:
    """The journey through an account where accounts may be made, else the pages."""
    if subject.writes and await _has_accounts(subject):
        return load.built_in("smoke" if subject.short else "short")
    rate = _SHORT_RATE if subject.short else _RATE
    # Each passage asks for every page once.
    each = max(1.0, rate / len(subject.pages))
    crowd = Crowd(
        kind="arrivals",
        start=each,
        stages=(Stage(_SHORT_SECONDS if subject.short else _SECONDS, each),),
        steps=tuple(load.paths(subject.pages)),
        drain_seconds=10,
    )
    return Scenario(
        name="pages", scenarios={"visitors": crowd}, thresholds=_THRESHOLDS, generator=_LIMITS
    )


async def _has_accounts(subject: Subject) -> bool:
    async with subject.client() as client:
        return (await client.get("/register")).status_code == 200


def _answer(
    found: Sequence[Figures], question: Callable[[Figures], Answer]
) -> Callable[[], Awaitable[Answer]]:
    async def answer() -> Answer:
        if not found:
            raise NotRunError("the load could not be made")
        return question(found[0])

    return answer


def _threshold(words: str) -> Callable[[Figures], Answer]:
    expression = next(each for each, said in _WORDS.items() if said == words)

    def question(figures: Figures) -> Answer:
        judged = next(each for each in figures.thresholds if each.expression == expression)
        errors = [f"{each.count} times {each.name}: {each.error}" for each in figures.errors]
        unit = f"{judged.value:.1%}" if expression.startswith("rate") else f"{judged.value:.0f} ms"
        if judged.passed:
            return passed(unit)
        slow = [f"{each.name}: p95 {each.ms.p95:.0f} ms" for each in figures.requests]
        return failed(unit, *(errors if expression.startswith("rate") else slow))

    return question


def _still(figures: Figures) -> Answer:
    """A pause of everything: some wait long, though most are answered at once."""
    ms = figures.total.ms
    detail = f"p50 {ms.p50:.0f} ms, p99 {ms.p99:.0f} ms"
    still = ms.p99 > _STILL_MS and ms.p99 > _STILL_TIMES * ms.p50
    return failed(f"{detail}: it stood still for a while") if still else passed(detail)


def _slower(figures: Figures) -> Answer:
    """The last third of the run beside the first."""
    parts = [part for part in figures.timeline if part.requests]
    third = len(parts) // 3
    if third < 2:
        raise NotRunError("the run was too short to see it")
    first, last = _usual(parts[:third]), _usual(parts[-third:])
    detail = f"from {first:.0f} ms to {last:.0f} ms"
    slower = last > _SLOWER_TIMES * first and last - first > _SLOWER_MS
    return (failed if slower else passed)(detail)


def _usual(parts: Sequence[Slice]) -> float:
    return statistics.median(part.p50_ms for part in parts)


QUESTIONS: Mapping[str, Callable[[Figures], Answer]] = {
    **{words: _threshold(words) for words in _WORDS.values()},
    "it never stands still": _still,
    "it does not get slower": _slower,
}
"""What is asked about the figures of a run."""
