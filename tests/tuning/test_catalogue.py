from __future__ import annotations

import asyncio
import dataclasses
import uuid
from collections.abc import AsyncIterator
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from insight_cloud import tuning
from insight_cloud.core.errors import Refused, SettingsError, Unavailable
from tests import postgres
from tests.tuning.conftest import plant
from tests.tuning.planted import FAULTS, THRESHOLDS


def as_role(url: str, role: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{role}@{parts.netloc.rpartition('@')[2]}"))


@pytest.fixture
async def role(server_url: str) -> AsyncIterator[str]:
    """A role that may do nothing; the test grants what it is about."""
    name = f"looker_{uuid.uuid4().hex}"
    async with await psycopg.AsyncConnection.connect(server_url, autocommit=True) as connection:
        await connection.execute(f"create role {name} login".encode())
        yield name
        await connection.execute(f"drop role {name}".encode())


async def test_a_monitoring_role_is_told_what_it_cannot_see(server_url: str, role: str) -> None:
    async with postgres.database(server_url) as url:
        await plant(url)
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            await connection.execute(f"grant pg_monitor to {role}".encode())
        facts = await tuning.read(as_role(url, role))
        found = {(f.kind, f.target) for f in tuning.findings(facts, THRESHOLDS)}
        hidden = {"index.bloated", "table.bloated", "sequence.exhausted"}
        assert {pair for pair in FAULTS if pair[0] not in hidden} == {
            pair for pair in found if not pair[0].startswith("setting.")
        }
        checks = {check.name: check for check in tuning.judge(facts, THRESHOLDS)}
        for kind in hidden:
            check = checks[f"database.{kind}"]
            assert check.status == "skip"
            assert "pg_read_all_data" in check.detail


async def test_a_role_without_any_right_sees_no_sessions(server_url: str, role: str) -> None:
    async with postgres.database(server_url) as url:
        facts = await tuning.read(as_role(url, role))
        checks = {check.name: check for check in tuning.judge(facts, THRESHOLDS)}
        assert checks["database.session.blocked"].status == "skip"
        assert "pg_read_all_stats" in checks["database.session.blocked"].detail


async def test_slow_statements_come_from_the_servers_own_statistics(old_url: str) -> None:
    async with postgres.database(old_url) as url:
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            await connection.execute("create extension pg_stat_statements")
            await connection.execute("create table t (n int)")
            for number in (1, 2, 3):
                # Together, so that a busy machine cannot make the fast one slow.
                await connection.execute(f"select pg_sleep(0.05), {number} from t".encode())
                await connection.execute(f"select pg_sleep(0.05), {number}".encode())
        facts = await tuning.read(url)
        found = [f for f in tuning.findings(facts, THRESHOLDS) if f.kind == "statement.slow"]
        assert [(f.target, f.evidence["calls"]) for f in found] == [("select pg_sleep($1), $2", 3)]


async def test_where_no_statements_are_counted_that_is_said(postgres_url: str) -> None:
    async with postgres.database(postgres_url) as url:
        checks = {check.name: check for check in await tuning.check(url, THRESHOLDS)}
        assert checks["database.statement.slow"].status == "skip"
        assert "--log" in checks["database.statement.slow"].detail


async def test_idle_transactions_and_waiting_sessions_are_named(server_url: str) -> None:
    thresholds = dataclasses.replace(THRESHOLDS, lock_wait_seconds=0.2)
    async with (
        postgres.database(server_url) as url,
        await psycopg.AsyncConnection.connect(url, application_name="idler") as idler,
        await psycopg.AsyncConnection.connect(url, application_name="waiter") as waiter,
    ):
        await idler.execute("create table t (n int)")
        waiting = asyncio.create_task(waiter.execute("create table t (n int)"))
        found: dict[str, tuning.Finding] = {}
        async with asyncio.timeout(30):
            while len(found) < 2:
                facts = await tuning.read(url)
                kinds = tuning.findings(facts, thresholds)
                found = {f.kind: f for f in kinds if f.kind.startswith("session.")}
        assert found["session.idle_in_transaction"].target.startswith("idler (process ")
        assert found["session.blocked"].target.startswith("waiter (process ")
        assert found["session.blocked"].evidence["blocked_by"] == (idler.info.backend_pid,)
        await idler.rollback()
        await waiting


async def test_an_inactive_slot_is_named(old_url: str) -> None:
    async with postgres.database(old_url) as url:
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            await connection.execute("select pg_create_physical_replication_slot('gone', true)")
            try:
                await connection.execute("create table t as select generate_series(1, 1000)")
                found = tuning.findings(await tuning.read(url), THRESHOLDS)
            finally:
                await connection.execute("select pg_drop_replication_slot('gone')")
        assert ("slot.inactive", "gone") in {(f.kind, f.target) for f in found}


async def test_a_server_that_is_away_and_a_url_that_is_none_are_told() -> None:
    with pytest.raises(Unavailable, match="does not answer"):
        await tuning.read("postgresql://nobody@127.0.0.1:1/x?connect_timeout=2")
    with pytest.raises(SettingsError) as caught:
        await tuning.read("postgresql://user:secret@[/x")
    assert "secret" not in str(caught.value)


async def test_a_role_that_does_not_exist_is_refused(postgres_url: str) -> None:
    with pytest.raises(Refused, match="does not let us in"):
        await tuning.read(as_role(postgres_url, "stranger"))
