"""Which backups stay, and why: pure, the present moment is an argument.

A backup stays for the days of its type. Whatever the days say, the newest good ones stay, and
ages are counted from at most a day after the newest good one: when backups stop, or a clock
runs away, nothing that could still be restored grows old.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeAlias

from insight_cloud.backup.manifest import Type
from insight_cloud.core.errors import SettingsError
from insight_cloud.core.plan import Change, Plan

__all__ = ["Decision", "Entry", "Policy", "decide", "decide_bases", "needed", "plan"]

_GRACE = timedelta(days=1)
_Days: TypeAlias = Mapping[Type, int] | Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Policy:
    """Days for which each type is kept, and how many of the newest good ones always are."""

    days: Mapping[Type, int] = field(
        default_factory=lambda: {"daily": 7, "weekly": 28, "monthly": 365, "manual": 30}
    )
    at_least: int = 3

    def __post_init__(self) -> None:
        if self.at_least < 1 or any(days < 0 for days in self.days.values()):
            raise SettingsError("a retention keeps at least one backup, and days are not negative")


@dataclass(frozen=True, slots=True)
class Entry:
    """What the rule needs to know of a backup in one store."""

    id: str
    type: Type
    at: datetime
    good: bool = True
    """Whether it is complete and has not failed a verification."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether `entry` stays: kept for `reasons`, or removed because there are none."""

    entry: Entry
    reasons: tuple[str, ...]

    @property
    def keep(self) -> bool:
        """Whether it stays."""
        return bool(self.reasons)


def decide(entries: Iterable[Entry], *, policy: Policy, now: datetime) -> tuple[Decision, ...]:
    """Decide about every backup of one database in one store, the newest first."""
    ordered = sorted(entries, key=lambda entry: (entry.at, entry.id), reverse=True)
    good = [entry for entry in ordered if entry.good]
    reference = min(now, good[0].at + _GRACE) if good else now
    decisions = []
    for entry in ordered:
        reasons = [*_place(entry, good, policy), *_age(entry, policy, now, reference)]
        if not good:
            reasons.append("there is no good backup")
        decisions.append(Decision(entry, tuple(reasons)))
    return tuple(decisions)


def _place(entry: Entry, good: Sequence[Entry], policy: Policy) -> Iterable[str]:
    if good and entry == good[0]:
        yield "newest good backup"
    elif entry in good[: policy.at_least]:
        yield f"among the {policy.at_least} newest good"


def _age(entry: Entry, policy: Policy, now: datetime, reference: datetime) -> Iterable[str]:
    days = policy.days.get(entry.type, 0)
    if entry.at > now:
        yield "dated in the future: is a clock wrong?"
    elif reference - entry.at < timedelta(days=days):
        yield f"{entry.type}, kept {days} days"


def needed(bases: Iterable[Entry], *, days: int, now: datetime) -> tuple[Entry, ...]:
    """The base backups that reach back `days`: all younger ones, and the newest that is older.

    Ages are counted from at most a day after the newest good one, as everywhere here.
    """
    good = sorted((entry for entry in bases if entry.good), key=lambda one: (one.at, one.id))
    if not good:
        return ()
    edge = min(now, good[-1].at + _GRACE) - timedelta(days=days)
    older = [entry for entry in good if entry.at <= edge]
    return (*older[-1:], *(entry for entry in good if entry.at > edge))


def decide_bases(bases: Iterable[Entry], *, days: int, now: datetime) -> tuple[Decision, ...]:
    """Decide about every base backup: those stay that are needed, and young ones, good or not."""
    ordered = sorted(bases, key=lambda entry: (entry.at, entry.id), reverse=True)
    wanted = {entry.id for entry in needed(ordered, days=days, now=now)}
    oldest = min((entry.at for entry in ordered if entry.id in wanted), default=None)
    decisions = []
    for entry in ordered:
        reasons = []
        if entry.id in wanted:
            reasons.append(f"restore --at begins with it, back to {days} days")
        elif oldest is None:
            reasons.append("there is no good base backup")
        elif entry.at > oldest:
            reasons.append("not good, but as young as one that is needed")
        decisions.append(Decision(entry, tuple(reasons)))
    return tuple(decisions)


def plan(decisions: Iterable[Decision], *, store: str, days: _Days) -> Plan:
    """The removals, with their reasons; `days` are those of each type."""
    return Plan(
        tuple(
            Change(
                "delete",
                f"{store}: {entry.id}",
                before=entry.id,
                reason=_past(entry, days),
            )
            for entry in (decision.entry for decision in decisions if not decision.keep)
        )
    )


def _past(entry: Entry, days: _Days) -> str:
    past = f"{entry.type}, older than {days.get(entry.type, 0)} days"
    return past if entry.good else f"{past}, and not good"
