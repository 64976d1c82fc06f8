"""Real PostgreSQL, both servers; the cache in memory and in a real Redis."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from insight_cloud.cache import Cache, Memory, Redis
from insight_cloud.core.errors import InsightError, Missing, Unavailable
from insight_cloud.database import Pool, Query, QueryCache, Violation
from insight_cloud.database.query_cache import _decode, _encode, _exact, _key
from tests.database.reader import WORDS
from tests.redis import RedisServer, redis_server

_ROOT = Path(__file__).parents[2]
_PATIENT = timedelta(seconds=5)


class Kind(StrEnum):
    NOUN = "noun"


@dataclass(frozen=True, slots=True)
class Word:
    number: int
    word: str
    score: Decimal
    added: datetime
    day: date
    id: UUID
    tags: list[str]
    raw: bytes
    note: str | None


class Named(NamedTuple):
    number: int
    word: str


class Struct(msgspec.Struct):
    number: int
    word: str


_ALL = Query(
    "all_columns",
    "select number, word, score, added, day, id, tags, raw, note from words order by number",
)
_ONE = Query("one_word", "select word from words where number = %(number)s")
_SLOW = Query(
    "slow_words",
    "select word from words, (select pg_advisory_xact_lock_shared(77)) as gate order by number",
)
"""Its snapshot is taken; then it waits for the lock."""


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    async with Pool(database_url, min_size=1, max_size=8) as pool:
        await pool.execute("""
            create table words (
                number int primary key, word text not null, score numeric not null default 1.50,
                added timestamptz not null default '2026-11-25 10:30:00.123456+00',
                day date not null default '2026-11-25',
                id uuid not null default '6ba7b810-9dad-11d1-80b4-00c04fd430c8',
                tags text[] not null default '{a,b}', raw bytea not null default '\\xff00',
                note text
            )
        """)
        await pool.execute("insert into words (number, word) values (1, 'one'), (2, 'two')")
        yield pool


@pytest.fixture(params=["memory", "redis"])
async def cache(request: pytest.FixtureRequest) -> AsyncIterator[Cache]:
    if request.param == "memory":
        backend: Memory | Redis = Memory()
    else:
        server: RedisServer = request.getfixturevalue("redis_server")
        backend = Redis(server.url, timeout_seconds=5)
    async with Cache(backend, namespace=uuid4().hex, timeout=_PATIENT) as cache:
        yield cache


@pytest.fixture
def queries(pool: Pool, cache: Cache) -> QueryCache:
    return QueryCache(pool, cache, tables=True)


def asked(pool: Pool, query: Query) -> int:
    """How often the server was asked."""
    found = (one.calls for one in pool.recorder.statements() if one.name == query.name)
    return next(found, 0)


# What is read


async def test_rows_come_from_the_cache_as_they_were(pool: Pool, queries: QueryCache) -> None:
    first = await queries.fetch_all(_ALL, Word)
    second = await queries.fetch_all(_ALL, Word)
    assert first == second == await pool.fetch_all(_ALL, Word)
    assert [type(value) for value in vars_of(second[0])] == [
        type(value) for value in vars_of(first[0])
    ]
    assert second[0].score == Decimal("1.50")
    assert second[0].score.as_tuple() == Decimal("1.50").as_tuple()
    assert second[0].added == datetime(2026, 11, 25, 10, 30, 0, 123456, UTC)
    assert asked(pool, _ALL) == 2, "one of them is our comparison"
    second.clear()
    second_again = await queries.fetch_all(_ALL, Word)
    assert len(second_again) == 2, "a caller may change what it got"


def vars_of(row: Word) -> list[Any]:
    return [getattr(row, name) for name in Word.__slots__]


@pytest.mark.parametrize("row_type", [Named, Struct, tuple, dict])
async def test_every_kind_of_row_is_kept(
    pool: Pool, queries: QueryCache, row_type: type[Any]
) -> None:
    query = Query("pairs", "select number, word from words order by number")
    rows = [await queries.fetch_all(query, row_type) for _ in range(3)]
    assert rows[0] == rows[1] == rows[2]
    assert {type(row) for row in rows[2]} == {row_type}
    assert asked(pool, query) == 1


async def test_single_values_and_nulls_are_kept(pool: Pool, queries: QueryCache) -> None:
    notes = Query("notes", "select note from words order by number")
    for _ in range(2):
        assert await queries.fetch_all(notes, str) == [None, None]
        assert await queries.fetch_value(_ONE, number=1) == "one"
        assert await queries.fetch_value(_ONE, number=9) is None
        assert await queries.fetch_maybe(_ONE, str, number=9) is None
        with pytest.raises(Missing):
            await queries.fetch_one(_ONE, str, number=9)
    assert asked(pool, notes) == 1
    # number 1 and 9 as tuples, number 9 as str: fetch_value asks for tuples
    assert asked(pool, _ONE) == 3


async def test_other_parameters_types_and_schemas_are_other_keys(
    pool: Pool, cache: Cache, queries: QueryCache
) -> None:
    assert await queries.fetch_all(_ONE, str, number=1) == ["one"]
    assert await queries.fetch_all(_ONE, str, number=2) == ["two"]
    assert await queries.fetch_all(_ONE, tuple, number=1) == [("one",)]
    newer = QueryCache(pool, cache, tables=True, schema="2")
    assert await newer.fetch_all(_ONE, str, number=1) == ["one"]
    assert asked(pool, _ONE) == 4
    text = Query("as_text", "select %(value)s::text as text")
    for value, wanted in ((1, "1"), (True, "true"), ("1", "1"), (None, None), (Decimal(1), "1")):
        assert await queries.fetch_value(text, value=value) == wanted
    assert asked(pool, text) == 5


async def test_statements_that_differ_only_in_a_literal_are_different(queries: QueryCache) -> None:
    assert await queries.fetch_value("select word from words where number = 1") == "one"
    assert await queries.fetch_value("select word from words where number = 2") == "two"


async def test_what_cannot_come_back_exactly_is_asked_anew(
    pool: Pool, queries: QueryCache, caplog: pytest.LogCaptureFixture
) -> None:
    score = Query("score", "select score, added from words where number = 1")
    for _ in range(2):
        (row,) = await queries.fetch_all(score, tuple)
        assert row == (Decimal("1.50"), datetime(2026, 11, 25, 10, 30, 0, 123456, UTC))
        assert isinstance(row[0], Decimal)
    assert asked(pool, score) == 2
    assert queries.statistics().statements[0].uncached == 2
    assert caplog.text.count("score is not kept: its rows cannot be restored exactly") == 1


async def test_a_large_result_is_asked_anew(pool: Pool, cache: Cache) -> None:
    queries = QueryCache(pool, cache, tables=True, max_bytes=1000)
    large = Query("large", "select repeat(word, 1000) as text from words")
    for _ in range(2):
        assert len(await queries.fetch_all(large, str)) == 2
    assert asked(pool, large) == 2


async def test_a_parameter_without_an_exact_form_is_asked_anew(
    pool: Pool, queries: QueryCache
) -> None:
    query = Query("json", "select %(value)s as value")
    for number in (1, 2):
        assert await queries.fetch_value(query, value=Jsonb({"a": number})) == {"a": number}
    assert asked(pool, query) == 2


async def test_many_who_ask_at_once_ask_the_server_once(pool: Pool, queries: QueryCache) -> None:
    found = await asyncio.gather(*(queries.fetch_all(WORDS, str) for _ in range(50)))
    assert found == [["one", "two"]] * 50
    assert asked(pool, WORDS) == 1
    statistics = queries.statistics()
    assert (statistics.hits, statistics.misses) == (49, 1)
    assert statistics.hit_ratio == 0.98


async def test_time_ends_what_no_tag_does(pool: Pool, cache: Cache) -> None:
    queries = QueryCache(pool, cache, ttl=timedelta(milliseconds=50))
    await queries.fetch_all(WORDS, str)
    await pool.execute("update words set word = 'eins' where number = 1")
    async with asyncio.timeout(20):
        while await queries.fetch_all(WORDS, str) == ["one", "two"]:  # noqa: ASYNC110 - time ends it
            await asyncio.sleep(0.01)
    assert await queries.fetch_all(WORDS, str) == ["eins", "two"]


# What is written


async def test_a_write_is_seen_at_once(pool: Pool, queries: QueryCache) -> None:
    assert await queries.fetch_all(WORDS, str) == ["one", "two"]
    assert await queries.execute("update words set word = 'eins' where number = 1") == 1
    assert await queries.fetch_all(WORDS, str) == ["eins", "two"]
    returning = Query("returning", "delete from words where number = 2 returning word")
    assert await queries.fetch_all(returning, str) == ["two"]
    assert await queries.fetch_all(WORDS, str) == ["eins"]
    assert asked(pool, WORDS) == 3


async def test_a_transaction_invalidates_after_its_commit_and_not_before(
    pool: Pool, queries: QueryCache
) -> None:
    await queries.fetch_all(WORDS, str)
    async with queries.transaction() as connection:
        await connection.insert_many("words", ("number", "word"), [(3, "three")])
        assert await connection.fetch_all(WORDS, str) == ["one", "two", "three"]
        assert await queries.fetch_all(WORDS, str) == ["one", "two"]
        assert queries.statistics().hits == 1, "nothing was invalidated, nothing was kept"
    assert await queries.fetch_all(WORDS, str) == ["one", "two", "three"]


class GivenUpError(Exception):
    """What ends a transaction here."""


async def write_in_vain(queries: QueryCache) -> None:
    with contextlib.suppress(GivenUpError):
        async with queries.transaction() as connection:
            await connection.execute("update words set word = 'vain' where number = 2")
            raise GivenUpError


async def swallow_an_error(queries: QueryCache) -> None:
    async with queries.transaction() as connection:
        with contextlib.suppress(Violation):
            await connection.execute("insert into words (number, word) values (1, 'x')")


async def test_a_rollback_invalidates_nothing(pool: Pool, queries: QueryCache) -> None:
    await queries.fetch_all(WORDS, str)
    await write_in_vain(queries)
    with pytest.raises(InsightError, match="rolled back"):
        await swallow_an_error(queries)
    with pytest.raises(Violation):
        await queries.execute("insert into words (number, word) values (1, 'x')")
    assert await queries.fetch_all(WORDS, str) == ["one", "two"]
    assert queries.statistics().invalidations == 0
    assert asked(pool, WORDS) == 1


async def break_it_at_the_end(queries: QueryCache) -> None:
    async with queries.transaction() as connection:
        await connection.execute("update words set word = 'two' where number = 1")


async def test_a_commit_that_the_server_refuses_invalidates_nothing(
    pool: Pool, queries: QueryCache
) -> None:
    await pool.execute("alter table words add unique (word) deferrable initially deferred")
    await queries.fetch_all(WORDS, str)
    with pytest.raises(Violation):
        await break_it_at_the_end(queries)
    assert queries.statistics().invalidations == 0


@asynccontextmanager
async def gate(pool: Pool) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Whoever runs `_SLOW` waits until the body calls what it got."""
    async with AsyncExitStack() as stack:
        connection = await stack.enter_async_context(pool.transaction())
        await connection.execute("select pg_advisory_xact_lock(77)")
        yield stack.aclose


async def waiting_for_the_gate(pool: Pool) -> None:
    count = "select count(*) from pg_locks where locktype = 'advisory' and not granted"
    async with asyncio.timeout(20):
        while not await pool.fetch_value(count):  # noqa: ASYNC110 - the server signals nothing
            await asyncio.sleep(0.01)


async def test_a_read_that_was_overtaken_by_a_write_is_not_kept(
    pool: Pool, queries: QueryCache
) -> None:
    async with gate(pool) as release:
        reading = asyncio.create_task(queries.fetch_all(_SLOW, str))
        await waiting_for_the_gate(pool)
        async with queries.transaction() as connection:
            await connection.execute("update words set word = 'eins' where number = 1")
        await release()
        assert await reading == ["one", "two"], "its snapshot is older than the write"
        assert await queries.fetch_all(_SLOW, str) == ["eins", "two"]


async def test_a_read_that_was_overtaken_by_a_rollback_is_kept(
    pool: Pool, queries: QueryCache
) -> None:
    async with gate(pool) as release:
        reading = asyncio.create_task(queries.fetch_all(_SLOW, str))
        await waiting_for_the_gate(pool)
        await write_in_vain(queries)
        await release()
        assert await reading == ["one", "two"]
        assert await queries.fetch_all(_SLOW, str) == ["one", "two"]
        assert asked(pool, _SLOW) == 1


async def test_whoever_reads_while_others_write_never_keeps_what_is_old(
    pool: Pool, queries: QueryCache
) -> None:
    """After each commit, a read begun later sees it, whatever else is under way."""
    counter = Query("counter", "select number from words where word = 'counter'")
    await pool.execute("insert into words (number, word) values (100, 'counter')")
    stop = asyncio.Event()

    async def read() -> None:
        while not stop.is_set():
            await queries.fetch_value(counter)
            await asyncio.sleep(0)

    readers = [asyncio.create_task(read()) for _ in range(4)]
    for number in range(101, 140):
        async with queries.transaction() as connection:
            await connection.execute(
                "update words set number = %(number)s where word = 'counter'", number=number
            )
        assert await queries.fetch_value(counter) == number
    stop.set()
    await asyncio.gather(*readers)


async def test_a_caller_that_is_cancelled_after_the_commit_has_invalidated(
    pool: Pool, queries: QueryCache
) -> None:
    await queries.fetch_all(WORDS, str)
    committed, go = asyncio.Event(), asyncio.Event()

    async def held() -> None:
        committed.set()
        await go.wait()

    async def write() -> None:
        async with pool.transaction() as connection:
            connection.after_commit(held)
            queries.invalidate_after(connection)
            await connection.execute("update words set word = 'eins' where number = 1")

    writing = asyncio.create_task(write())
    await committed.wait()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    go.set()
    async with asyncio.timeout(20):
        while await queries.fetch_all(WORDS, str) != ["eins", "two"]:  # noqa: ASYNC110 - a task of the pool does
            await asyncio.sleep(0.01)


async def test_two_processes_see_each_others_writes(
    pool: Pool, database_url: str, redis_server: RedisServer
) -> None:
    namespace = uuid4().hex
    reader = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.database.reader", database_url, redis_server.url, namespace),
        cwd=_ROOT,
        env={},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert reader.stdin is not None
    assert reader.stdout is not None

    async def read() -> dict[str, Any]:
        assert reader.stdin is not None
        assert reader.stdout is not None
        reader.stdin.write(b"read\n")
        line: dict[str, Any] = json.loads(await asyncio.wait_for(reader.stdout.readline(), 30))
        return line

    backend = Redis(redis_server.url, timeout_seconds=5)
    async with Cache(backend, namespace=namespace, timeout=_PATIENT) as cache:
        queries = QueryCache(pool, cache, tables=True)
        assert await queries.fetch_all(WORDS, str) == ["one", "two"]
        assert await read() == {"words": ["one", "two"], "misses": 0}, "one cache for both"
        async with queries.transaction() as connection:
            await connection.execute("update words set word = 'eins' where number = 1")
        async with asyncio.timeout(20):
            while (await read())["words"] != ["eins", "two"]:
                pass
        before = (await read())["misses"]
        await write_in_vain(queries)
        assert await read() == {"words": ["eins", "two"], "misses": before}
        assert await queries.fetch_all(WORDS, str) == ["eins", "two"]
    reader.stdin.close()
    assert await asyncio.wait_for(reader.wait(), 30) == 0


# Tags


async def test_tags_are_those_that_are_named(pool: Pool, cache: Cache) -> None:
    queries = QueryCache(pool, cache)
    one, two = queries.tagged("word:1"), queries.tagged("word:2", ttl=timedelta(minutes=1))
    for number, tagged in ((1, one), (2, two)):
        await tagged.fetch_value(_ONE, number=number)
    await one.execute("update words set word = 'eins' where number = 1")
    assert await one.fetch_value(_ONE, number=1) == "eins"
    assert await two.fetch_value(_ONE, number=2) == "two"
    assert asked(pool, _ONE) == 3, "the second was not asked again"
    await pool.execute("update words set word = 'zwei' where number = 2")
    assert await two.fetch_value(_ONE, number=2) == "two", "nobody has said so"
    await queries.invalidate("word:2")
    assert await two.fetch_value(_ONE, number=2) == "zwei"
    assert queries.statistics().misses == 4, "the counts are those of all tags"


async def test_the_same_statement_under_other_tags_is_another_read(
    pool: Pool, cache: Cache
) -> None:
    queries = QueryCache(pool, cache)
    for tagged in (queries, queries.tagged("a"), queries.tagged("b"), queries.tagged("b", "a")):
        assert await tagged.fetch_value(_ONE, number=1) == "one"
    await pool.execute("update words set word = 'eins' where number = 1")
    await queries.invalidate("b")
    assert await queries.tagged("b").fetch_value(_ONE, number=1) == "eins"
    assert await queries.tagged("a", "b").fetch_value(_ONE, number=1) == "eins"
    assert await queries.tagged("a").fetch_value(_ONE, number=1) == "one"


async def test_a_tagged_transaction_invalidates_its_tags(pool: Pool, cache: Cache) -> None:
    queries = QueryCache(pool, cache).tagged("words")
    await queries.fetch_all(WORDS, str)
    async with queries.transaction() as connection:
        await connection.execute("delete from words where number = 1")
    assert await queries.fetch_all(WORDS, str) == ["two"]


async def test_a_table_is_known_through_views_keys_and_partitions(
    pool: Pool, queries: QueryCache
) -> None:
    for statement in (
        "create view first_words as select word from words where number < 3",
        "create view second_words as select word from first_words",
        "create table notes (word int references words on delete cascade, note text)",
        "insert into notes values (1, 'a note')",
        "create table days (day date) partition by range (day)",
        "create table days_2026 partition of days for values from ('2026-01-01') to ('2027-01-01')",
        'create table "Odd ""name" (number int)',
    ):
        await pool.execute(statement)
    view = Query("view", "select word from second_words order by word")
    notes = Query("notes", "select note from Notes")
    days = Query("days", "select count(*) from days")
    odd = Query("odd", 'select count(*) from "Odd ""name"')
    assert await queries.fetch_all(view, str) == ["one", "two"]
    assert await queries.fetch_all(notes, str) == ["a note"]
    assert await queries.fetch_value(days) == 0
    assert await queries.fetch_value(odd) == 0
    await queries.execute("delete from words where number = 1")
    await queries.execute("insert into days_2026 values ('2026-11-25')")
    await queries.execute('insert into "Odd ""name" values (1)')
    assert await queries.fetch_all(view, str) == ["two"]
    assert await queries.fetch_all(notes, str) == []
    assert await queries.fetch_value(days) == 1
    assert await queries.fetch_value(odd) == 1


async def test_a_write_to_another_table_leaves_it_alone(pool: Pool, queries: QueryCache) -> None:
    await pool.execute("create table others (number int)")
    await queries.fetch_all(WORDS, str)
    await queries.execute("insert into others values (1)")
    await queries.fetch_all(WORDS, str)
    assert asked(pool, WORDS) == 1


async def test_a_name_in_quotes_that_quotes_confuse_is_found(queries: QueryCache) -> None:
    query = Query("quotes", r"""select E'it\'s "', word, '"' from words where number = 1""")
    assert await queries.fetch_all(query, tuple) == [("it's \"", "one", '"')]
    await queries.execute("update words set word = 'eins' where number = 1")
    assert await queries.fetch_all(query, tuple) == [("it's \"", "eins", '"')]


# Failures


async def test_without_redis_the_database_answers(pool: Pool) -> None:
    with redis_server() as server:
        async with Cache(Redis(server.url), namespace=uuid4().hex) as cache:
            queries = QueryCache(pool, cache, tables=True)
            assert await queries.fetch_all(WORDS, str) == ["one", "two"]
            server.kill()
            assert await queries.fetch_all(WORDS, str) == ["one", "two"]
            assert await queries.execute("update words set word = 'eins' where number = 1") == 1
            assert await queries.fetch_all(WORDS, str) == ["eins", "two"]


async def test_a_write_while_redis_hangs_is_not_forgotten(pool: Pool) -> None:
    with redis_server() as server:
        async with Cache(Redis(server.url), namespace=uuid4().hex) as cache:
            queries = QueryCache(pool, cache, tables=True)
            await queries.fetch_all(WORDS, str)
            server.stop()
            await queries.execute("update words set word = 'eins' where number = 1")
            assert await queries.fetch_all(WORDS, str) == ["eins", "two"]
            server.resume()
            async with asyncio.timeout(20):
                while cache.stats().circuit_open:  # noqa: ASYNC110 - no event says so
                    await asyncio.sleep(0.01)
            assert await queries.fetch_all(WORDS, str) == ["eins", "two"]


class Broken:
    """A cache that raises what it likes."""

    async def get_or_set(
        self,
        key: str,
        make: Callable[[], Awaitable[bytes]],
        ttl: timedelta | None = None,
        tags: Sequence[str] = (),
    ) -> Any:
        raise OSError("s3cr3t")

    async def invalidate(self, *tags: str) -> None:
        raise OSError("s3cr3t")


async def test_a_cache_that_raises_is_told_once_and_never_felt(
    pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    queries = QueryCache(pool, Broken(), tables=True)
    for _ in range(2):
        assert await queries.fetch_all(WORDS, str) == ["one", "two"]
    await queries.execute("update words set word = 'eins' where number = 1")
    async with queries.transaction() as connection:
        await connection.execute("update words set word = 'zwei' where number = 2")
    assert queries.statistics().failures == 4
    assert caplog.text.count("the cache failed: OSError: no error of ours") == 1
    assert "s3cr3t" not in caplog.text


class Strange(Broken):
    """A cache that gives something else back."""

    async def get_or_set(
        self,
        key: str,
        make: Callable[[], Awaitable[bytes]],
        ttl: timedelta | None = None,
        tags: Sequence[str] = (),
    ) -> Any:
        return b"\xc1 nonsense"


async def test_a_cache_that_lost_its_mind_is_passed_over(pool: Pool) -> None:
    queries = QueryCache(pool, Strange())
    assert await queries.fetch_all(WORDS, str) == ["one", "two"]


async def test_an_error_of_the_database_is_told_as_it_is_and_not_kept(
    pool: Pool, queries: QueryCache
) -> None:
    await queries.fetch_all(WORDS, str)  # the tables are known from here on
    wrong = Query("wrong", "select word from words where number = %(number)s / 0")
    for _ in range(2):
        found = await asyncio.gather(
            *(queries.fetch_value(wrong, number=1) for _ in range(3)), return_exceptions=True
        )
        assert [type(one).__name__ for one in found] == ["Invalid"] * 3
        assert "division by zero" in str(found[0])
    assert asked(pool, wrong) == 2, "three who ask at once are one question"
    assert queries.statistics().failures == 0


async def test_a_database_that_is_away_is_unavailable(pool: Pool, queries: QueryCache) -> None:
    await queries.fetch_all(WORDS, str)
    await pool.close()
    assert await queries.fetch_all(WORDS, str) == ["one", "two"], "the cache knows it"
    with pytest.raises(Unavailable):
        await queries.fetch_value(_ONE, number=1)
    with pytest.raises(Unavailable):
        await queries.execute("delete from words")


# After a commit


async def test_what_fails_after_a_commit_is_logged_and_hides_nothing(
    pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    done = []

    async def bad() -> None:
        raise RuntimeError("bad")

    async def good() -> None:
        done.append(await pool.fetch_value("select word from words where number = 1"))

    async with pool.transaction() as connection:
        connection.after_commit(bad)
        connection.after_commit(good)
        await connection.execute("update words set word = 'eins' where number = 1")
        assert done == []
    assert done == ["eins"]
    assert "what was to be done after a commit failed" in caplog.text


async def test_a_commit_whose_answer_was_lost_may_have_been_one(pool: Pool) -> None:
    done = []

    async def work() -> None:
        done.append(1)

    async def lose() -> None:
        async with pool.transaction() as connection:
            connection.after_commit(work)
            pid = await connection.fetch_value("select pg_backend_pid()")
            await pool.fetch_value("select pg_terminate_backend(%(pid)s)", pid=pid)

    with pytest.raises(Unavailable):
        await lose()
    assert done == [1]


async def test_a_retried_transaction_does_its_work_once(pool: Pool) -> None:
    done, attempts = [], 0

    async def work() -> None:
        done.append(attempts)

    async def transfer(connection: Any) -> None:
        nonlocal attempts
        attempts += 1
        connection.after_commit(work)
        await connection.execute("update words set note = note where number = 1")
        if attempts == 1:
            await connection.execute("do $$ begin raise sqlstate '40001'; end $$")

    await pool.run(transfer, serializable_retries=2)
    assert done == [2]


# Keys and rows

_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.decimals(allow_nan=False)
    | st.uuids()
    | st.datetimes()
    | st.datetimes(timezones=st.just(UTC))
    | st.dates()
    | st.timedeltas(),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)


@given(_VALUES, _VALUES)
def test_two_parameters_share_a_key_only_when_they_are_the_same(one: Any, other: Any) -> None:
    same = _exact(one) == _exact(other)
    assert same == (repr(one) == repr(other) and type(one) is type(other))
    query = Query("q", "select %(a)s")
    assert (_key("", (), query, {"a": one}, str) == _key("", (), query, {"a": other}, str)) == same


@given(st.lists(st.tuples(_VALUES, _VALUES), max_size=5))
def test_rows_come_back_exactly_or_are_not_kept(rows: list[tuple[Any, Any]]) -> None:
    payload = _encode(rows, tuple)
    if payload is not None:
        again = _decode(payload, tuple)
        # `fold` tells two equal hours of a zone apart; in UTC it means nothing.
        assert repr(again) == repr(rows).replace(", fold=1", "")


def test_a_type_that_changed_is_another_key() -> None:
    @dataclass
    class Row:
        number: int

    first = Row

    @dataclass
    class Row:  # type: ignore[no-redef]  # what another release calls the same
        number: float

    query = Query("q", "select 1 as number")
    assert _key("", (), query, {}, first) != _key("", (), query, {}, Row)


def test_an_enumeration_that_the_database_does_not_give_is_not_kept() -> None:
    @dataclass
    class Row:
        kind: Kind

    assert _encode([Row("noun")], Row) is None  # type: ignore[arg-type]  # as psycopg makes it
    payload = _encode([Row(Kind.NOUN)], Row)
    assert payload is not None
    assert _decode(payload, Row) == [Row(Kind.NOUN)]
