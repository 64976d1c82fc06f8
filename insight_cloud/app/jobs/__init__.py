"""Work that outlives its request: a queue in the database, and workers on any machine.

async with context.pool.transaction() as db:
    await jobs.defer(db, "analyse", source=42)  # queued if, and only if, this commits

async with jobs.working(context, {"analyse": analyse}):
    ...  # until the end of this block, jobs are taken from the queue
"""

from __future__ import annotations

from insight_cloud.app.jobs.queue import (
    Counts,
    Job,
    cancel,
    check,
    clean,
    counts,
    defer,
    finish,
    recover,
)
from insight_cloud.app.jobs.worker import Task, working

__all__ = [
    "Counts",
    "Job",
    "Task",
    "cancel",
    "check",
    "clean",
    "counts",
    "defer",
    "finish",
    "recover",
    "working",
]
