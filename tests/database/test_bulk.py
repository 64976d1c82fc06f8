from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from insight_cloud.core.errors import Conflict, InsightError, Invalid
from insight_cloud.database import Pool

TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
ROWS = st.lists(
    st.tuples(
        st.integers(-(2**63), 2**63 - 1),
        st.none() | TEXT,
        st.none() | st.binary(),
        st.none() | st.floats(allow_nan=False),
        st.none() | st.booleans(),
        st.none() | st.uuids(),
        st.none() | st.datetimes(timezones=st.just(dt.UTC)),
        st.none() | st.lists(TEXT, max_size=3),
        st.none() | st.dictionaries(TEXT, st.integers(-1000, 1000), max_size=3),
    ),
    unique_by=lambda row: row[0],
    max_size=20,
)
COLUMNS = ("id", "t", "b", "f", "o", "u", "at", "texts", "json")


@pytest.fixture
async def things(database_url: str) -> AsyncIterator[Pool]:
    async with Pool(database_url, min_size=1, max_size=2) as pool:
        await pool.execute("create type mood as enum ('good', 'bad')")
        await pool.execute(
            "create table things (id bigint primary key, t text, b bytea, f float8, o boolean,"
            ' u uuid, at timestamptz, texts text[], json jsonb, small smallint, "Mood" mood,'
            " n numeric)"
        )
        yield pool


async def written(pool: Pool) -> list[Any]:
    query = "select id, t, b, f, o, u, at, texts, json from things"
    return await pool.fetch_all(query, tuple)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS)
async def test_what_is_written_is_read_back(things: Pool, rows: list[tuple[Any, ...]]) -> None:
    await things.execute("truncate things")
    async with things.transaction() as connection:
        assert await connection.insert_many("things", COLUMNS, rows) == len(rows)
    assert sorted(await written(things)) == sorted(rows)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=ROWS, second=ROWS)
async def test_an_upsert_leaves_the_newest_of_each_key(
    things: Pool, first: list[tuple[Any, ...]], second: list[tuple[Any, ...]]
) -> None:
    await things.execute("truncate things")
    for rows in (first, second):
        async with things.transaction() as connection:
            count = await connection.insert_many("things", COLUMNS, rows, upsert_on=["id"])
        assert count == len(rows)
    expected = {row[0]: row for row in (*first, *second)}
    assert {row[0]: row for row in await written(things)} == expected


async def test_two_upserts_fit_into_one_transaction(things: Pool) -> None:
    async with things.transaction() as connection:
        for text in ("a", "b"):
            await connection.insert_many("things", ("id", "t"), [(1, text)], upsert_on=["id"])
    assert await things.fetch_value("select t from things") == "b"


async def test_with_nothing_but_the_key_a_row_stays_as_it_is(things: Pool) -> None:
    await things.execute("insert into things (id, t) values (1, 'old')")
    async with things.transaction() as connection:
        count = await connection.insert_many("things", ["id"], [(1,), (2,)], upsert_on=["id"])
    assert count == 1
    assert await things.fetch_all("select t from things order by id", tuple) == [("old",), (None,)]


async def test_own_types_and_names_that_need_quotes_are_written(things: Pool) -> None:
    async with things.transaction() as connection:
        await connection.insert_many("public.things", ("id", "Mood", "n"), [(1, "good", 5)])
    query = 'select "Mood"::text, n::int from things'
    assert await things.fetch_all(query, tuple) == [("good", 5)]


def failing() -> Iterator[tuple[int, str]]:
    yield 1, "one"
    raise RuntimeError("the source failed")


async def test_a_failing_source_writes_nothing(things: Pool) -> None:
    with pytest.raises(RuntimeError, match="the source failed"):
        async with things.transaction() as connection:
            await connection.insert_many("things", ("id", "t"), failing())
    assert await things.fetch_value("select count(*) from things") == 0


@pytest.mark.parametrize(
    ("columns", "row", "expected"),
    [
        (("id", "small"), (1, 2**20), Invalid),
        (("id", "small"), (1, 2**40), Invalid),
        (("id",), (2**80,), Invalid),
        (("id", "t"), (1, "nul \0 byte"), Invalid),
        (("id", "t"), (1, "surrogate \ud800"), Invalid),
        (("id", "u"), (1, "no uuid"), InsightError),
        (("id", "f"), (1, "text"), InsightError),
        (("id", "Mood"), (1, "ugly"), Invalid),
        (("id",), (None,), Invalid),
        (("id", "nothing"), (1, 1), InsightError),
        (("id", "t"), (1,), InsightError),
    ],
)
@pytest.mark.parametrize("upsert_on", [(), ("id",)])
async def test_a_row_that_does_not_fit_is_one_of_our_errors(
    things: Pool,
    columns: tuple[str, ...],
    row: tuple[Any, ...],
    expected: type[InsightError],
    upsert_on: tuple[str, ...],
) -> None:
    with pytest.raises(expected):
        async with things.transaction() as connection:
            await connection.insert_many("things", columns, [row], upsert_on=upsert_on)
    assert await things.fetch_value("select count(*) from things") == 0


async def test_a_key_that_is_there_is_a_conflict_and_twice_in_the_rows_is_invalid(
    things: Pool,
) -> None:
    await things.execute("insert into things (id) values (1)")
    with pytest.raises(Conflict):
        async with things.transaction() as connection:
            await connection.insert_many("things", ("id", "u"), [(1, uuid.uuid4())])
    rows = [(1, "a"), (1, "b")]
    with pytest.raises(Invalid, match="same key"):
        async with things.transaction() as connection:
            await connection.insert_many("things", ("id", "t"), rows, upsert_on=["id"])
