"""Go or no-go: how each item stands with its waivers and signatures, and what changed. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Literal, TypeAlias

import msgspec

from insight_cloud.launch.run import Answer, Run

__all__ = [
    "Change",
    "Signature",
    "Standing",
    "State",
    "Verdict",
    "Waiver",
    "changes",
    "standings",
    "verdict",
]

State: TypeAlias = Literal[
    "pass", "fail", "error", "not_run", "unsigned", "signed", "waived", "not_applicable"
]
Verdict: TypeAlias = Literal["go", "no-go", "incomplete"]

_STOPS: frozenset[State] = frozenset({"fail", "error"})
_OPEN: frozenset[State] = frozenset({"not_run", "unsigned"})


class Waiver(msgspec.Struct, frozen=True):
    """Somebody answers for an item that is not as it should be, until then."""

    id: str
    by: str
    until: datetime
    why: str
    at: datetime


class Signature(msgspec.Struct, frozen=True):
    """Somebody says that an item no machine can ask about is done, for one release."""

    id: str
    by: str
    at: datetime
    note: str = ""
    release: str | None = None


class Standing(msgspec.Struct, frozen=True):
    """An answer, and what people said about it. `word` is who, until when and why."""

    answer: Answer
    state: State
    word: str = ""

    @property
    def blocks(self) -> bool:
        """Whether it keeps the launch from going on."""
        return self.state in _STOPS | _OPEN


class Change(msgspec.Struct, frozen=True):
    """An item whose outcome is another than in the run before."""

    id: str
    before: str
    after: str
    reason: str = ""


def standings(
    run: Run,
    *,
    waivers: Iterable[Waiver] = (),
    signatures: Iterable[Signature] = (),
    not_applicable: Mapping[str, str] | None = None,
    now: datetime,
) -> tuple[Standing, ...]:
    """How every item of `run` stands at `now`. What passes needs nobody's word."""
    latest = {one.id: one for one in sorted(waivers, key=lambda one: one.at)}
    signed = {
        one.id: one
        for one in sorted(signatures, key=lambda one: one.at)
        if one.release == run.release
    }
    return tuple(
        _standing(answer, latest.get(answer.id), signed.get(answer.id), not_applicable or {}, now)
        for answer in run.answers
    )


def _standing(
    answer: Answer,
    waiver: Waiver | None,
    signature: Signature | None,
    not_applicable: Mapping[str, str],
    now: datetime,
) -> Standing:
    if answer.outcome == "pass":
        return Standing(answer, "pass")
    if answer.outcome == "unsigned" and signature is not None:
        note = f": {signature.note}" if signature.note else ""
        return Standing(answer, "signed", f"signed by {signature.by}, {_day(signature.at)}{note}")
    if answer.id in not_applicable and answer.outcome in _OPEN:
        return Standing(answer, "not_applicable", not_applicable[answer.id])
    if waiver is None:
        return Standing(answer, answer.outcome)
    if now < waiver.until:
        word = f"waived by {waiver.by} until {_day(waiver.until)}: {waiver.why}"
        return Standing(answer, "waived", word)
    return Standing(answer, answer.outcome, f"the waiver of {waiver.by} ended {_day(waiver.until)}")


def verdict(found: Sequence[Standing]) -> Verdict:
    """`no-go` when anything failed, `incomplete` when anything is open, or nothing was asked."""
    states = Counter(one.state for one in found)
    if any(states[state] for state in _STOPS):
        return "no-go"
    return "go" if found and not any(states[state] for state in _OPEN) else "incomplete"


def changes(run: Run, before: Iterable[Run]) -> tuple[Change, ...]:
    """What is otherwise than when each item was asked last; `before` is the newest first."""
    known: dict[str, Answer] = {}
    for earlier in before:
        for answer in earlier.answers:
            known.setdefault(answer.id, answer)
    return tuple(
        Change(answer.id, known[answer.id].outcome, answer.outcome, answer.reason)
        for answer in run.answers
        if answer.id in known and known[answer.id].outcome != answer.outcome
    )


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
