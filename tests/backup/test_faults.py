"""What goes wrong ends well: no bad backup is listed, no database is half, the message says why."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from insight_cloud.backup import (
    Catalogue,
    Identity,
    Job,
    Lock,
    Programs,
    create,
    new_identity,
    opened,
    pruning,
    restore,
    verify,
)
from insight_cloud.backup import manifest as manifests
from insight_cloud.backup.staged import maintenance, staged, sweep
from insight_cloud.core.errors import (
    Conflict,
    Corrupt,
    InsightError,
    Missing,
    Refused,
    SettingsError,
    Unavailable,
)
from insight_cloud.core.storage import Limits, Store, open_store
from tests import postgres, stores
from tests.backup import world
from tests.backup.faulty import FAULTS, Fault, Faulty

_WORDS: dict[Fault, str] = {
    "unreachable": "cannot be reached; try again later",
    "refusing": "credentials are not accepted",
    "full": "no space left; make room and try again",
    "truncates": "bytes instead of",
    "flips when written": "its SHA-256 differs",
    "flips when read": "its SHA-256 differs",
    "loses": "is missing",
    "shortens when read": "bytes instead of",
    "list fails": "answered 503; try again later",
    "other manifest": "returned another manifest than was written",
    "create refused": "credentials are not accepted",
}
PARTS = ("database", "pre-data", "data-001", "data-rest", "post-data")
_EXPECTED: dict[Fault, type[InsightError]] = {
    "unreachable": Unavailable,
    "refusing": Refused,
    "full": Unavailable,
    "truncates": Corrupt,
    "flips when written": Corrupt,
    "flips when read": Corrupt,
    "loses": Corrupt,
    "shortens when read": Corrupt,
    "list fails": Unavailable,
    "other manifest": Corrupt,
    "create refused": Refused,
}


def with_store(job: Job, fault: Fault | None, part: str = "") -> tuple[Job, Faulty]:
    store = Faulty(job.stores[0], fault, lambda path: f"/{part}" in path)
    return dataclasses.replace(job, stores=(store,)), store


async def read(job: Job, place: int = 0) -> tuple[list[str], list[str]]:
    """Ids of the backups that are listed as good, and of what is unfinished."""
    found = await Catalogue(job.stores[place], job.name).read()
    return [held.id for held in found.backups if held.good], [one.id for one in found.unfinished]


async def nothing_is_listed(job: Job) -> None:
    holdings = await Catalogue(job.stores[0], job.name).read()
    assert holdings.backups == ()


async def a_later_run_is_good(job: Job) -> None:
    """It works again, leaves nothing of what was there, and what it made can be restored."""
    created = await create(job)
    assert await read(job) == ([created.manifest.id], [])
    _, backup = await world.newest(job)
    await backup.prove(2)


# -- a store fails -----------------------------------------------------------------------------


@pytest.mark.parametrize("fault", FAULTS)
async def test_the_only_store_fails(job: Job, fault: Fault) -> None:
    broken, store = with_store(job, fault)
    with pytest.raises(_EXPECTED[fault], match=_WORDS[fault]) as caught:
        await create(broken)
    assert store.url in str(caught.value)
    await nothing_is_listed(job)
    await a_later_run_is_good(job)


@pytest.mark.parametrize("fault", FAULTS)
async def test_one_of_two_stores_fails(job: Job, fault: Fault, tmp_path: Path) -> None:
    other = world.folder(tmp_path / "other")
    broken = Faulty(job.stores[0], fault)
    created = await create(dataclasses.replace(job, stores=(broken, other)))
    assert created.stores == (other,)
    assert isinstance(created.failures[broken], _EXPECTED[fault])
    assert _WORDS[fault] in str(created.failures[broken])
    await nothing_is_listed(job)
    both = dataclasses.replace(job, stores=(other,))
    assert await read(both) == ([created.manifest.id], [])
    _, backup = await world.newest(both)
    await backup.prove(2)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("fault", ["unreachable", "truncates", "flips when written"])
async def test_a_store_fails_at_one_part(job: Job, fault: Fault, part: str) -> None:
    broken, _ = with_store(job, fault, part)
    with pytest.raises(_EXPECTED[fault]) as caught:
        await create(broken)
    if _EXPECTED[fault] is Corrupt:
        assert f"part {part!r}" in str(caught.value)
    await nothing_is_listed(job)
    await a_later_run_is_good(job)


async def test_a_slow_store_is_waited_for(job: Job) -> None:
    slow, _ = with_store(job, "slow")
    created = await create(slow)
    assert not created.failures
    _, backup = await world.newest(job)
    await backup.prove(2)


async def test_a_directory_that_cannot_be_written(job: Job, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    blocked = dataclasses.replace(job, stores=(world.folder(tmp_path / "file" / "store"),))
    with pytest.raises((Conflict, Unavailable, Refused)) as caught:
        await create(blocked)
    assert str(tmp_path / "file") in str(caught.value)


async def test_a_store_that_loses_a_part_later_lists_it_as_damaged(job: Job) -> None:
    created = await create(job)
    catalogue = Catalogue(job.stores[0], job.name)
    await job.stores[0].delete([catalogue.path(created.manifest.id, "data-rest.pgdump.zst.sealed")])
    (held,) = (await catalogue.read()).backups
    assert held.problem == "part 'data-rest' is missing"
    with pytest.raises(Missing, match="no good backup"):
        await world.newest(job)


async def test_a_part_that_was_cut_later_is_listed_as_damaged(job: Job) -> None:
    created = await create(job)
    path = _file(job, created.manifest.id, "data-001")
    path.write_bytes(path.read_bytes()[:-1])
    (held,) = (await Catalogue(job.stores[0], job.name).read()).backups
    assert held.problem is not None
    assert "part 'data-001' has" in held.problem


async def test_parts_that_were_exchanged_are_told(job: Job) -> None:
    created = await create(job)
    one, two = (_file(job, created.manifest.id, part) for part in ("data-001", "data-002"))
    content = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(content)
    (held,) = (await Catalogue(job.stores[0], job.name).read()).backups
    checks = await verify(job, Catalogue(job.stores[0], job.name), held)
    assert not held.good or checks[-1].status == "fail"
    with pytest.raises(Corrupt, match="part 'data-00"):
        await _restore(job, created.manifest.id, "never")


def _file(job: Job, backup_id: str, part: str) -> Path:
    root = job.stores[0].root  # type: ignore[attr-defined]
    (path,) = Path(root, job.name, "backups", backup_id).glob(f"{part}.*")
    return path


async def _restore(job: Job, backup_id: str, name: str, **options: bool | str) -> None:
    backup = await opened(Catalogue(job.stores[0], job.name), backup_id, job.identity)
    await restore(
        backup,
        job.url,
        name,
        programs=job.programs,
        parallel=2,
        **options,  # type: ignore[arg-type]
    )


# -- keys and manifests ------------------------------------------------------------------------


async def test_the_wrong_key_opens_nothing(job: Job) -> None:
    created = await create(job)
    wrong = dataclasses.replace(job, identity=Identity(new_identity()[0]))
    with pytest.raises(Refused, match="age identity does not open"):
        await _restore(wrong, created.manifest.id, "never")


async def test_the_wrong_passphrase_opens_nothing(job: Job) -> None:
    words = "correct horse battery staple"
    job = dataclasses.replace(
        job, lock=Lock(passphrase=words), identity=Identity(passphrase=words[:-1])
    )
    created = await create(job)
    with pytest.raises(Refused, match="passphrase does not open"):
        await _restore(job, created.manifest.id, "never")
    age_key = dataclasses.replace(job, identity=world.IDENTITY)
    with pytest.raises(Refused, match="encrypted by a passphrase"):
        await _restore(age_key, created.manifest.id, "never")
    assert "never" not in await world.databases(job.url)


async def test_without_a_key_nothing_opens_but_the_hashes_can_be_verified(job: Job) -> None:
    created = await create(job)
    blind = dataclasses.replace(job, identity=None)
    with pytest.raises(Refused, match="identity file"):
        await _restore(blind, created.manifest.id, "never")
    catalogue = Catalogue(job.stores[0], job.name)
    (held,) = (await catalogue.read()).backups
    checks = await verify(blind, catalogue, held)
    assert [check.status for check in checks] == ["pass", "pass", "skip"]
    assert "identity" in checks[-1].detail


def _forge(job: Job, backup_id: str, change: Callable[[bytes], bytes]) -> None:
    """Change a manifest and seal it anew, as anybody who can write into the store can."""
    root = job.stores[0].root  # type: ignore[attr-defined]
    path = Path(root, job.name, "backups", backup_id, "manifest.json")
    body, seal, _ = path.read_bytes().split(b"\n")
    body = change(body)
    sealed = json.loads(seal) | {"sha256": hashlib.sha256(body).hexdigest()}
    path.write_bytes(body + b"\n" + json.dumps(sealed).encode() + b"\n")


async def test_a_forged_manifest_of_an_encrypted_backup_is_refused(job: Job) -> None:
    created = await create(job)
    _forge(
        job, created.manifest.id, lambda body: body.replace(b'"type":"manual"', b'"type":"daily"')
    )
    with pytest.raises(Corrupt, match="do not trust it"):
        await _restore(job, created.manifest.id, "never")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda body: body.replace(b'"format":1', b'"format":2'), "use a newer one"),
        (lambda body: body.replace(b'"parts":', b'"other":'), "not readable"),
        (lambda body: b"[]", "not readable"),
        (lambda body: body.replace(b"Z-manual-", b"Z-manual_"), "impossible id"),
        (lambda body: re.sub(rb"-manual-[0-9a-f]{8}", b"-manual-00000000", body), "belongs to"),
    ],
)
async def test_a_strange_manifest_is_listed_as_damaged(
    job: Job, change: Callable[[bytes], bytes], words: str
) -> None:
    created = await create(job)
    _forge(job, created.manifest.id, change)
    (held,) = (await Catalogue(job.stores[0], job.name).read()).backups
    assert held.problem is not None
    assert words in held.problem
    with pytest.raises(Missing):
        await world.newest(job)


@pytest.mark.parametrize("keep", [0, 10, 500])
async def test_a_manifest_that_was_cut_is_listed_as_damaged(job: Job, keep: int) -> None:
    created = await create(job)
    path = _file(job, created.manifest.id, "manifest")
    path.write_bytes(path.read_bytes()[:keep])
    (held,) = (await Catalogue(job.stores[0], job.name).read()).backups
    assert held.problem is not None
    assert "cut off" in held.problem


# -- the server ---------------------------------------------------------------------------------


class _Gate:
    """Stops the first write of a part until the test lets it go on."""

    def __init__(self, job: Job, part: str) -> None:
        self.reached, self.go_on = asyncio.Event(), asyncio.Event()
        gate = self

        class Waiting(Faulty):
            async def _written(self, path: str, data: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
                if f"/{part}" in path:
                    gate.reached.set()
                    await gate.go_on.wait()
                async for piece in data:
                    yield piece

        self.job = dataclasses.replace(job, stores=(Waiting(job.stores[0], None),), parallel=1)


# -- disks and machines ------------------------------------------------------------------------


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that the server's user may enter, unlike pytest's own."""
    directory = Path(tempfile.mkdtemp(prefix="insight-faults-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@contextmanager
def small_disk(folder: Path, kib: int) -> Iterator[Path]:
    """A file system of `kib` KiB in memory."""
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(folder)]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.parametrize("kib", [4, 32, 96])
async def test_a_disk_that_is_full(job: Job, place: Path, kib: int) -> None:
    with small_disk(place / "small", kib) as disk:
        full = dataclasses.replace(job, stores=(world.folder(disk),))
        with pytest.raises(Unavailable, match="No space left on device; make room"):
            await create(full)
        await nothing_is_listed(full)
        left = [path for path in disk.rglob("*") if path.is_file() and path.name != "lock"]
        assert left == []  # the room is given back
        grow = ["mount", "-o", "remount,size=16m", str(disk)]
        await asyncio.to_thread(subprocess.check_call, grow)
        await a_later_run_is_good(full)


async def test_a_full_disk_beside_one_that_has_room(job: Job, place: Path) -> None:
    with small_disk(place / "small", 64) as disk:
        small = world.folder(disk)
        created = await create(dataclasses.replace(job, stores=(small, *job.stores)))
        assert created.stores == job.stores
        assert "make room" in str(created.failures[small])
        assert (await Catalogue(small, job.name).read()).backups == ()
        assert await read(job) == ([created.manifest.id], [])


async def test_the_servers_disk_is_full_when_it_is_restored(place: Path, tmp_path: Path) -> None:
    postgres.require_debian()
    with small_disk(place / "small", 12 * 1024) as disk, postgres.debian() as server:
        if os.geteuid() == 0:
            shutil.chown(disk, "nobody")
        await server.ready()
        await world.execute(server.url, f"create tablespace small location '{disk}'".encode())
        await world.execute(server.url, "create database shop")
        url = postgres.with_database(server.url, "shop")
        await world.execute(
            url, "create table precious (id int)", "insert into precious values (7)"
        )
        await world.execute(
            url,
            "create table big tablespace small as select repeat('x', 900) x, i"
            " from generate_series(1, 9000) i",
        )
        job = world.job_for(url, tmp_path)
        created = await create(job)
        assert created.manifest.tablespaces == ("small",)
        with pytest.raises(Unavailable, match="No space left on device"):
            await _restore(job, created.manifest.id, "shop", replace="shop")
        await _is_untouched(job, "shop")
        await world.execute(url, "drop table big")
        await _restore(job, created.manifest.id, "shop", replace="shop")
        assert await world.value(url, "select count(*) from big") == 9000


def _quick() -> Limits:
    return Limits(connect_seconds=1, request_seconds=1, retries=1, retry_seconds=1)


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
async def test_a_store_in_the_network_goes_away(
    job: Job, number: signal.Signals, tmp_path: Path
) -> None:
    """A machine that is lost, or a network that swallows everything: the other store has it."""
    with stores.s3_server() as server:
        cloud = open_store(server.bucket(), server.credentials, limits=_quick())
        disk = world.folder(tmp_path / "other")
        gate = _Gate(dataclasses.replace(job, stores=(cloud,)), "data-001")
        both = dataclasses.replace(job, stores=(*gate.job.stores, disk))
        making = asyncio.create_task(create(both))
        await gate.reached.wait()
        server.process.send_signal(number)
        gate.go_on.set()
        created = await making
        assert created.stores == (disk,)
        assert isinstance(created.failures[gate.job.stores[0]], Unavailable)
        only_disk = dataclasses.replace(job, stores=(disk,))
        assert await read(only_disk) == ([created.manifest.id], [])
        if number == signal.SIGSTOP:
            server.process.send_signal(signal.SIGCONT)
            at_last = dataclasses.replace(job, stores=(cloud,))
            await nothing_is_listed(at_last)
            later = await create(at_last)
            assert (await read(at_last))[0] == [later.manifest.id]


async def test_the_network_is_lost_while_restoring(job: Job, target: str) -> None:
    with stores.s3_server() as server:
        cloud: Store = open_store(server.bucket(), server.credentials, limits=_quick())
        there = dataclasses.replace(job, stores=(cloud,))
        created = await create(there)
        backup = await opened(Catalogue(cloud, job.name), created.manifest.id, job.identity)

        def lose(progress: object) -> None:
            if getattr(progress, "what", "") == "restored":
                server.process.send_signal(signal.SIGSTOP)

        with pytest.raises(Unavailable, match=r"again"):
            await restore(
                backup,
                job.url,
                target,
                programs=job.programs,
                parallel=1,
                replace=target,
                report=lose,
            )
        server.process.send_signal(signal.SIGCONT)
        await _is_untouched(job, target)


async def _end_backends(url: str, name: str) -> int:
    return int(
        await world.value(
            url,
            "select count(pg_terminate_backend(pid)) from pg_stat_activity"
            " where application_name like %s and datname = current_database()"
            " and pid <> pg_backend_pid()",
            [name],
        )
    )


async def _make_large(url: str) -> None:
    """More than fits into a pipe, so that the dump still runs while its first piece is held."""
    await world.execute(
        url,
        "create table large as select i, md5(i::text) || md5((-i)::text) as noise"
        " from generate_series(1, 60000) i",
    )


async def test_the_server_ends_the_dump(job: Job) -> None:
    await _make_large(job.url)
    gate = _Gate(job, "data-001")
    making = asyncio.create_task(create(gate.job))
    await gate.reached.wait()
    assert await _end_backends(job.url, "insight backup") >= 2
    gate.go_on.set()
    with pytest.raises(Unavailable):
        await making
    await nothing_is_listed(job)
    await a_later_run_is_good(job)


async def test_the_server_crashes_while_it_is_dumped(tmp_path: Path) -> None:
    postgres.require_debian()
    with postgres.debian() as server:
        await server.ready()
        await world.execute(server.url, "create database shop")
        url = postgres.with_database(server.url, "shop")
        await world.make_rich(url)
        await _make_large(url)
        job = world.job_for(url, tmp_path)
        gate = _Gate(job, "data-001")
        making = asyncio.create_task(create(gate.job))
        await gate.reached.wait()
        server.stop(signal.SIGQUIT)
        gate.go_on.set()
        with pytest.raises(Unavailable, match=r"again|ended with"):
            await making
        await nothing_is_listed(job)
        server.start()
        await server.ready()
        await a_later_run_is_good(job)


async def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    job = world.job_for("postgresql://nobody@127.0.0.1:1/shop", tmp_path)
    with pytest.raises(Unavailable, match="does not answer"):
        await create(job)


async def test_a_database_that_is_not_there(job: Job) -> None:
    missing = dataclasses.replace(job, url=postgres.with_database(job.url, "no_such_database"))
    with pytest.raises(InsightError, match="no_such_database"):
        await create(missing)


async def test_two_runs_at_once(job: Job) -> None:
    gate = _Gate(job, "data-001")
    making = asyncio.create_task(create(gate.job))
    await gate.reached.wait()
    with pytest.raises(Conflict, match="another backup of this database is running"):
        await create(job)
    waiting = asyncio.create_task(create(job, "weekly", wait_seconds=120))
    await asyncio.sleep(0.2)
    assert not waiting.done()
    gate.go_on.set()
    created, second = await making, await waiting
    assert await read(job) == ([second.manifest.id, created.manifest.id], [])


async def test_a_table_that_is_dropped_while_dumping_is_whole_or_absent(job: Job) -> None:
    """The drop waits for our lock, our next part for the drop: a new snapshot solves it."""
    gate = _Gate(dataclasses.replace(job, lock_seconds=0.3), "pre-data")
    making = asyncio.create_task(create(gate.job))
    await gate.reached.wait()
    dropping = asyncio.create_task(world.execute(job.url, "drop table orders cascade"))
    await asyncio.sleep(0.2)
    gate.go_on.set()
    created = await making
    await dropping
    names = {str(table) for table in created.manifest.tables}
    assert "public.customers" in names
    _, backup = await world.newest(job)
    await backup.prove(2)
    name = f"dropped_{job.name}"
    await restore(backup, job.url, name, programs=job.programs, parallel=2)
    there = await world.value(
        postgres.with_database(job.url, name), "select to_regclass('public.orders') is not null"
    )
    assert there == ("public.orders" in names)
    await world.execute(job.url, f"drop database {name}".encode())


async def test_a_table_that_somebody_holds_for_long(job: Job) -> None:
    impatient = dataclasses.replace(job, lock_seconds=0.1)
    async with await psycopg.AsyncConnection.connect(job.url) as holder:
        await holder.execute("lock table customers in access exclusive mode")
        with pytest.raises(Conflict, match="lock timeout"):
            await create(impatient)
        await holder.rollback()
    await nothing_is_listed(job)
    await a_later_run_is_good(job)


async def test_a_role_that_may_not_read_everything(job: Job) -> None:
    await world.execute(
        job.url,
        "do $$ begin create role weak login; exception when duplicate_object then null; end $$",
    )
    weak = dataclasses.replace(job, url=job.url.replace("insight@", "weak@"))
    with pytest.raises(Refused, match="permission denied"):
        await create(weak)
    await nothing_is_listed(job)


# -- programs ----------------------------------------------------------------------------------


async def test_without_pg_dump(job: Job, tmp_path: Path) -> None:
    none = dataclasses.replace(job, programs=Programs([tmp_path]))
    with pytest.raises(Missing, match="postgresql-client-18"):
        await create(none)


async def test_an_older_pg_dump_is_not_used(job: Job) -> None:
    postgres.require_debian()
    binaries = postgres.debian_binaries()
    assert binaries is not None
    old = dataclasses.replace(job, programs=Programs([binaries]))
    with pytest.raises(Missing, match="version 18 or newer"):
        await create(old)


@pytest.mark.parametrize(
    "script",
    [
        "exit 1",
        "kill -9 $$",
        "echo half; exit 3",
        "echo 'pg_dump: error: connection to server was lost' >&2; exit 1",
        "head -c 3000000 /dev/zero; exit 1",
    ],
)
async def test_a_pg_dump_that_fails(job: Job, tmp_path: Path, script: str) -> None:
    program = tmp_path / "pg_dump"
    program.write_text(
        '#!/bin/sh\nif [ "$1" = --version ]; then echo "pg_dump (PostgreSQL) 18.9"; exit; fi\n'
        + script
        + "\n"
    )
    program.chmod(0o755)
    bad = dataclasses.replace(job, programs=Programs([tmp_path]))
    with pytest.raises(Unavailable, match="pg_dump"):
        await create(bad)
    await nothing_is_listed(job)
    await a_later_run_is_good(job)


# -- clocks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("year", [1999, 2199])
async def test_a_clock_that_jumped(job: Job, year: int) -> None:
    first = await create(job)
    jumped = dataclasses.replace(job, clock=lambda: datetime(year, 1, 1, tzinfo=UTC))
    second = await create(jumped, "daily")
    assert set((await read(job))[0]) == {first.manifest.id, second.manifest.id}
    catalogue = Catalogue(job.stores[0], job.name)
    prunings = await pruning.plan(jumped, [await catalogue.read()])
    assert await pruning.apply(jumped, prunings) == ()
    # The server's clock says which is newer.
    held, _ = await world.newest(job)
    assert held.id == second.manifest.id


# -- restoring ---------------------------------------------------------------------------------


@pytest.fixture
async def target(job: Job) -> AsyncIterator[str]:
    """The name of a database with something in it that must survive."""
    async with postgres.database(job.url) as url:
        await world.execute(
            url, "create table precious (id int)", "insert into precious values (7)"
        )
        yield url.rpartition("/")[2].partition("?")[0]


async def _is_untouched(job: Job, name: str) -> None:
    url = postgres.with_database(job.url, name)
    assert await world.value(url, "select id from precious") == 7
    begun = f"{name}__restore_"  # tests beside this one have begun others
    assert [one for one in await world.databases(job.url) if one.startswith(begun)] == []


async def test_a_database_that_is_not_empty_is_not_replaced(job: Job, target: str) -> None:
    created = await create(job)
    for words in (None, "yes", target + "x"):
        with pytest.raises(Conflict, match="is not empty"):
            await _restore(job, created.manifest.id, target, replace=words)  # type: ignore[arg-type]
    await _is_untouched(job, target)


@pytest.mark.parametrize("fault", ["flips when read", "shortens when read", "loses"])
@pytest.mark.parametrize("part", ["pre-data", "data-001", "post-data"])
async def test_a_store_that_turns_bad_after_the_proof(
    job: Job, target: str, fault: Fault, part: str
) -> None:
    created = await create(job)
    broken, store = with_store(job, None, part)
    backup = await opened(Catalogue(store, job.name), created.manifest.id, job.identity)

    def turn(progress: object) -> None:
        if getattr(progress, "what", "") == "verified" and progress.done == progress.total:  # type: ignore[attr-defined]
            store.fault = fault

    with pytest.raises((Corrupt, Missing)) as caught:
        await restore(
            backup,
            job.url,
            target,
            programs=job.programs,
            parallel=2,
            replace=target,
            report=turn,
        )
    assert part in str(caught.value)
    await _is_untouched(job, target)
    assert broken.stores == (store,)


async def test_the_server_ends_the_restore(job: Job, target: str) -> None:
    created = await create(job)
    backup = await opened(Catalogue(job.stores[0], job.name), created.manifest.id, job.identity)
    seen: list[object] = []

    def end(progress: object) -> None:
        if getattr(progress, "what", "") == "restored" and not seen:
            seen.append(progress)
            with psycopg.connect(job.url, autocommit=True) as link:
                link.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity"
                    " where datname like '%\\_\\_restore\\_%'"
                )
                names = link.execute(
                    "select datname from pg_database where datname like '%\\_\\_restore\\_%'"
                ).fetchall()
                for (name,) in names:
                    link.execute(f'drop database "{name}" with (force)'.encode())

    with pytest.raises(InsightError, match=r"connection|does not exist"):
        await restore(
            backup,
            job.url,
            target,
            programs=job.programs,
            parallel=2,
            replace=target,
            report=end,
        )
    assert seen
    await _is_untouched(job, target)


async def test_the_server_crashes_while_it_is_restored(tmp_path: Path) -> None:
    postgres.require_debian()
    with postgres.debian() as server:
        await server.ready()
        await world.execute(server.url, "create database shop")
        url = postgres.with_database(server.url, "shop")
        await world.make_rich(url)
        await world.execute(url, "create table precious as select 7 as id")
        job = world.job_for(url, tmp_path)
        created = await create(job)
        backup = await opened(Catalogue(job.stores[0], "shop"), created.manifest.id, job.identity)
        crashed: list[object] = []

        def crash(progress: object) -> None:
            if getattr(progress, "what", "") == "restored" and not crashed:
                crashed.append(progress)
                server.stop(signal.SIGQUIT)

        with pytest.raises(Unavailable, match=r"again|ended with|connection"):
            await restore(
                backup,
                url,
                "shop",
                programs=job.programs,
                parallel=2,
                replace="shop",
                report=crash,
            )
        assert crashed
        server.start()
        await server.ready()
        assert await world.value(url, "select id from precious") == 7
        await _restore(job, created.manifest.id, "shop", replace="shop")
        await _is_untouched(job, "shop")


async def test_two_restores_at_once(job: Job) -> None:
    """One wins, the other is refused; none removes what the other is building."""
    created = await create(job)
    name = f"{job.name}_twice_{os.getpid()}"
    found = await asyncio.gather(
        *(_restore(job, created.manifest.id, name) for _ in range(2)), return_exceptions=True
    )
    (error,) = [one for one in found if one is not None]
    assert isinstance(error, Conflict)
    assert name in str(error)
    url = postgres.with_database(job.url, name)
    assert await world.value(url, "select count(*) from orders") == 2500
    there = await world.databases(job.url)
    assert [one for one in there if one.startswith(f"{name}__")] == []
    await world.execute(job.url, f"drop database {name}".encode())


async def test_an_empty_database_that_is_filled_meanwhile_is_not_replaced(job: Job) -> None:
    created = await create(job)
    backup = await opened(Catalogue(job.stores[0], job.name), created.manifest.id, job.identity)
    async with postgres.database(job.url) as url:
        name = url.rpartition("/")[2].partition("?")[0]

        def fill(progress: object) -> None:
            if getattr(progress, "what", "") == "counting rows":
                with psycopg.connect(url, autocommit=True) as link:
                    link.execute("create table precious as select 7 as id")

        with pytest.raises(Conflict, match="is not empty"):
            await restore(backup, job.url, name, programs=job.programs, parallel=2, report=fill)
        await _is_untouched(job, name)


async def test_a_restore_that_is_interrupted(job: Job, target: str) -> None:
    created = await create(job)
    backup = await opened(Catalogue(job.stores[0], job.name), created.manifest.id, job.identity)
    reached = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop(progress: object) -> None:
        if getattr(progress, "what", "") == "restored":
            loop.call_soon_threadsafe(reached.set)

    doing = asyncio.create_task(
        restore(
            backup, job.url, target, programs=job.programs, parallel=2, replace=target, report=stop
        )
    )
    await reached.wait()
    doing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await doing
    await _is_untouched(job, target)


async def test_a_backup_that_is_interrupted(job: Job) -> None:
    gate = _Gate(job, "data-001")
    making = asyncio.create_task(create(gate.job))
    await gate.reached.wait()
    making.cancel()
    with pytest.raises(asyncio.CancelledError):
        await making
    assert await read(job) == ([], [])
    await a_later_run_is_good(job)


async def test_missing_roles_are_named_and_made_on_request(job: Job, tmp_path: Path) -> None:
    postgres.require_debian()
    with postgres.debian() as server:
        await server.ready()
        async with world.rich(server.url) as url:
            await world.execute(
                url,
                "create role seller",
                "create role auditor",
                "alter table orders owner to seller",
                "grant select on customers to auditor",
            )
            source = world.job_for(url, tmp_path)
            created = await create(source)
            assert set(created.manifest.roles) == {"auditor", "insight", "seller"}
            await world.execute(url, "reassign owned by seller to insight", "drop owned by auditor")
            await world.execute(url, "drop role seller", "drop role auditor")
            with pytest.raises(Conflict, match="auditor, seller"):
                await _restore(source, created.manifest.id, "copy")
            _, store = with_store(source, None, "post-data")
            backup = await opened(Catalogue(store, "shop"), created.manifest.id, world.IDENTITY)

            def turn(progress: object) -> None:
                if getattr(progress, "what", "") == "building indexes":
                    store.fault = "flips when read"

            with pytest.raises(Corrupt, match="post-data"):
                await restore(
                    backup,
                    url,
                    "copy",
                    programs=source.programs,
                    parallel=2,
                    create_roles=True,
                    report=turn,
                )
            roles = "select count(*) from pg_roles where rolname in ('seller', 'auditor')"
            assert await world.value(url, roles) == 0  # they went with the restore
            await _restore(source, created.manifest.id, "copy", create_roles=True)
            owner = await world.value(
                postgres.with_database(url, "copy"),
                "select tableowner from pg_tables where tablename = 'orders'",
            )
            assert owner == "seller"


async def test_a_server_without_the_extension(job: Job, tmp_path: Path) -> None:
    postgres.require_debian()
    with postgres.debian() as server:
        await server.ready()
        async with postgres.database(server.url) as url:
            await world.execute(url, "create extension pg_trgm", "create table t (x text)")
            created = await create(world.job_for(url, tmp_path))
        backup = await opened(
            Catalogue(world.job_for(url, tmp_path).stores[0], "shop"),
            created.manifest.id,
            world.IDENTITY,
        )
        with pytest.raises(Refused, match="pg_trgm"):
            await restore(backup, job.url, "never", programs=job.programs, parallel=2)


async def test_an_older_server_is_refused(job: Job) -> None:
    postgres.require_debian()
    created = await create(job)
    backup = await opened(Catalogue(job.stores[0], job.name), created.manifest.id, job.identity)
    with postgres.debian() as server:
        await server.ready()
        with pytest.raises(Refused, match="older"):
            await restore(backup, server.url, "never", programs=job.programs, parallel=2)
        assert "never" not in await world.databases(server.url)


async def test_a_name_that_is_too_long(job: Job) -> None:
    created = await create(job)
    with pytest.raises(Refused, match="63 bytes"):
        await _restore(job, created.manifest.id, "x" * 64)


async def test_an_id_that_does_not_exist(job: Job) -> None:
    await create(job)
    holdings = await Catalogue(job.stores[0], job.name).read()
    with pytest.raises(Missing, match="no backup '2020'"):
        holdings.find("2020")


async def test_what_somebody_else_put_beside_the_backups_is_left_alone(job: Job) -> None:
    root = Path(job.stores[0].root)  # type: ignore[attr-defined]
    folder = root / job.name / "backups" / "notes"
    folder.mkdir(parents=True)
    (folder / "readme.txt").write_text("mine")
    await a_later_run_is_good(job)
    assert (folder / "readme.txt").read_text() == "mine"
    shutil.rmtree(folder)


def test_an_id_says_its_time_and_type() -> None:
    made = manifests.new_id(datetime(2026, 11, 25, 2, tzinfo=UTC), "daily", "0a1b2c3d")
    assert made == "20261125T020000Z-daily-0a1b2c3d"
    assert manifests.is_id(made)
    assert not manifests.is_id(made + "/..")


@pytest.mark.parametrize("name", ["", "..", "a/b", "x" * 64, "-a", "a b"])
def test_a_name_that_is_no_folder(job: Job, name: str) -> None:
    with pytest.raises(SettingsError, match="name of a job"):
        dataclasses.replace(job, name=name)


def test_without_a_store(job: Job) -> None:
    with pytest.raises(SettingsError, match="no store"):
        dataclasses.replace(job, stores=())


async def test_a_sweep_leaves_a_running_restore_alone(job: Job) -> None:
    created = await create(job)
    server = created.manifest.server
    async with maintenance(job.url) as link, staged(link, "shop", server) as name:
        async with maintenance(job.url) as other:
            assert name not in await sweep(other)
        assert name in await world.databases(job.url)
    assert name not in await world.databases(job.url)
    await world.execute(job.url, b"create database shop__restore_0a1b2c3d")
    async with maintenance(job.url) as link:
        assert "shop__restore_0a1b2c3d" in await sweep(link)
