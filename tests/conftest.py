"""Fixtures for every test: one PostgreSQL for the run, a database for each test that asks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import insight_cloud
from insight_cloud.database import Pool, embedded
from tests import postgres

MIGRATIONS = Path(insight_cloud.__file__).parent / "app" / "migrations"


@pytest.fixture(scope="session")
async def embedded_url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The embedded server; the processes of one run share it, and the last one stops it."""
    directory = tmp_path_factory.getbasetemp()
    if directory.name.startswith("popen-"):
        directory = directory.parent
    async with embedded.server(directory / "postgres", settings=postgres.UNSAFE) as url:
        yield url


@pytest.fixture(scope="session")
def postgres_url(embedded_url: str) -> str:
    """A server on which the user of this URL may do everything."""
    return embedded_url


@pytest.fixture(scope="session")
async def template(postgres_url: str) -> str:
    """The name of a database with the product's schema, to be cloned."""
    return await postgres.template(postgres_url, MIGRATIONS)


@pytest.fixture
async def database_url(postgres_url: str) -> AsyncIterator[str]:
    """An empty database."""
    async with postgres.database(postgres_url) as url:
        yield url


@pytest.fixture
async def migrated_url(postgres_url: str, template: str) -> AsyncIterator[str]:
    """A database with the product's schema and nothing in it."""
    async with postgres.database(postgres_url, template=template) as url:
        yield url


@pytest.fixture
async def pool(migrated_url: str) -> AsyncIterator[Pool]:
    """An open pool of a database with the product's schema and nothing in it."""
    async with Pool(migrated_url, min_size=1, max_size=10, acquire_timeout_seconds=5) as pool:
        yield pool
