from __future__ import annotations

from dataclasses import dataclass

import pytest

from insight_cloud.core.errors import Missing
from insight_cloud.database import Pool


@dataclass(frozen=True, slots=True)
class Pair:
    number: int
    word: str


async def test_rows_become_objects_by_their_columns_names(pool: Pool) -> None:
    query = "select 'one' as word, %(number)s::int as number"
    assert await pool.fetch_all(query, Pair, number=1) == [Pair(1, "one")]


async def test_a_missing_row_is_missing(pool: Pool) -> None:
    with pytest.raises(Missing):
        await pool.fetch_one("select 1 where false", int)
