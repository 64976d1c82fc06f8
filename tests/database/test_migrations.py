from __future__ import annotations

import asyncio
import logging
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insight_cloud.core.errors import Conflict, Corrupt, InsightError, Unavailable
from insight_cloud.core.plan import Plan
from insight_cloud.database import Pool, migrations
from insight_cloud.database.migrations import Applied, Migration
from tests.conftest import MIGRATIONS
from tests.database.test_pool import eventually

FILES = {
    "0001_first.sql": "create table a (id int);\ninsert into a values (1);",
    "0002_second.sql": "alter table a add column word text default 'a%b'",
    "0003_third.sql": "create table b (id int)",
}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    folder = tmp_path / "migrations"
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


async def test_after_apply_the_plan_is_empty(database_url: str, directory: Path) -> None:
    (directory / "0003_third.sql").rename(directory / "later")
    done = await migrations.apply(database_url, directory)
    assert [change.target for change in done] == ["0001_first", "0002_second"]
    found = await migrations.read(database_url)
    assert not migrations.plan(found, migrations.wanted(directory))
    assert not await migrations.apply(database_url, directory)
    (directory / "later").rename(directory / "0003_third.sql")
    assert (await migrations.status(database_url, directory)).pending == ("0003_third",)
    assert [str(change) for change in await migrations.apply(database_url, directory)] == [
        "* 0003_third  (not applied yet)"
    ]
    async with Pool(database_url, min_size=1) as pool:
        assert await pool.fetch_all("select * from a", tuple) == [(1, "a%b")]


async def test_the_products_own_migrations_apply(database_url: str) -> None:
    assert await migrations.apply(database_url, MIGRATIONS)
    state = await migrations.status(database_url, MIGRATIONS)
    assert [str(done) for done in state.applied] == [
        str(migration) for migration in migrations.wanted(MIGRATIONS)
    ]
    assert state.applied[0].applied_at.tzinfo is not None


async def test_several_processes_may_apply_at_once(database_url: str, directory: Path) -> None:
    done = await asyncio.gather(*(migrations.apply(database_url, directory) for _ in range(5)))
    assert sum(len(plan) for plan in done) == 3


async def test_a_failing_migration_changes_nothing_and_keeps_the_earlier_ones(
    database_url: str, directory: Path
) -> None:
    (directory / "0003_third.sql").write_text("create table b (); select 1 / 0")
    with pytest.raises(InsightError, match="0003_third"):
        await migrations.apply(database_url, directory)
    state = await migrations.status(database_url, directory)
    assert state.pending == ("0003_third",)
    async with Pool(database_url, min_size=1) as pool:
        assert await pool.fetch_value("select to_regclass('b')") is None


async def test_a_locked_table_is_given_up_early(database_url: str, directory: Path) -> None:
    first = directory.parent / "first"
    shutil.copytree(directory, first, ignore=shutil.ignore_patterns("0002*", "0003*"))
    async with Pool(database_url, min_size=1) as pool:
        await migrations.apply(pool, first)
        async with pool.transaction() as holder:
            await holder.fetch_all("select id from a", int)
            with pytest.raises(Unavailable, match="lock timeout"):
                await migrations.apply(pool, directory)
        assert len(await migrations.apply(pool, directory)) == 2


async def test_an_older_program_starts_beside_a_newer_schema(
    database_url: str, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await migrations.apply(database_url, directory)
    (directory / "0003_third.sql").unlink()
    with caplog.at_level(logging.WARNING):
        assert not await migrations.apply(database_url, directory)
    assert "1 migrations ahead" in caplog.text
    state = await migrations.status(database_url, directory)
    assert [str(done) for done in state.ahead] == ["0003_third"]
    assert state.pending == ()


async def test_a_file_changed_after_it_was_applied_is_corrupt(
    database_url: str, directory: Path
) -> None:
    await migrations.apply(database_url, directory)
    (directory / "0002_second.sql").write_text("select 1")
    with pytest.raises(Corrupt, match="0002_second was changed"):
        await migrations.apply(database_url, directory)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("0005_gap.sql", "0004 is missing"),
        ("0002_again.sql", "missing or there twice"),
        ("4_short.sql", "not named like"),
        ("0004-dash.sql", "not named like"),
    ],
)
def test_files_that_do_not_count_on_are_refused(directory: Path, name: str, problem: str) -> None:
    (directory / name).write_text("select 1")
    with pytest.raises(Corrupt, match=problem):
        migrations.wanted(directory)


NAMES = st.lists(st.text("ab", min_size=1, max_size=2), max_size=6)


def files(names: list[str]) -> list[Migration]:
    return [Migration(number, name, "", name) for number, name in enumerate(names, start=1)]


def rows(migrations: list[Migration]) -> list[Applied]:
    from datetime import UTC, datetime

    at = datetime(2026, 1, 1, tzinfo=UTC)
    return [Applied(done.number, done.name, done.sha256, at) for done in migrations]


@given(NAMES, st.integers(0, 6))
def test_a_plan_is_what_is_missing_in_order(names: list[str], done: int) -> None:
    wanted = files(names)
    found = migrations.plan(rows(wanted[:done]), wanted)
    assert [change.target for change in found] == [str(migration) for migration in wanted[done:]]


@given(NAMES)
def test_a_plan_of_what_is_done_is_empty(names: list[str]) -> None:
    assert migrations.plan(rows(files(names)), files(names)) == Plan()


def test_a_skipped_number_and_another_programs_schema_are_conflicts() -> None:
    wanted = files(["a", "b", "c"])
    with pytest.raises(Conflict, match="renumber"):
        migrations.plan(rows([wanted[0], wanted[2]]), wanted)
    with pytest.raises(Conflict, match="other program"):
        migrations.plan(rows(files(["x"])), wanted)


async def test_a_migration_may_take_longer_than_a_statement(
    database_url: str, directory: Path
) -> None:
    (directory / "0003_third.sql").write_text("select pg_sleep(0.3)")
    async with Pool(database_url, min_size=1, statement_timeout_seconds=0.1) as pool:
        assert len(await migrations.apply(pool, directory)) == 3


async def test_a_process_that_dies_while_it_migrates_leaves_the_way_free(
    database_url: str, directory: Path
) -> None:
    (directory / "0003_third.sql").write_text("select pg_sleep(60)")
    task = asyncio.create_task(migrations.apply(database_url, directory))
    async with Pool(database_url, min_size=1) as pool:
        sleeping = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'"
        async with asyncio.timeout(5):
            while not await pool.fetch_value(sleeping):  # noqa: ASYNC110 - the server's state
                await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await eventually(task.done)
    (directory / "0003_third.sql").write_text("select 1")
    assert len(await migrations.apply(database_url, directory)) == 1
