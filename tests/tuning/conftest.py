"""Servers of both ages, and a database with planted faults on each."""

from __future__ import annotations

from collections.abc import AsyncIterator

import psycopg
import pytest

from tests import postgres
from tests.tuning import planted


@pytest.fixture(scope="session")
async def old_url() -> AsyncIterator[str]:
    """Debian's PostgreSQL, with the statements' statistics loaded."""
    postgres.require_debian()
    settings = {"shared_preload_libraries": "pg_stat_statements", "wal_level": "replica"}
    with postgres.debian(settings) as server:
        await server.ready()
        yield server.url


@pytest.fixture(params=["embedded", "debian"])
async def server_url(request: pytest.FixtureRequest, postgres_url: str, old_url: str) -> str:
    return postgres_url if request.param == "embedded" else old_url


@pytest.fixture
async def planted_url(server_url: str) -> AsyncIterator[str]:
    """A database with every planted fault and decoy."""
    async with postgres.database(server_url) as url:
        await plant(url)
        yield url


async def plant(url: str) -> None:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        for statement in (planted.SCHEMA, *planted.AFTER):
            await connection.execute(statement)
            # Else what was counted before a vacuum arrives after it.
            await connection.execute("select pg_stat_force_next_flush()")
            await connection.execute("select 1")
        # A build that fails leaves its index behind, as one does that is killed.
        with pytest.raises(psycopg.errors.UniqueViolation):
            await connection.execute(
                "create unique index concurrently orders_broken on orders ((id / id))"
            )
