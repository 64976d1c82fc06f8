from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gzip
import random
from pathlib import Path
from urllib.parse import quote

import pytest
from psycopg import sql

from insight_cloud.backup import (
    Catalogue,
    Job,
    Programs,
    create,
    restore,
    verify,
)
from insight_cloud.backup.child import Child, access
from insight_cloud.backup.load import compare
from insight_cloud.backup.postgres import connected
from insight_cloud.core.errors import Refused
from insight_cloud.core.storage import Attributes, open_store
from insight_cloud.database import embedded
from tests import postgres
from tests.backup import world


async def _restored(job: Job, name: str) -> str:
    _, backup = await world.newest(job)
    done = await restore(backup, job.url, name, programs=job.programs, parallel=2)
    assert done.kept is None
    return postgres.with_database(job.url, name)


@pytest.fixture
async def copy_name(job: Job, tmp_path: Path) -> str:
    return "copy_" + tmp_path.name.replace("-", "_")[-30:]


async def test_a_restored_database_equals_its_source(job: Job, copy_name: str) -> None:
    before = await world.picture(job.url, dump_with=18)
    created = await create(job)
    assert not created.failures
    assert {part.content for part in created.manifest.parts} == {
        "database",
        "pre-data",
        "data",
        "post-data",
    }
    assert len([part for part in created.manifest.parts if part.content == "data"]) > 3
    copy = await _restored(job, copy_name)
    assert await world.picture(copy, dump_with=18) == before
    assert before.large_objects
    assert before.sequences["public.lonely"] == (22, 5)


async def test_a_backup_of_15_restores_into_18(postgres_url: str, tmp_path: Path) -> None:
    postgres.require_debian()
    with postgres.debian() as server:
        await server.ready()
        async with world.rich(server.url) as url:
            extensions = ("pg_trgm", "hstore", "pgcrypto")
            for name in extensions:
                await world.execute(url, f"create extension {name}".encode())
            job = world.job_for(url, tmp_path)
            created = await create(job, digests=True)
            assert created.manifest.server.major == 15
            assert {extension.name for extension in created.manifest.extensions} == set(extensions)
            before = await world.picture(url, dump_with=18)
            await _into(server.url, job, "same_version")
            same = postgres.with_database(url, "same_version")
            assert await world.picture(same, dump_with=18) == before
            await world.execute(url, "drop extension pg_trgm, hstore, pgcrypto")
            await create(job, digests=True)
            # Version 18 writes views in other words: the official way is the measure.
            async with postgres.database(postgres_url) as official:
                await world.copy(url, official)
                wanted = await world.picture(official, dump_with=18)
            before = await world.picture(url, dump_with=18)
    name = "newer_version"
    await _into(postgres_url, job, name)
    copy = postgres.with_database(postgres_url, name)
    after = await world.picture(copy, dump_with=18)
    await world.execute(postgres_url, f"drop database {name}".encode())
    assert after == wanted
    assert dataclasses.replace(after, schema="") == dataclasses.replace(before, schema="")


async def _into(server: str, job: Job, name: str) -> None:
    _, backup = await world.newest(job)
    await restore(backup, server, name, programs=job.programs, parallel=2)


async def test_a_dump_by_a_newer_program_restores_into_the_old_server(tmp_path: Path) -> None:
    """pg_restore 18 sets what 15 does not know: this one error is passed over, and no other."""
    postgres.require_debian()
    with postgres.debian() as server:
        await server.ready()
        async with world.rich(server.url) as url:
            newer = Programs((), plain=(embedded.binaries(),))
            job = dataclasses.replace(world.job_for(url, tmp_path), programs=newer)
            created = await create(job)
            assert created.manifest.dumped_by.startswith("pg_dump 18")
            before = await world.picture(url, dump_with=18)
            await _into(server.url, job, "copy")
            copy = postgres.with_database(url, "copy")
            assert await world.picture(copy, dump_with=18) == before


async def test_a_foreign_database_of_pgbench(postgres_url: str, tmp_path: Path) -> None:
    async with postgres.database(postgres_url) as url:
        with access(url) as reach:
            words = ["--initialize", "--scale=2", "--quiet", "--foreign-keys", reach.argument]
            program = embedded.binaries() / "pgbench"
            async with Child(program, words, reach) as child:
                assert await child.finish() == 0, child.said
        job = world.job_for(url, tmp_path)
        created = await create(job)
        rows = {str(table): table.rows for table in created.manifest.tables}
        assert rows["public.pgbench_accounts"] == 200_000
        before = await world.picture(url, dump_with=18)
        name = url.rpartition("/")[2].partition("?")[0] + "_copy"
        await _into(postgres_url, job, name)
        copy = postgres.with_database(url, name)
        assert await world.picture(copy, dump_with=18) == before
        await world.execute(postgres_url, f"drop database {name}".encode())


async def test_what_belongs_to_the_database_itself_comes_back(
    postgres_url: str, job: Job, copy_name: str
) -> None:
    name = job.url.rpartition("/")[2].partition("?")[0]
    for statement in (
        "comment on database {} is 'it''s ours'",
        'alter database {} set search_path = "$user", public, "Odd one"',
        "alter database {} set app.secret = 'the-secret-of-a-setting'",
        "alter database {} set work_mem = '8MB'",
        "alter database {} connection limit 50",
        "revoke all on database {} from public",
    ):
        await world.execute(job.url, statement.format(name).encode())
    await create(job)
    copy = await _restored(job, copy_name)
    query = (
        "select shobj_description(d.oid, 'pg_database') || datconnlimit || setconfig::text"
        " || has_database_privilege('pg_monitor', d.oid, 'connect')"
        " from pg_database d join (select setdatabase, array(select s from unnest(setconfig) s"
        " order by 1) as setconfig from pg_db_role_setting) r on setdatabase = d.oid"
        " where datname = current_database()"
    )
    assert await world.value(copy, query) == await world.value(job.url, query)
    assert "the-secret-of-a-setting" in await world.value(copy, query)
    assert b"the-secret-of-a-setting" not in world.everything_in(job)


async def test_digests_notice_other_rows(job: Job, copy_name: str) -> None:
    created = await create(job, digests=True)
    copy = await _restored(job, copy_name)
    async with connected(copy) as link:
        assert await compare(link, created.manifest) == []
        await world.execute(copy, "update orders set note = 'x' where id = 7")
        assert await compare(link, created.manifest) == [
            "table public.orders has other rows than were backed up"
        ]
        await world.execute(copy, "delete from only parents", "drop table empty")
        assert await compare(link, created.manifest) == [
            "table public.empty is missing",
            "table public.orders has other rows than were backed up",
            "table public.parents has 0 rows instead of 1",
        ]


async def test_the_programs_see_no_secret_in_their_command_lines(
    postgres_url: str, tmp_path: Path
) -> None:
    """While a backup with a password runs, /proc is searched for it, environments too."""
    postgres.require_debian()
    password = "the-pass:word\\of the tests"
    port = random.randrange(10_000, 22_000)
    with postgres.debian({"listen_addresses": "127.0.0.1", "port": str(port)}) as server:
        await server.ready()
        await world.execute(
            server.url,
            sql.SQL("create role careful superuser login password {}").format(password),
        )
        (server.data / "pg_hba.conf").write_text(
            "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
        )
        await world.execute(server.url, "select pg_reload_conf()", "create database shop")
        await world.make_rich(postgres.with_database(server.url, "shop"))
        url = f"postgresql://careful:{quote(password, safe='')}@127.0.0.1:{port}/shop"
        job = world.job_for(url, tmp_path)
        secrets = [password.encode(), quote(password, safe="").encode(), b"AGE-SECRET-KEY"]
        seen: set[str] = set()

        def look() -> None:
            for process in Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError):
                    command = (process / "cmdline").read_bytes()
                    if b"pg_dump" not in command and b"pg_restore" not in command:
                        continue
                    seen.add(command.split(b"\0")[0].decode().rpartition("/")[2])
                    text = command + (process / "environ").read_bytes()
                    assert not any(secret in text for secret in secrets), command

        async def watch() -> None:
            while True:
                look()
                await asyncio.sleep(0.005)

        watching = asyncio.create_task(watch())
        created = await create(job)
        _, backup = await world.newest(job)
        await restore(backup, url, "copy", programs=job.programs, parallel=2)
        watching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await watching
        assert seen == {"pg_dump", "pg_restore"}
        everything = world.everything_in(job) + repr((job, created)).encode()
        assert not any(secret in everything for secret in secrets)
        wrong = dataclasses.replace(job, url=url.replace("careful:", "careful:x"))
        with pytest.raises(Refused) as caught:
            await create(wrong)
        assert not any(secret in str(caught.value).encode() for secret in secrets)


@pytest.mark.parametrize("kind", ["s3", "az"])
async def test_into_the_clouds(job: Job, kind: str, request: pytest.FixtureRequest) -> None:
    """Kept as wished, read back, verified from there, and with nothing left behind."""
    server = request.getfixturevalue("s3_server" if kind == "s3" else "azurite")
    url = server.bucket("here") if kind == "s3" else server.container("here")
    tier = "STANDARD_IA" if kind == "s3" else "Cool"
    async with open_store(url, server.credentials) as store:
        cloud = dataclasses.replace(
            job, stores=(store,), attributes={store: Attributes(storage_class=tier)}
        )
        created = await create(cloud)
        catalogue = Catalogue(store, job.name)
        (held,) = (await catalogue.read()).backups
        checks = await verify(cloud, catalogue, held, level="restore")
        assert [check.status for check in checks] == ["pass"] * 4
        path = catalogue.path(created.manifest.id, "data-001.pgdump.zst.sealed")
        header = "x-amz-storage-class" if kind == "s3" else "x-ms-access-tier"
        assert server.headers(url, path)[header] == tier
        assert await store.leftovers() == ()


async def test_a_plain_backup_is_sql_that_anybody_can_restore(job: Job, copy_name: str) -> None:
    job = dataclasses.replace(job, lock=None, identity=None)
    before = await world.picture(job.url, dump_with=18)
    created = await create(job, plain=True)
    (database, part) = created.manifest.parts
    assert (database.content, part.content) == ("database", "plain")
    copy = await _restored(job, copy_name)
    assert await world.picture(copy, dump_with=18) == before
    catalogue = Catalogue(job.stores[0], job.name)
    stored = await job.stores[0].read(catalogue.path(created.manifest.id, "dump.sql.gz"))
    assert b"PostgreSQL database dump complete" in gzip.decompress(stored)
