"""A worker in a process of its own, to be killed: `python -m tests.app.jobs.hand URL`.

Each job writes one row of `effects`, the way a real one writes its result.
"""

from __future__ import annotations

import asyncio
import sys

from insight_cloud.app import jobs
from insight_cloud.app.api import Context
from insight_cloud.app.jobs import Job
from insight_cloud.database import Pool
from insight_cloud.settings import JobsSettings, Settings

SETTINGS = Settings(jobs=JobsSettings(heartbeat_seconds=0.5, stalled_seconds=3, tries=10))


async def write(context: Context, job: Job) -> None:
    """Take a moment, as work does, and write what came of it."""
    async with context.pool.transaction() as db:
        await db.execute("insert into begun (n) values (%(n)s)", n=job.arguments["n"])
    await asyncio.sleep(job.arguments["seconds"])
    async with context.pool.transaction() as db:
        await jobs.finish(db, job)
        await db.execute("insert into effects (n) values (%(n)s)", n=job.arguments["n"])


async def main(url: str) -> None:
    """Work until we are killed."""
    async with (
        Pool(url, min_size=1, max_size=4) as pool,
        jobs.working(Context(pool, SETTINGS), {"write": write}, at_once=4),
    ):
        print("working", flush=True)  # noqa: T201 - whom we belong to waits for it
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
