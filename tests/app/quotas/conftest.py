"""The house of the accounts' tests, with its clock."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from insight_cloud.database import Pool
from tests.app.accounts.house import House


@pytest.fixture
async def house(pool: Pool) -> AsyncIterator[House]:
    async with House(pool) as house:
        yield house
