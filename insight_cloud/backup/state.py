"""How the backups of a job stand, store by store: for `status`, for checks, for metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias

from insight_cloud.backup import drills
from insight_cloud.backup.archive import Archived, Log, first_segment
from insight_cloud.backup.catalogue import Catalogue
from insight_cloud.backup.drills import Drilled
from insight_cloud.backup.job import Job
from insight_cloud.core.errors import InsightError
from insight_cloud.core.report import Check, Status

Sample: TypeAlias = tuple[str, Mapping[str, str], float]
"""Name, labels, value: what a collector of metrics returns."""

__all__ = ["Sample", "State", "check", "read", "samples"]

_DRILL_AGE = timedelta(days=35)
_ARCHIVE_AGE = timedelta(minutes=10)
"""An archive that is this late does not run: it is so every few seconds."""


@dataclass(frozen=True, slots=True)
class State:
    """One store; with a `problem` nothing else is known."""

    store: str
    problem: str | None = None
    newest_id: str | None = None
    newest_at: datetime | None = None
    newest_bytes: int = 0
    good: int = 0
    bad: tuple[tuple[str, str], ...] = ()
    """Backups that must not be trusted, and why."""
    unfinished: int = 0
    drilled: Drilled | None = None
    archived: Archived | None = None
    """How far the archive reaches, if there is one."""
    oldest_base: datetime | None = None
    """The earliest moment that `restore --at` reaches."""


async def read(job: Job) -> tuple[State, ...]:
    """Ask every store; one that does not answer is told as such, and hides no other."""
    return tuple(await asyncio.gather(*(_read(Catalogue(store, job.name)) for store in job.stores)))


async def _read(catalogue: Catalogue) -> State:
    try:
        holdings = await catalogue.read()
        drilled = await drills.last(catalogue)
        log = Log(catalogue.store, catalogue.name)
        archived = await log.reaches()
        begins = None if archived is None else await log.begins(archived)
    except InsightError as error:
        return State(catalogue.store.url, problem=str(error))
    good = [held for held in holdings.logical if held.good]
    newest = good[0] if good else None
    return State(
        store=catalogue.store.url,
        newest_id=newest.id if newest else None,
        newest_at=newest.at if newest else None,
        newest_bytes=newest.manifest.stored_bytes if newest and newest.manifest else 0,
        good=len(good),
        bad=tuple((held.id, held.problem or "") for held in holdings.backups if not held.good),
        unfinished=len(holdings.unfinished),
        drilled=drilled,
        archived=archived,
        oldest_base=min(
            (
                held.at
                for held in holdings.bases
                if held.good and begins is not None and first_segment(held)[8:] >= begins
            ),
            default=None,
        ),
    )


def check(states: Sequence[State], *, now: datetime, oldest: timedelta) -> list[Check]:
    """Judge: has every store a young good backup, did a drill work, does the archive run."""
    return [check for state in states for check in _judge(state, now, oldest)]


def _judge(state: State, now: datetime, oldest: timedelta) -> Iterator[Check]:
    name = f"backup {state.store}"
    if state.problem is not None:
        yield Check(name, "fail", state.problem)
        return
    if state.newest_at is None:
        yield Check(name, "fail", "there is no good backup: run `insight backup create`")
        return
    age = now - state.newest_at
    late = age > oldest
    limit = f", older than {_words(oldest)}" if late else ""
    detail = f"newest good: {state.newest_id}, {_words(age)} old{limit}; {state.good} good"
    yield Check(name, "fail" if late else "pass", detail)
    for backup_id, problem in state.bad:
        yield Check(f"{name} damaged", "warn", f"{backup_id}: {problem}")
    yield Check(f"{name} drill", *_drill(state.drilled, now))
    if state.archived is not None and not state.archived.ended:
        yield Check(f"{name} archive", *_archive(state.archived, state.oldest_base, now))


def _archive(archived: Archived, since: datetime | None, now: datetime) -> tuple[Status, str]:
    if since is None:
        return "fail", (
            "there is no base backup to begin with, or its log has a hole: run"
            " `insight backup base`"
        )
    detail = f"any moment from {since:%Y-%m-%d %H:%M:%S} to {archived.at:%Y-%m-%d %H:%M:%S} UTC"
    if now - archived.at > _ARCHIVE_AGE:
        return "fail", (
            f"{detail}, {_words(now - archived.at)} ago: `insight backup archive` does not run,"
            " and the server keeps its log for it"
        )
    return "pass", detail


def _drill(drilled: Drilled | None, now: datetime) -> tuple[Status, str]:
    if drilled is None:
        return "warn", "never: run `insight backup drill`"
    if not drilled.ok:
        return "fail", f"{drilled.at:%Y-%m-%d}: {drilled.detail}"
    late = now - drilled.at > _DRILL_AGE
    return ("warn" if late else "pass"), f"{drilled.at:%Y-%m-%d}: {drilled.detail}"


def _words(age: timedelta) -> str:
    if age < timedelta(0):
        return "in the future"
    hours = age.total_seconds() / 3600
    return f"{hours:.1f} h" if hours < 72 else f"{hours / 24:.1f} days"


def samples(states: Sequence[State], *, now: datetime) -> Iterator[Sample]:
    """Gauges of every store. `backup_age_seconds` is the one to be woken for."""
    for state in states:
        labels = {"store": state.store}
        yield "backup_reachable", labels, float(state.problem is None)
        if state.problem is not None:
            continue
        yield "backup_good", labels, state.good
        yield "backup_damaged", labels, len(state.bad)
        yield "backup_unfinished", labels, state.unfinished
        if state.newest_at is not None:
            yield "backup_age_seconds", labels, (now - state.newest_at).total_seconds()
            yield "backup_size_bytes", labels, state.newest_bytes
        if state.drilled is not None:
            yield "backup_drill_ok", labels, float(state.drilled.ok)
            yield "backup_drill_seconds", labels, state.drilled.seconds
        if state.archived is not None and not state.archived.ended:
            age = (now - state.archived.at).total_seconds()
            yield "backup_archive_age_seconds", labels, age
