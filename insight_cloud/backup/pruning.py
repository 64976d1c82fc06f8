"""Removing old backups: a plan with a reason for everything, applied as it was shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from insight_cloud.backup import retention
from insight_cloud.backup.archive import Log, first_segment
from insight_cloud.backup.catalogue import Catalogue, Holdings
from insight_cloud.backup.job import Job
from insight_cloud.backup.retention import Decision
from insight_cloud.core.plan import Change, Plan
from insight_cloud.core.storage import Store

__all__ = ["Pruning", "apply", "plan"]

_LOG = "log before "


@dataclass(frozen=True, slots=True)
class Pruning:
    """What stays in one store and why, and what goes."""

    store: Store
    decisions: tuple[Decision, ...]
    plan: Plan
    archive_days: int


async def plan(
    job: Job, holdings: Sequence[Holdings], *, archive_days: int = 7
) -> tuple[Pruning, ...]:
    """Decide for every store by itself: a backup that one store has lost counts in no other.

    Base backups and log stay as far as `restore --at` needs them to reach back `archive_days`.
    """
    return tuple([await _plan(job, held, archive_days) for held in holdings])


async def _plan(job: Job, held: Holdings, archive_days: int) -> Pruning:
    now = job.clock()
    dumps = retention.decide(
        (backup.entry() for backup in held.logical), policy=job.policy, now=now
    )
    bases = retention.decide_bases(
        (backup.entry() for backup in held.bases), days=archive_days, now=now
    )
    days = {str(type_): days for type_, days in job.policy.days.items()} | {"base": archive_days}
    changes = retention.plan((*dumps, *bases), store=held.store.url, days=days)
    # Applied from behind: log goes last, when no base backup is left that begins in it.
    log = await _log(job, held, bases)
    return Pruning(held.store, (*dumps, *bases), Plan((*log, *changes)), archive_days)


async def _log(job: Job, held: Holdings, bases: Sequence[Decision]) -> tuple[Change, ...]:
    kept = {decision.entry.id for decision in bases if decision.keep and decision.entry.good}
    if not kept:
        return ()
    first = min(first_segment(base) for base in held.bases if base.id in kept)
    old = await Log(held.store, job.name).before(first)
    if not old:
        return ()
    target, reason = f"{_LOG}{first}", f"{len(old)} segments that no base backup needs"
    return (Change("delete", f"{held.store.url}: {target}", before=target, reason=reason),)


async def apply(job: Job, prunings: Sequence[Pruning]) -> tuple[Change, ...]:
    """Remove what the plan says, the oldest first; return what was removed.

    Before each removal the store is asked once more: when the good backups for whose sake it
    was decided are not there any more, nothing else is removed.

    Raises:
        Unavailable, Refused: a store; what was removed before stays removed.
    """
    removed = []
    for pruning in prunings:
        catalogue = Catalogue(pruning.store, job.name)
        for change in reversed(pruning.plan.changes):
            fresh = await _plan(job, await catalogue.read(), pruning.archive_days)
            if change.before in {again.before for again in fresh.plan}:
                await _remove(job, catalogue, str(change.before))
                removed.append(change)
    return tuple(removed)


async def _remove(job: Job, catalogue: Catalogue, target: str) -> None:
    if not target.startswith(_LOG):
        await catalogue.remove(target)
        return
    old = await Log(catalogue.store, job.name).before(target.removeprefix(_LOG))
    await catalogue.store.delete(old)
