"""Removing old backups: a plan with a reason for everything, applied as it was shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from insight_cloud.backup import retention
from insight_cloud.backup.archive import SEGMENT_BYTES, Log, segment_of
from insight_cloud.backup.catalogue import Catalogue, Held, Holdings
from insight_cloud.backup.job import Job
from insight_cloud.backup.retention import Decision
from insight_cloud.core.plan import Change, Plan
from insight_cloud.core.storage import Store

__all__ = ["Pruning", "apply", "forget", "plan"]


@dataclass(frozen=True, slots=True)
class Pruning:
    """What stays in one store and why, and what goes."""

    store: Store
    decisions: tuple[Decision, ...]
    plan: Plan


async def plan(job: Job, holdings: Sequence[Holdings]) -> tuple[Pruning, ...]:
    """Decide for every store by itself: a backup that one store has lost counts in no other."""
    now = job.clock()
    prunings = []
    for held in holdings:
        entries = (backup.entry() for backup in held.logical)
        decisions = retention.decide(entries, policy=job.policy, now=now)
        changes = retention.plan(decisions, store=held.store.url, policy=job.policy)
        prunings.append(Pruning(held.store, decisions, changes))
    return tuple(prunings)


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
            fresh = (await plan(job, [await catalogue.read()]))[0].plan
            if change.before in {again.before for again in fresh}:
                await catalogue.remove(str(change.before))
                removed.append(change)
    return tuple(removed)


async def forget(job: Job, holdings: Sequence[Holdings], *, days: int) -> tuple[str, ...]:
    """Remove base backups and log that `restore --at` does not need to reach back `days`.

    Base backups go first: log is removed only when none is left that begins in it.
    """
    removed = []
    for held in holdings:
        bases = [backup for backup in held.backups if backup not in held.logical]
        kept = {
            entry.id
            for entry in retention.needed(
                (base.entry() for base in bases), days=days, now=job.clock()
            )
        }
        if not kept:
            continue
        catalogue, log = Catalogue(held.store, job.name), Log(held.store, job.name)
        for base in bases:
            if base.id not in kept and base.good:
                await catalogue.remove(base.id)
                removed.append(base.id)
        first = min(_first_segment(base) for base in bases if base.id in kept)
        removed += await log.forget(first)
    return tuple(removed)


def _first_segment(base: Held) -> str:
    manifest = base.manifest
    assert manifest is not None  # noqa: S101 - only good ones are kept
    assert manifest.start_lsn is not None  # noqa: S101 - every base backup has one
    return segment_of(manifest.timeline or 1, manifest.start_lsn, SEGMENT_BYTES)
