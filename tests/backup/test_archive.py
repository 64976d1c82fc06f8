"""Point in time: what was committed until T is there, what came after is not."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from insight_cloud.backup import Catalogue, Job, base
from insight_cloud.backup.archive import SLOT, Archived, Archiver, Log, segment_of
from insight_cloud.backup.recovery import recover
from insight_cloud.core.errors import Conflict, Corrupt, Missing, Refused
from tests import postgres
from tests.backup import world

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def place() -> Any:
    """A directory that the server's user may enter, unlike pytest's own."""
    directory = Path(tempfile.mkdtemp(prefix="insight-archive-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
async def server() -> AsyncIterator[postgres.Debian]:
    postgres.require_debian()
    with postgres.debian({"max_wal_senders": "10", "wal_level": "replica"}) as made:
        await made.ready()
        yield made


def _uid() -> int | None:
    return pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else None


@asynccontextmanager
async def archiving(job: Job, spool: Path) -> AsyncIterator[list[Archived]]:
    """The archiver at work; what it yields grows with each time it has sent everything."""
    told: list[Archived] = []
    work = asyncio.create_task(Archiver(job, spool, 0.5, told.append).run())
    try:
        await _until(lambda: bool(told) or work.done())
        yield told
    finally:
        work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await work


async def _until(holds: Any) -> None:
    for _ in range(1200):
        if holds():
            return
        await asyncio.sleep(0.05)
    pytest.fail("it does not happen")


async def _safe(told: list[Archived], at: datetime) -> None:
    await _until(lambda: told and told[-1].at > at)


@asynccontextmanager
async def served(data: Path) -> AsyncIterator[str]:
    """A server on a data directory that was recovered."""
    binaries = postgres.debian_binaries()
    assert binaries is not None
    sockets = Path(tempfile.mkdtemp(prefix="insight-served-"))
    if os.geteuid() == 0:
        shutil.chown(sockets, "nobody")
    (data / "pg_hba.conf").write_text("local all all trust\n")
    process = subprocess.Popen(  # noqa: ASYNC220 - a test
        [binaries / "postgres", "-D", data, "-k", sockets, "-c", "listen_addresses="],
        stderr=subprocess.DEVNULL,
        cwd="/",
        **postgres.identity(),
    )
    url = f"postgresql://insight@/postgres?host={sockets}"
    try:
        for _ in range(600):
            with contextlib.suppress(psycopg.OperationalError):
                await (await psycopg.AsyncConnection.connect(url)).close()
                break
            await asyncio.sleep(0.05)
        yield url
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(sockets)


async def test_a_cluster_comes_back_as_it_was_at_any_moment(
    server: postgres.Debian, place: Path
) -> None:
    job = world.job_for(server.url, place)
    await world.execute(server.url, "create table t (id int, at timestamptz default now())")
    async with archiving(job, place / "spool") as told:
        created = await base(job)
        assert (created.manifest.kind, created.manifest.timeline) == ("base", 1)
        await world.execute(server.url, "insert into t values (1)")
        before_drop = await world.value(server.url, "select clock_timestamp()")
        await asyncio.sleep(0.01)
        await world.execute(server.url, "insert into t values (2)", "select pg_switch_wal()")
        after_two = await world.value(server.url, "select clock_timestamp()")
        await asyncio.sleep(0.01)
        await world.execute(server.url, "drop table t")
        at_end = await world.value(server.url, "select clock_timestamp()")
        await _safe(told, at_end)
        lag = timedelta(seconds=30)
        assert datetime.now(UTC) - told[-1].at < lag
    server.stop(signal.SIGQUIT)  # the machine is lost
    catalogue = Catalogue(job.stores[0], job.name)
    done = await recover(job, catalogue, before_drop, place / "one", uid=_uid())
    async with served(done.directory) as url:
        assert await world.value(url, "select array_agg(id) from t") == [1]
    done = await recover(job, catalogue, after_two, place / "two", uid=_uid())
    assert done.segments >= 2
    async with served(done.directory) as url:
        assert await world.value(url, "select array_agg(id order by id) from t") == [1, 2]
        await world.execute(url, "insert into t values (3)")  # it can be used
    done = await recover(job, catalogue, at_end, place / "three", uid=_uid())
    async with served(done.directory) as url:
        assert await world.value(url, "select to_regclass('t') is null")

    with pytest.raises(Refused, match=r"the archive in .* ends at"):
        await recover(job, catalogue, datetime.now(UTC) + timedelta(hours=1), place / "four")
    with pytest.raises(Missing, match="no good backup from before"):
        await recover(job, catalogue, datetime(2000, 1, 1, tzinfo=UTC), place / "four")
    with pytest.raises(Conflict, match="exists"):
        await recover(job, catalogue, after_two, place / "one", uid=_uid())
    blind = dataclasses.replace(job, identity=None)
    with pytest.raises(Refused, match="identity"):
        await recover(blind, catalogue, after_two, place / "four", uid=_uid())
    assert created.manifest.start_lsn is not None
    _damage(job, segment_of(1, created.manifest.start_lsn, 16 * 1024 * 1024))
    with pytest.raises(Corrupt, match="segment 0000"):
        await recover(job, catalogue, after_two, place / "four", uid=_uid())
    assert not (place / "four").exists()
    server.start()
    await server.ready()


def _damage(job: Job, segment: str) -> None:
    root = Path(job.stores[0].root)  # type: ignore[attr-defined]
    (path,) = (root / job.name / "wal").glob(f"{segment}.*.sealed")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


async def test_the_archive_goes_on_after_it_was_killed(
    server: postgres.Debian, place: Path
) -> None:
    job = dataclasses.replace(world.job_for(server.url, place), lock=None, identity=None)
    async with archiving(job, place / "spool"):
        await base(job)
    # Nobody fetches now: the slot keeps the log on the server.
    await world.execute(server.url, "create table t as select generate_series(1, 50000) id")
    await world.execute(server.url, "select pg_switch_wal()", "insert into t values (0)")
    at = await world.value(server.url, "select clock_timestamp()")
    kept = "select count(*) from pg_replication_slots where slot_name = %s"
    assert await world.value(server.url, kept, [SLOT]) == 1
    async with archiving(job, place / "spool") as told:
        await _safe(told, at)
    done = await recover(job, Catalogue(job.stores[0], job.name), at, place / "back", uid=_uid())
    async with served(done.directory) as url:
        assert await world.value(url, "select count(*) from t") == 50001


async def test_what_no_base_backup_needs_is_forgotten(server: postgres.Debian, place: Path) -> None:
    job = world.job_for(server.url, place)
    log = Log(job.stores[0], job.name)
    async with archiving(job, place / "spool") as told:
        for _ in range(3):
            await world.execute(
                server.url, "create table if not exists t (id int)", "insert into t values (1)"
            )
            await world.execute(server.url, "select pg_switch_wal()")
            await _safe(told, await world.value(server.url, "select clock_timestamp()"))
        created = await base(job)
        assert created.manifest.start_lsn is not None
        first = segment_of(1, created.manifest.start_lsn, 16 * 1024 * 1024)
        forgotten = await log.forget(first)
        assert forgotten
        assert all(path.rpartition("/")[2][:24] < first for path in forgotten)
        at = await world.value(server.url, "select clock_timestamp()")
        await _safe(told, at)
    done = await recover(job, Catalogue(job.stores[0], job.name), at, place / "back", uid=_uid())
    async with served(done.directory) as url:
        assert await world.value(url, "select count(*) from t") == 3


def test_a_place_in_the_log_lies_in_a_segment() -> None:
    size = 16 * 1024 * 1024
    assert segment_of(1, "0/2000028", size) == "000000010000000000000002"
    assert segment_of(3, "1/FF000000", size) == "0000000300000001000000FF"
    assert segment_of(1, "0/2000028", 64 * 1024 * 1024) == "000000010000000000000000"
