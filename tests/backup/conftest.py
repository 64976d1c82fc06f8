"""A rich source database, folders as stores, and jobs for the tests of backups."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from insight_cloud.backup import Job
from tests.backup import world
from tests.stores import azurite_fixture, s3_server_fixture

__all__ = ["azurite_fixture", "s3_server_fixture"]


@pytest.fixture
async def source_url(postgres_url: str) -> AsyncIterator[str]:
    """A database with some of everything."""
    async with world.rich(postgres_url) as url:
        yield url


@pytest.fixture
def job(source_url: str, tmp_path: Path) -> Job:
    """A job with an encrypted store in a folder."""
    return world.job_for(source_url, tmp_path)
