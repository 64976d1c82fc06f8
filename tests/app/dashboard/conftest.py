"""A town that is built once, and a browser to walk through it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from insight_cloud.database import Pool
from tests import postgres
from tests.app.dashboard.town import Town, open_town
from tests.conftest import MIGRATIONS


@pytest.fixture(scope="session")
async def town(postgres_url: str) -> AsyncIterator[Town]:
    """A served application with people and projects; tests that change it put it back."""
    template = await postgres.template(postgres_url, MIGRATIONS)
    async with (
        postgres.database(postgres_url, template=template) as url,
        Pool(url, min_size=1, max_size=5, acquire_timeout_seconds=5) as pool,
        open_town(pool) as town,
    ):
        yield town
