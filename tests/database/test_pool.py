from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from insight_cloud.core.errors import InsightError, Missing, SettingsError, Unavailable
from insight_cloud.database import Connection, Pool, Query, embedded
from tests import postgres


@dataclass(frozen=True, slots=True)
class Pair:
    number: int
    word: str = "none"


class Struct(msgspec.Struct, frozen=True):
    number: int
    word: str


class Named(NamedTuple):
    number: int
    word: str


@pytest.fixture
async def words(database_url: str) -> AsyncIterator[Pool]:
    async with Pool(database_url, min_size=1, max_size=4) as pool:
        await pool.execute("create table words (number int primary key, word text not null)")
        yield pool


async def eventually(condition: Callable[[], bool], *, seconds: float = 5) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - the condition is the server's, nothing signals it
            await asyncio.sleep(0.01)


# Reading


@pytest.mark.parametrize("row_type", [Pair, Struct, Named])
@pytest.mark.parametrize(
    "query", ["select 1 as number, 'one' as word", "select 'one' as word, 1 as number"]
)
async def test_rows_become_objects_by_their_columns_names(
    words: Pool, row_type: type[Pair], query: str
) -> None:
    assert await words.fetch_all(Query("q", query), row_type) == [row_type(1, "one")]


async def test_columns_left_out_have_their_defaults(words: Pool) -> None:
    assert await words.fetch_one("select 1 as number", Pair) == Pair(1)


async def test_rows_may_stay_as_they_are(words: Pool) -> None:
    query = Query("q", "select %(a)s::int as a, 'x' as b")
    assert await words.fetch_all(query, tuple, a=1) == [(1, "x")]
    assert await words.fetch_all(query, dict, a=1) == [{"a": 1, "b": "x"}]
    assert await words.fetch_all("select generate_series(1, 3)", int) == [1, 2, 3]


async def test_a_column_without_a_field_is_a_mistake_in_the_program(words: Pool) -> None:
    with pytest.raises(TypeError, match="wrong"):
        await words.fetch_one("select 1 as number, 2 as wrong", Pair)
    with pytest.raises(TypeError, match="one value a row"):
        await words.fetch_one("select 1, 2", int)


async def test_no_row_is_missing_none_or_nothing(words: Pool) -> None:
    with pytest.raises(Missing, match="get_nobody"):
        await words.fetch_one(Query("get_nobody", "select 1 where false"), int)
    assert await words.fetch_maybe("select 1 where false", int) is None
    assert await words.fetch_value("select 1 where false") is None
    assert await words.fetch_all("select 1 where false", int) == []


async def test_a_percent_sign_needs_no_care_without_parameters(words: Pool) -> None:
    assert await words.fetch_value("select 'a' like 'a%'") is True
    assert await words.fetch_value("select %(a)s like 'a%%'", a="ab") is True


async def test_parameters_may_have_any_name(words: Pool) -> None:
    query = "select %(query)s || %(self)s || %(row_type)s"
    values = {"query": "a", "self": "b", "row_type": "c"}
    assert await words.fetch_value(query, **values) == "abc"


async def test_execute_says_how_many_rows_changed(words: Pool) -> None:
    insert = "insert into words select n, 'w' from generate_series(1, %(n)s::int) n"
    assert await words.execute(insert, n=3) == 3
    assert await words.execute("update words set word = 'x' where number > 1") == 2
    assert await words.execute("create table other ()") == 0


async def test_times_are_aware_and_utc(words: Pool) -> None:
    found = await words.fetch_value("select now()")
    assert found.utcoffset().total_seconds() == 0


# Transactions


async def test_a_transaction_is_committed_at_its_end(words: Pool) -> None:
    async with words.transaction() as connection:
        await connection.execute("insert into words values (1, 'one')")
        assert await words.fetch_value("select count(*) from words") == 0
    assert await words.fetch_value("select count(*) from words") == 1


@pytest.mark.parametrize("error", [RuntimeError, asyncio.CancelledError, KeyboardInterrupt])
async def test_a_transaction_is_rolled_back_by_any_exception(
    words: Pool, error: type[BaseException]
) -> None:
    async def work() -> None:
        async with words.transaction() as connection:
            await connection.execute("insert into words values (1, 'one')")
            raise error

    with pytest.raises(error):
        await work()
    assert await words.fetch_value("select count(*) from words") == 0
    assert words.statistics().size == words.statistics().idle


async def test_a_cancelled_task_gives_its_connection_back(words: Pool) -> None:
    async def work() -> None:
        async with words.transaction() as connection:
            await connection.execute("insert into words values (1, 'one')")
            await connection.execute("select pg_sleep(60)")

    task = asyncio.create_task(work())
    await eventually(lambda: words.statistics().idle < words.statistics().size)
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await words.fetch_value("select count(*) from words") == 0
    await eventually(lambda: words.statistics().idle == words.statistics().size)


async def test_a_swallowed_error_does_not_become_a_silent_rollback(words: Pool) -> None:
    async def work() -> None:
        async with words.transaction() as connection:
            await connection.execute("insert into words values (1, 'one')")
            with pytest.raises(InsightError):
                await connection.execute("select 1 / 0")

    with pytest.raises(InsightError, match="rolled back"):
        await work()


async def test_the_isolation_is_the_one_asked_for_and_no_longer(words: Pool) -> None:
    query = "select current_setting('transaction_isolation')"
    async with words.transaction(isolation="serializable") as connection:
        assert await connection.fetch_value(query) == "serializable"
    async with words.transaction() as connection:
        assert await connection.fetch_value(query) == "read committed"


async def test_work_is_done_again_after_a_serialization_failure(words: Pool) -> None:
    await words.execute("insert into words values (1, '0')")
    attempts = 0
    both_have_read = asyncio.Barrier(2)

    async def increase(connection: Connection) -> int:
        nonlocal attempts
        attempts += 1
        value = int(await connection.fetch_value("select word from words where number = 1"))
        if attempts <= 2:
            await both_have_read.wait()
        await connection.execute("update words set word = %(to)s", to=str(value + 1))
        return value + 1

    results = await asyncio.gather(
        *(words.run(increase, isolation="serializable", serializable_retries=50) for _ in range(2))
    )
    assert sorted(results) == [1, 2]
    assert await words.fetch_value("select word from words") == "2"
    assert attempts > 2, "nothing collided, so nothing was proved"


async def test_without_retries_a_collision_is_unavailable(words: Pool) -> None:
    await words.execute("insert into words values (1, '0')")

    async def collide(connection: Connection) -> None:
        await connection.fetch_value("select word from words")
        await words.execute("update words set word = 'x'")
        await connection.execute("update words set word = 'y'")

    with pytest.raises(Unavailable):
        await words.run(collide, isolation="serializable")


# Limits


async def test_waiting_for_a_connection_ends_at_the_time_limit(database_url: str) -> None:
    async with Pool(database_url, min_size=1, max_size=1, acquire_timeout_seconds=0.1) as pool:
        async with pool.transaction():
            with pytest.raises(Unavailable, match="1 of at most 1") as caught:
                await pool.fetch_value("select 1")
        assert caught.value.retry_after > 0
        assert await pool.fetch_value("select 1") == 1
        assert pool.statistics().requests_failed == 1
        assert pool.statistics().wait_seconds >= 0.1


async def test_a_long_statement_is_stopped(database_url: str) -> None:
    async with Pool(database_url, min_size=1, statement_timeout_seconds=0.1) as pool:
        with pytest.raises(Unavailable, match="statement timeout"):
            await pool.fetch_value("select pg_sleep(60)")
        assert await pool.fetch_value("select 1") == 1


async def test_the_pool_grows_to_its_largest_size_and_no_further(database_url: str) -> None:
    async with Pool(database_url, min_size=1, max_size=3) as pool:
        found = await asyncio.gather(
            *(pool.fetch_value("select pg_backend_pid() from pg_sleep(0.05)") for _ in range(12))
        )
        assert len(set(found)) <= 3
        assert pool.statistics().size == 3


async def test_idle_connections_are_closed(database_url: str) -> None:
    async with Pool(database_url, min_size=1, max_size=3, max_idle_seconds=0.1) as pool:
        await asyncio.gather(*(pool.fetch_value("select pg_sleep(0.05)") for _ in range(6)))
        await eventually(lambda: pool.statistics().size == 1)


@pytest.mark.parametrize(("min_size", "max_size"), [(3, 2), (-1, 2), (0, 0)])
def test_impossible_sizes_are_refused(min_size: int, max_size: int) -> None:
    with pytest.raises(SettingsError):
        Pool("postgresql:///x", min_size=min_size, max_size=max_size)


async def test_opening_says_why_there_is_no_connection(database_url: str) -> None:
    url = postgres.with_database(database_url, "nowhere")
    with pytest.raises(Unavailable, match='database "nowhere" does not exist'):
        async with Pool(url, acquire_timeout_seconds=0.2):
            pass


async def test_a_closed_pool_is_unavailable(database_url: str) -> None:
    pool = Pool(database_url, min_size=1)
    await pool.open()
    await pool.close()
    with pytest.raises(Unavailable):
        await pool.fetch_value("select 1")


# Prepared statements


async def test_statements_are_prepared_and_counted(database_url: str) -> None:
    async with Pool(database_url, min_size=1, max_size=1) as pool:
        for _ in range(10):
            await pool.fetch_value("select %(a)s::int", a=1)
        assert pool.statistics().prepared == 1
        assert await pool.fetch_value("select count(*) from pg_prepared_statements") == 1


async def test_nothing_is_prepared_for_pgbouncer(database_url: str) -> None:
    async with Pool(database_url, min_size=1, max_size=1, pgbouncer=True) as pool:
        for _ in range(10):
            await pool.fetch_value("select %(a)s::int", a=1)
        assert pool.statistics().prepared == 0
        assert await pool.fetch_value("select count(*) from pg_prepared_statements") == 0


async def test_a_plan_that_a_migration_made_obsolete_is_made_again(words: Pool) -> None:
    await words.execute("insert into words values (1, 'one')")
    for _ in range(10):
        await words.fetch_all("select * from words", tuple)
    async with Pool(words._conninfo, min_size=1) as other:
        await other.execute("alter table words add column more int")
    assert await words.fetch_all("select * from words", tuple) == [(1, "one", None)]


async def test_statements_are_recorded_by_name(words: Pool) -> None:
    await words.fetch_all(Query("get_words", "select * from words"), tuple)
    async with words.transaction() as connection:
        await connection.fetch_all(Query("get_words", "select * from words"), tuple)
    found = {statement.name: statement.calls for statement in words.recorder.statements()}
    assert found["get_words"] == 2


# Lost connections


async def test_a_read_that_meets_a_dead_connection_is_sent_again(words: Pool) -> None:
    await _end_all(words)
    assert await words.fetch_value("select 1") == 1
    await _end_all(words)
    async with words.transaction() as connection:
        assert await connection.fetch_value("select 1") == 1


async def test_a_write_that_meets_a_dead_connection_is_not_sent_again(words: Pool) -> None:
    await _end_all(words)
    with pytest.raises(Unavailable):
        await words.execute("insert into words values (1, 'one')")
    assert await words.execute("insert into words values (1, 'one')") == 1


async def test_a_lost_transaction_is_unavailable_and_changes_nothing(words: Pool) -> None:
    async def work() -> None:
        async with words.transaction() as connection:
            await connection.execute("insert into words values (1, 'one')")
            await connection.execute("select pg_terminate_backend(pg_backend_pid())")

    with pytest.raises(Unavailable):
        await work()
    assert await words.fetch_value("select count(*) from words") == 0


async def _end_all(pool: Pool) -> None:
    """End every connection of `pool` from outside, and wait until the server has."""
    async with Pool(pool._conninfo, min_size=1, max_size=1, application_name="ender") as other:
        query = (
            "select count(pg_terminate_backend(pid, 5000)) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        )
        assert await other.fetch_value(query) > 0


class Breakable(NamedTuple):
    url: str
    restart: Callable[[], Awaitable[None]]


@asynccontextmanager
async def breakable_embedded(directory: Path) -> AsyncIterator[Breakable]:
    async def restart() -> None:
        pid = int((directory / "data" / "postmaster.pid").read_text().split("\n")[0])
        os.kill(pid, signal.SIGQUIT)
        await eventually(lambda: not Path(f"/proc/{pid}").exists())

    async with embedded.server(directory, settings=postgres.UNSAFE) as url:
        yield Breakable(url, restart)


@asynccontextmanager
async def breakable_debian(_: Path) -> AsyncIterator[Breakable]:
    postgres.require_debian()
    with postgres.debian() as server:
        await server.ready()

        async def restart() -> None:
            await asyncio.to_thread(server.stop, signal.SIGQUIT)
            server.start()

        yield Breakable(server.url, restart)


@pytest.mark.parametrize("make", [breakable_embedded, breakable_debian])
async def test_twenty_readers_survive_a_restart_of_the_server(
    tmp_path: Path, make: Callable[[Path], AbstractAsyncContextManager[Breakable]]
) -> None:
    outcomes: dict[str, int] = {"read": 0, "unavailable": 0}
    longest = 0.0
    stop = asyncio.Event()

    async def read(pool: Pool) -> None:
        nonlocal longest
        while not stop.is_set():
            started = time.perf_counter()
            try:
                await pool.fetch_value("select pg_sleep(0.005)")
                outcomes["read"] += 1
            except Unavailable:
                outcomes["unavailable"] += 1
            longest = max(longest, time.perf_counter() - started)

    async with (
        make(tmp_path / "server") as server,
        Pool(server.url, min_size=5, max_size=10, acquire_timeout_seconds=5) as pool,
    ):
        readers = [asyncio.create_task(read(pool)) for _ in range(20)]
        await eventually(lambda: outcomes["read"] > 100)
        before = outcomes["read"]
        await server.restart()
        restarted = time.perf_counter()
        await eventually(lambda: outcomes["read"] > before + 100)
        await eventually(lambda: pool.statistics().size == 10)
        whole_seconds = time.perf_counter() - restarted
        stop.set()
        await asyncio.wait_for(asyncio.gather(*readers), 5)
    print(f"{outcomes}, longest {longest:.2f} s, whole after {whole_seconds:.2f} s")  # noqa: T201 - figures of the report
    assert longest < 6, "a request hung"
    assert whole_seconds < 5
    assert outcomes["unavailable"] <= 20, "requests that could wait did not"


async def test_those_who_wait_through_an_outage_are_served_after_it() -> None:
    postgres.require_debian()
    with postgres.debian() as server:
        await server.ready()
        async with Pool(server.url, min_size=1, max_size=2, acquire_timeout_seconds=20) as pool:
            await asyncio.to_thread(server.stop, signal.SIGQUIT)
            request = asyncio.create_task(pool.fetch_value("select 1"))
            await asyncio.sleep(4)  # longer than the pool itself goes on trying
            server.start()
            assert await asyncio.wait_for(request, 10) == 1
