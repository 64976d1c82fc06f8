"""Each question finds the fault that is planted for it, and a good database has none."""

from __future__ import annotations

from pathlib import Path
from typing import LiteralString

import psycopg
from psycopg import sql

from insight_cloud.verify.suites import database
from tests import postgres
from tests.conftest import MIGRATIONS
from tests.verify.sites import asked, statuses

UNSAFE = {"what is committed survives a crash"}
"""The tests' own server does not sync: this question finds it in every test."""

GOOD: LiteralString = """
create table shops (id int primary key, name text not null);
create table items (id bigint generated always as identity primary key,
    shop_id int not null references shops, next_id bigint references items);
create index on items (shop_id);
create index on items (next_id) where next_id is not null;
"""

PLANTED: dict[str, tuple[LiteralString, str]] = {
    "every table has a primary key": ("create table loose (a int)", "loose"),
    "every constraint is validated": (
        "alter table items add constraint small check (id < 9) not valid",
        "items: small",
    ),
    "no index is there twice": (
        "create index one on items (shop_id, id); create index other on items (shop_id, id)",
        "one = other",
    ),
    "every foreign key has an index": (
        "create table carts (id int primary key, shop_id int references shops)",
        "carts: carts_shop_id_fkey",
    ),
    "no trigger is switched off": ("alter table items disable trigger all", "items: "),
    "no sequence is near its end": (
        "create table few (id smallserial primary key); select setval('few_id_seq', 30000)",
        "public.few_id_seq at 92 percent",
    ),
    "every large table has statistics": (
        (
            "create table big (id int primary key, t text) with (autovacuum_enabled = true);"
            "insert into big select n, repeat('x', 100) from generate_series(1, 3000) n"
        ),
        "big",
    ),
    "autovacuum is on everywhere": (
        "create table still (id int primary key) with (autovacuum_enabled = false)",
        "still",
    ),
    "not everybody may create objects": ("grant create on schema public to public", "public"),
    "every index is usable": (
        (
            "create table rows (id int primary key, a int); create index rows_a on rows (a);"
            "update pg_index set indisvalid = false where indexrelid = 'rows_a'::regclass"
        ),
        "rows_a",
    ),
}


async def execute(url: str, text: LiteralString) -> None:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute(text)


async def test_each_fault_is_found_by_its_question(database_url: str) -> None:
    await execute(database_url, GOOD)
    checks = await asked(database, "http://127.0.0.1:1", database_url=database_url)
    faults = {name for name, check in checks.items() if check.status not in {"pass", "not run"}}
    assert faults == UNSAFE, statuses(checks)
    for planted, _ in PLANTED.values():
        await execute(database_url, planted)
    checks = await asked(database, "http://127.0.0.1:1", database_url=database_url)
    for name, (_, told) in PLANTED.items():
        assert checks[name].status == "fail", name
        assert any(told in line for line in checks[name].evidence), checks[name]
    assert {name for name, _ in database.FAULTS} == {*PLANTED, *UNSAFE, "texts are UTF-8"}


async def test_texts_in_another_encoding_are_found(postgres_url: str) -> None:
    name = sql.Identifier("verify_encoding_test")
    drop = sql.SQL("drop database if exists {} with (force)").format(name)
    create = sql.SQL(
        "create database {} encoding 'SQL_ASCII' locale 'C' template template0"
    ).format(name)
    async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as connection:
        await connection.execute(drop)
        await connection.execute(create)
        url = postgres.with_database(postgres_url, "verify_encoding_test")
        checks = await asked(database, "http://127.0.0.1:1", database_url=url)
        await connection.execute(drop)
    assert checks["texts are UTF-8"].evidence == ("SQL_ASCII",)


async def test_migrations_are_compared_with_the_files(
    migrated_url: str, database_url: str, tmp_path: Path
) -> None:
    async def state(url: str, folder: Path | None) -> str:
        checks = await asked(database, "http://a", database_url=url, migrations=folder)
        return checks["its migrations are applied"].status

    assert await state(migrated_url, MIGRATIONS) == "pass"
    assert await state(database_url, MIGRATIONS) == "fail"
    assert await state(migrated_url, None) == "not run"
    for file in MIGRATIONS.glob("*.sql"):
        (tmp_path / file.name).write_bytes(file.read_bytes() + b"\n-- changed")
    assert await state(migrated_url, tmp_path) == "fail"


async def test_our_own_schema_has_no_fault(migrated_url: str) -> None:
    checks = await asked(database, "http://127.0.0.1:1", database_url=migrated_url)
    faults = {name: c.evidence for name, c in checks.items() if c.status == "fail"}
    for name in UNSAFE:
        faults.pop(name)
    assert faults == {}


async def test_a_database_that_is_away_fails_and_none_is_not_run() -> None:
    checks = await asked(
        database, "http://127.0.0.1:1", database_url="postgresql://127.0.0.1:1/nothing"
    )
    assert statuses(checks).keys() == {"it can be reached"}
    assert checks["it can be reached"].status == "fail"
    checks = await asked(database, "http://127.0.0.1:1")
    assert [check.status for check in checks.values()] == ["not run"]
