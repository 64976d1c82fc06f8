"""SIGKILL at random moments: nothing bad is listed, no database is half, the next run cleans up."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import random
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from insight_cloud.backup import Catalogue, Job, create, opened, restore, verify
from tests import postgres
from tests.backup import world

KILLS = int(os.environ.get("TEST_KILLS", "10"))  # of each

_WORKER = """
import asyncio, sys
from pathlib import Path
from insight_cloud.backup import Catalogue, Job, create, opened, restore
from tests.backup import world

what, url, root, name = sys.argv[1:]
job = Job("shop", url, (world.folder(Path(root)),), programs=world.programs(),
          shard_bytes=world.SHARD_BYTES, parallel=2)

async def main():
    print("started", flush=True)
    if what == "create":
        return await create(job)
    catalogue = Catalogue(job.stores[0], job.name)
    held = (await catalogue.read()).newest_good()
    backup = await opened(catalogue, held.id, None)
    await restore(backup, url, name, programs=job.programs, parallel=2, replace=name)

asyncio.run(main())
print("ended", flush=True)
"""


@pytest.fixture
def job(job: Job) -> Job:
    return dataclasses.replace(job, lock=None, identity=None)


class _Worker:
    """A process that does the work, and can be killed while it does."""

    def __init__(self, what: str, job: Job, name: str = "-") -> None:
        root = job.stores[0].root  # type: ignore[attr-defined]
        self._process = subprocess.Popen(
            [sys.executable, "-c", _WORKER, what, job.url, str(root), name],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        assert self._process.stdout is not None
        self._out = self._process.stdout
        assert self._out.readline() == "started\n"
        self._began = time.monotonic()

    def finish(self) -> float:
        """Seconds that it took, when nobody kills it."""
        assert self._out.readline() == "ended\n"
        seconds = time.monotonic() - self._began
        self._close()
        return seconds

    def kill_after(self, seconds: float) -> bool:
        """Whether it was killed in time."""
        time.sleep(seconds)
        self._process.kill()
        ended = self._out.read()
        self._close()
        return ended == ""

    def _close(self) -> None:
        self._process.wait()
        self._out.close()


@pytest.mark.timeout(30 * KILLS)
async def test_a_killed_backup_is_never_listed_and_is_cleaned_up(job: Job) -> None:
    catalogue = Catalogue(job.stores[0], job.name)
    whole = await asyncio.to_thread(lambda: _Worker("create", job).finish())
    draw = random.Random()
    killed = 0
    for _ in range(KILLS):
        seconds = draw.uniform(0, whole)
        killed += await asyncio.to_thread(partial(_Worker("create", job).kill_after, seconds))
        for held in (await catalogue.read()).backups:
            assert held.good, held.problem
            checks = await verify(job, catalogue, held)
            assert {check.status for check in checks} == {"pass"}
    assert killed > 0
    await _until_nobody_dumps(job)
    await create(job)
    assert (await catalogue.read()).unfinished == ()
    assert await job.stores[0].leftovers() == () or killed


async def _until_nobody_dumps(job: Job) -> None:
    """The server notices the end of a killed client when it next writes to it."""
    for _ in range(200):
        left = await world.value(
            job.url,
            "select count(*) from pg_stat_activity where datname = current_database()"
            " and application_name = 'insight backup' and pid <> pg_backend_pid()",
        )
        if not left:
            return
        await asyncio.sleep(0.05)
    pytest.fail("a backend of a killed client does not end")


@pytest.mark.timeout(30 * KILLS)
async def test_a_killed_restore_leaves_the_old_database_or_the_new_one(job: Job) -> None:
    await create(job)
    whole_schema = await world.value(job.url, "select count(*) from pg_class")
    draw = random.Random()
    async with postgres.database(job.url) as url:
        name = url.rpartition("/")[2].partition("?")[0]
        await world.execute(url, "create table precious (id int)")
        scratch = f"{name}_timed"
        whole = await asyncio.to_thread(lambda: _Worker("restore", job, scratch).finish())
        await world.execute(job.url, f"drop database {scratch}".encode())
        swapped = False
        for _ in range(KILLS):
            seconds = draw.uniform(0, whole)
            await asyncio.to_thread(partial(_Worker("restore", job, name).kill_after, seconds))
            old = await world.value(url, "select to_regclass('precious') is not null")
            swapped = swapped or not old
            if not old:
                assert await world.value(url, "select count(*) from pg_class") == whole_schema
                assert await world.value(url, "select count(*) from orders") == 2500
        await _restore_again(job, name)
        assert await world.value(url, "select count(*) from orders") == 2500
        left = await world.databases(job.url)
        assert [one for one in left if one.startswith(name[:30]) and "__restore_" in one] == []
        for one in left:
            if one.startswith(f"{name[:30]}") and "__before_" in one:
                await world.execute(job.url, f'drop database "{one}"'.encode())


async def _restore_again(job: Job, name: str) -> None:
    catalogue = Catalogue(job.stores[0], job.name)
    held = (await catalogue.read()).newest_good()
    backup = await opened(catalogue, held.id, None)
    for _ in range(100):
        await restore(backup, job.url, name, programs=job.programs, parallel=2, replace=name)
        left = await world.databases(job.url)
        if not [one for one in left if one.startswith(name[:30]) and "__restore_" in one]:
            return
        await asyncio.sleep(0.05)  # the lock of a killed one is still held
