"""The queue as others use it: put in, cancel, finish, recover. All of it is SQL on our own pool.

The library (procrastinate) lies behind its tables and versioned functions here, and is imported
by the worker only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Any

import msgspec

from insight_cloud.app.api import Context
from insight_cloud.core.errors import Conflict, InsightError
from insight_cloud.core.report import Check, stopwatch
from insight_cloud.database import Connection, Pool, sql

__all__ = [
    "Counts",
    "Job",
    "Recovered",
    "cancel",
    "check",
    "clean",
    "counts",
    "defer",
    "finish",
    "recover",
]

queries = sql.load(Path(__file__).with_name("queries.sql"))

_BATCH = 5_000
_BEGUN = monotonic()
_STARTING_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Job:
    """One attempt at a piece of work."""

    number: int
    attempt: int
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Counts:
    """The queue now, and how many workers are alive."""

    waiting: int
    running: int
    workers: int


@dataclass(frozen=True, slots=True)
class Recovered:
    """What became of the jobs of workers that died: `ended` are given up, or were cancelled."""

    retried: int
    ended: int


async def defer(
    connection: Connection, task: str, *, at: datetime | None = None, **arguments: Any
) -> int:
    """Queue a job as part of the caller's transaction; return its number. `at` makes it wait."""
    number: int = await connection.fetch_value(
        queries.defer, task=task, arguments=msgspec.json.encode(arguments).decode(), at=at
    )
    return number


async def cancel(connection: Connection, number: int) -> bool:
    """Take a job out of the queue, or have its worker stop it; False when it has ended."""
    return await connection.fetch_value(queries.cancel, number=number) is not None


async def finish(connection: Connection, job: Job) -> None:
    """End the job with the caller's transaction, in which its result is written.

    Both are committed or neither, and only while the job is still ours: so a job takes effect
    once, whether its worker dies before the commit, after it, or was taken for dead and was not.

    Raises:
        Conflict: the job was cancelled, or given to another worker.
    """
    ours = await connection.fetch_value(queries.finish, number=job.number, attempt=job.attempt)
    if ours is None:
        raise Conflict(f"job {job.number} is not ours any more: cancelled, or given to another")


async def recover(pool: Pool, *, stalled: timedelta, tries: int) -> Recovered:
    """Give the jobs of dead workers to others, or up after `tries`. Anybody may, at any time."""

    async def work(connection: Connection) -> Recovered:
        return await connection.fetch_one(queries.recover, Recovered, stalled=stalled, tries=tries)

    return await pool.run(work)


async def counts(context: Context) -> Counts:
    """Count what waits and runs, and who is there to do it."""
    stalled = timedelta(seconds=context.settings.jobs.stalled_seconds)
    return await context.pool.fetch_one(queries.counts, Counts, stalled=stalled)


async def clean(context: Context) -> int:
    """Forget jobs that ended long ago, in batches, and workers that died; return how many jobs."""
    before = context.now() - timedelta(days=context.settings.jobs.keep_days)
    total = 0
    while True:
        deleted = await context.pool.execute(queries.clean, before=before, batch=_BATCH)
        total += deleted
        if deleted < _BATCH:
            break
    await context.pool.execute(queries.forget_workers, before=before)
    return total


async def check(context: Context) -> list[Check]:
    """Whether somebody does what is queued; a process that has just begun has no worker yet."""
    with stopwatch() as watch:
        try:
            now = await counts(context)
        except InsightError as error:
            return [Check("jobs.queue", "fail", str(error), watch.seconds)]
    detail = f"{now.waiting} waiting, {now.running} running, {now.workers} workers"
    if now.workers or monotonic() - _BEGUN < _STARTING_SECONDS:
        return [Check("jobs.queue", "pass", detail, watch.seconds)]
    advice = "start `insight worker`, or set jobs.in_process"
    return [Check("jobs.queue", "warn", f"{detail}: {advice}", watch.seconds)]
