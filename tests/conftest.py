"""Fixtures for every test: one PostgreSQL for the run, a database for each test that asks."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import insight_cloud
from insight_cloud.database import Pool, embedded
from tests import postgres

# A machine with two busy cores draws examples slowly without being at fault.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

_TEMPLATES: dict[str, str] = {}
MIGRATIONS = Path(insight_cloud.__file__).parent / "app" / "migrations"


_DIRECTORY = "TESTS_POSTGRES_DIRECTORY"
"""The variable by which the processes of one run know where their common server is."""


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        folder = tempfile.mkdtemp(prefix="insight-tests-", dir=postgres.fast_directory())
        os.environ[_DIRECTORY] = folder


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ.pop(_DIRECTORY), ignore_errors=True)


@pytest.fixture(scope="session")
async def embedded_url() -> AsyncIterator[str]:
    """The embedded server; the processes of one run share it, and the last one stops it."""
    directory = Path(os.environ[_DIRECTORY]) / "postgres"
    async with embedded.server(directory, settings=postgres.UNSAFE) as url:
        yield url


@pytest.fixture(scope="session")
def postgres_url(embedded_url: str) -> str:
    """A server on which the user of this URL may do everything."""
    return embedded_url


@pytest.fixture
async def template(postgres_url: str) -> str:
    """The name of a database with the product's schema, to be cloned; made once for a server.

    Remembered by the server's address: a session's fixture would outlive a server that a
    parameter has replaced.
    """
    if postgres_url not in _TEMPLATES:
        _TEMPLATES[postgres_url] = await postgres.template(postgres_url, MIGRATIONS)
    return _TEMPLATES[postgres_url]


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
