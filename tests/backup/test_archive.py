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
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from insight_cloud.backup import (
    Catalogue,
    Job,
    archive,
    base,
    opened,
    pruning,
    restore,
    state,
    verify,
)
from insight_cloud.backup.archive import (
    SLOT,
    Archived,
    Archiver,
    Log,
    segment_of,
    segments_between,
)
from insight_cloud.backup.recovery import recover
from insight_cloud.core.errors import Conflict, Corrupt, InsightError, Missing, Refused
from insight_cloud.core.storage import Store
from tests import postgres
from tests.backup import world
from tests.backup.faulty import Faulty

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
    first = segment_of(1, created.manifest.start_lsn, 16 * 1024 * 1024)
    with _without_the_segment_behind(job, first) as missing, pytest.raises(Corrupt) as caught:
        await recover(job, catalogue, after_two, place / "four", uid=_uid())
    assert f"has a hole: the segment {missing} is missing" in str(caught.value)
    _damage(job, segment_of(1, created.manifest.start_lsn, 16 * 1024 * 1024))
    with pytest.raises(Corrupt, match="segment 0000"):
        await recover(job, catalogue, after_two, place / "four", uid=_uid())
    assert not (place / "four").exists()
    server.start()
    await server.ready()


@contextlib.contextmanager
def _without_the_segment_behind(job: Job, first: str) -> Iterator[str]:
    """Lose one object of the middle of the archive for a while; its name without the timeline."""
    name = f"{int(first[8:], 16) + 1:016X}"
    lost = _wal(job) / "lost"
    (path,) = _wal(job).glob(f"00000001{name}.*")
    path.rename(lost)
    yield name
    lost.rename(path)


def _wal(job: Job) -> Path:
    return Path(job.stores[0].root, job.name, "wal")  # type: ignore[attr-defined]


def _damage(job: Job, segment: str) -> None:
    (path,) = _wal(job).glob(f"{segment}.*.sealed")
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


async def test_a_base_backup_is_no_database(server: postgres.Debian, place: Path) -> None:
    """Restored as one, nothing would come, and would replace what is there."""
    job = world.job_for(server.url, place)
    created = await base(job)
    catalogue = Catalogue(job.stores[0], job.name)
    backup = await opened(catalogue, created.manifest.id, job.identity)
    await world.execute(server.url, "create database precious")
    for name in ("precious", "new"):
        with pytest.raises(Refused, match="copy of a whole cluster"):
            await restore(
                backup, job.url, name, programs=job.programs, parallel=2, replace="precious"
            )
    assert "precious" in await world.databases(server.url)
    (held,) = (await catalogue.read()).bases
    checks = await verify(job, catalogue, held, level="restore")
    assert [check.status for check in checks] == ["pass", "pass", "pass", "skip"]


async def test_a_store_that_is_away_holds_up_no_other(server: postgres.Debian, place: Path) -> None:
    job = world.job_for(server.url, place)
    broken = Faulty(world.folder(place / "other"), "unreachable")
    both = dataclasses.replace(job, stores=(broken, *job.stores))
    heard: list[InsightError | None] = []

    async def trouble(store: Store, error: InsightError | None) -> None:
        assert store is broken
        heard.append(error)

    told: list[Archived] = []
    work = asyncio.create_task(Archiver(both, place / "spool", 0.5, told.append, trouble).run())
    await _until(lambda: len(told) > 3)
    await world.execute(server.url, "create table t (id int)", "select pg_switch_wal()")
    at = await world.value(server.url, "select clock_timestamp()")
    await _safe(told, at)
    assert len(heard) == 1  # not with each attempt
    assert "cannot be reached" in str(heard[0])
    good, bad = Log(job.stores[0], job.name), Log(broken.inner, job.name)
    reached = await good.reaches()
    assert reached is not None
    assert reached.at > at
    assert await bad.reaches() is None
    broken.fault = None
    await _until(lambda: heard[-1] is None)
    for _ in range(600):
        caught_up = await bad.reaches()
        if caught_up is not None and caught_up.at > at:
            break
        await asyncio.sleep(0.05)
    kept = [
        {item.path async for item in each.store.list() if ".partial" not in item.path}
        for each in (good, bad)
    ]
    assert kept[0] == kept[1]
    assert len(kept[0]) > 2
    with pytest.raises(Conflict, match="is active"):
        await archive.end(job)
    work.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await work


async def test_an_archive_that_is_ended_costs_the_server_nothing(
    server: postgres.Debian, place: Path
) -> None:
    job = world.job_for(server.url, place)
    async with archiving(job, place / "spool"):
        await base(job)
    oldest = timedelta(days=1)
    checks = state.check(await state.read(job), now=job.clock(), oldest=oldest)
    assert checks[-1].detail.startswith("there is no good backup")  # a base backup is none
    slots = "select count(*) from pg_replication_slots"
    for _ in range(100):  # the server notices a moment later that the receiver is gone
        with contextlib.suppress(Conflict):
            await archive.end(job)
            break
        await asyncio.sleep(0.05)
    assert await world.value(server.url, slots) == 0
    reached = await Log(job.stores[0], job.name).reaches()
    assert reached is not None
    assert reached.ended
    await archive.end(job)  # a second time is no error


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
        old = await log.before(first)
        assert old
        assert all(path.rpartition("/")[2][:24] < first for path in old)
        catalogue = Catalogue(job.stores[0], job.name)
        plans = await pruning.plan(job, [await catalogue.read()])
        assert [change.before for change in plans[0].plan] == [f"log before {first}"]
        assert f"{len(old)} segments" in plans[0].plan.changes[0].reason
        assert await log.before(first) == old  # a plan changes nothing
        await pruning.apply(job, plans)
        assert await log.before(first) == []
        assert not (await pruning.plan(job, [await catalogue.read()]))[0].plan
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


def test_the_segments_from_one_place_to_another() -> None:
    size = 16 * 1024 * 1024
    assert list(segments_between("0/2000028", "0/2000028", size)) == ["0000000000000002"]
    assert list(segments_between("0/2000028", "0/3000000", size)) == ["0000000000000002"]
    assert list(segments_between("0/FE000028", "1/1", size)) == [
        "00000000000000FE",
        "00000000000000FF",
        "0000000100000000",
    ]
