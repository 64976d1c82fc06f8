"""A small shop whose statements need a handful of indexes, and the shadow's server."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
import pytest

from insight_cloud.database import embedded
from insight_cloud.tuning import Statement
from insight_cloud.tuning.advisor.shadow import Scratch, Server
from tests import postgres

SHOP = """
create table customers (id int primary key, email text not null, country text not null);
create table orders (id int primary key, customer int not null, status varchar(10) not null,
    placed timestamptz not null, note text not null, tags text[] not null);
insert into customers select i, 'User' || i || '@example.org', (array['DE','FR','US'])[1 + i % 3]
    from generate_series(1, 20000) i;
insert into orders select i, 1 + i * 7919 % 20000,
    case when i % 200 = 0 then 'open' else 'done' end,
    timestamptz '2025-01-01' + i * interval '1 minute',
    'about ' || md5(i::text), array['t' || i % 500] from generate_series(1, 40000) i;
"""

STATEMENTS = (
    Statement("select * from orders where customer = 77 order by placed desc limit 5", 40, 0),
    Statement("select * from customers where lower(email) = 'user77@example.org'", 20, 0),
    Statement("select id from orders where status = 'open' order by placed limit 10", 30, 0),
    Statement("select id from orders where tags @> array['t77']", 5, 0),
    Statement("select count(*) from orders where placed >= '2025-01-25'", 5, 0),
)


@pytest.fixture
async def shop(server_url: str) -> AsyncIterator[str]:
    """A database with the shop, on each server."""
    async with postgres.database(server_url) as url:
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            await connection.execute(SHOP)
            await connection.execute("vacuum analyze")
        yield url


@pytest.fixture(scope="session")
async def shadow_server() -> AsyncIterator[Server]:
    """One throwaway server for all shadows: each has a database of its own in it."""
    with tempfile.TemporaryDirectory(dir=postgres.fast_directory()) as name:
        settings = {**postgres.UNSAFE, "autovacuum": "off"}
        async with embedded.server(Path(name), settings=settings) as url:
            scratch = Scratch(url, Path(name) / "data", embedded.binaries())

            @asynccontextmanager
            async def server() -> AsyncIterator[Scratch]:
                yield scratch

            yield server
