from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import psycopg
import pytest

from insight_cloud import tuning
from insight_cloud.core.errors import Conflict, Missing
from insight_cloud.core.plan import Change, Plan
from tests import postgres
from tests.tuning.planted import THRESHOLDS

REPOSITORY = Path(__file__).resolve().parents[2]
SLOW = """
create or replace function slow(int) returns int immutable language plpgsql
as $$ begin perform pg_sleep({}); return $1; end $$
"""
INDEX = Change(
    "create",
    "public.t_n",
    before="drop index concurrently public.t_n",
    after="create index concurrently t_n on public.t (slow(n))",
)


@pytest.fixture
async def table_url(server_url: str) -> AsyncIterator[str]:
    """A table of a hundred rows, and an index on it that takes some seconds to build."""
    async with postgres.database(server_url) as url:
        await execute(
            url,
            "create table t (n int)",
            "insert into t select generate_series(1, 100)",
            SLOW.format(0.1),
        )
        yield url


async def execute(url: str, *statements: str) -> None:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        for statement in statements:
            await connection.execute(statement.encode())


async def value(url: str, query: str) -> object:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        row = await (await connection.execute(query.encode())).fetchone()
        assert row is not None
        return row[0]


async def invalid(url: str) -> object:
    return await value(url, "select count(*) from pg_index where not indisvalid")


async def until(holds: Callable[[], Awaitable[object]]) -> None:
    async with asyncio.timeout(60):
        while not await holds():  # noqa: ASYNC110 - it is another server's state
            await asyncio.sleep(0.05)


async def test_after_apply_the_plan_is_empty_and_undo_brings_the_indexes_back(
    planted_url: str,
) -> None:
    plan = tuning.plan(tuning.findings(await tuning.read(planted_url), THRESHOLDS))
    # It is unique over a constant: it cannot be built, which is another test's matter.
    plan = Plan(tuple(c for c in plan if not (c.verb == "create" and "broken" in c.target)))
    undo: list[str] = []
    done = await tuning.apply(
        planted_url, plan, lock_seconds=30, before=lambda change: undo.append(str(change.before))
    )
    assert [one.change for one in done] == list(plan)
    after = tuning.plan(tuning.findings(await tuning.read(planted_url), THRESHOLDS))
    assert str(after) == "nothing to do"
    back = [one.undo for one in reversed(done) if one.undo is not None]
    assert len(back) == 3
    await execute(planted_url, *back)
    kinds = {one.kind for one in tuning.findings(await tuning.read(planted_url), THRESHOLDS)}
    assert {"foreign_key.unindexed", "index.duplicate"} <= kinds


async def test_nothing_changes_until_a_plan_is_applied(planted_url: str) -> None:
    every = "select string_agg(pg_get_indexdef(indexrelid), ';' order by indexrelid) from pg_index"
    before = await value(planted_url, every)
    tuning.plan(tuning.findings(await tuning.read(planted_url), THRESHOLDS))
    await tuning.check(planted_url, THRESHOLDS)
    assert await value(planted_url, every) == before


async def test_an_open_transaction_ends_in_a_message_that_names_it(table_url: str) -> None:
    async with await psycopg.AsyncConnection.connect(
        table_url, application_name="reporting"
    ) as other:
        await other.execute("insert into t values (0)")
        with pytest.raises(Conflict, match=r"\(reporting, idle in transaction\).* 0 of 1 changes"):
            await tuning.apply(table_url, Plan((INDEX,)), lock_seconds=0.3)
    assert await value(table_url, "select to_regclass('t_n') is null")


async def test_a_writer_who_comes_later_is_waited_for_and_leaves_nothing_invalid(
    table_url: str,
) -> None:
    """The transaction begins while the build goes on, so nobody could see it before."""
    await execute(table_url, SLOW.format(0.02))

    async def comes() -> None:
        await until(lambda: value(table_url, "select to_regclass('t_n') is not null"))
        async with await psycopg.AsyncConnection.connect(table_url) as other:
            await other.execute("insert into t values (1)")
            await until(lambda: value(table_url, _WAITS))
            await asyncio.sleep(1)

    with pytest.raises(Conflict, match=r"waited for process \d+"):
        await asyncio.gather(
            tuning.apply(table_url, Plan((INDEX,)), lock_seconds=0.7),
            comes(),
            return_exceptions=False,
        )
    await until(lambda: value(table_url, "select to_regclass('t_n') is null"))


_WAITS = "select exists (select from pg_locks where not granted and locktype = 'virtualxid')"


async def test_a_build_that_fails_is_cleaned_up(table_url: str) -> None:
    await execute(table_url, "insert into t values (1)")
    twice = Change("create", "public.u", after="create unique index concurrently u on public.t (n)")
    with pytest.raises(Conflict, match="could not create unique index"):
        await tuning.apply(table_url, Plan((twice,)))
    assert await invalid(table_url) == 0


async def test_a_build_that_is_cancelled_is_cleaned_up(table_url: str) -> None:
    building = asyncio.create_task(tuning.apply(table_url, Plan((INDEX,))))
    await until(lambda: value(table_url, "select to_regclass('t_n') is not null"))
    building.cancel()
    with pytest.raises(asyncio.CancelledError):
        await building
    assert await invalid(table_url) == 0
    assert await value(table_url, "select to_regclass('t_n') is null")


async def test_two_plans_are_not_carried_out_at_once(table_url: str) -> None:
    building = asyncio.create_task(tuning.apply(table_url, Plan((INDEX,))))
    await until(lambda: value(table_url, "select to_regclass('t_n') is not null"))
    with pytest.raises(Conflict, match="another plan is being carried out"):
        await tuning.apply(table_url, Plan((INDEX,)))
    building.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await building


async def test_what_is_gone_meanwhile_is_said(table_url: str) -> None:
    gone = Change("run", "public.gone", after="analyze public.gone")
    with pytest.raises(Missing, match=r"analyze public\.gone: .* 0 of 1 changes were made"):
        await tuning.apply(table_url, Plan((gone,)))


_APPLIES = """
import asyncio, sys
from insight_cloud import tuning
from insight_cloud.core.plan import Change, Plan
change = Change("create", "public.t_n",
                after="create index concurrently t_n on public.t (slow(n))")
asyncio.run(tuning.apply(sys.argv[1], Plan((change,))))
"""


async def test_what_a_killed_run_has_left_is_mended_by_the_next(table_url: str) -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _APPLIES, table_url, cwd=REPOSITORY
    )
    await until(lambda: value(table_url, "select to_regclass('t_n') is not null"))
    os.kill(child.pid, signal.SIGKILL)
    await child.wait()
    # The server notices that nobody listens any more, and stops building.
    await until(lambda: value(table_url, _STOPPED))
    assert await invalid(table_url) == 1
    # From here on it builds fast, so that the next run is not long.
    await execute(table_url, SLOW.format(0))
    plan = tuning.plan(tuning.findings(await tuning.read(table_url), THRESHOLDS))
    assert [(change.verb, change.target) for change in plan] == [
        ("delete", "public.t_n"),
        ("create", "public.t_n"),
    ]
    await tuning.apply(table_url, plan, lock_seconds=30)
    assert await invalid(table_url) == 0
    assert await value(table_url, "select to_regclass('t_n') is not null")


_STOPPED = """
select not exists (select from pg_stat_activity
    where datname = current_database() and query like 'create index%' and state = 'active')
"""


async def test_an_index_that_somebody_builds_right_now_is_no_fault(table_url: str) -> None:
    building = asyncio.create_task(tuning.apply(table_url, Plan((INDEX,))))
    await until(lambda: invalid(table_url))
    kinds = {one.kind for one in tuning.findings(await tuning.read(table_url), THRESHOLDS)}
    assert "index.invalid" not in kinds
    building.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await building
