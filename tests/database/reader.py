"""Another process that reads by a query cache: a line in, a line of JSON out.

python -m tests.database.reader DATABASE_URL REDIS_URL NAMESPACE
"""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import timedelta

from insight_cloud.cache import Cache, Redis
from insight_cloud.database import Pool, Query, QueryCache

WORDS = Query("words", "select word from words order by number")


async def run(database_url: str, redis_url: str, namespace: str) -> None:
    async with (
        Pool(database_url, min_size=1, max_size=2) as pool,
        Cache(Redis(redis_url), namespace=namespace, timeout=timedelta(seconds=5)) as cache,
    ):
        queries = QueryCache(pool, cache, tables=True)
        while await asyncio.to_thread(sys.stdin.readline):
            words = await queries.fetch_all(WORDS, str)
            line = {"words": words, "misses": queries.statistics().misses}
            print(json.dumps(line), flush=True)  # noqa: T201 - this is how it speaks


if __name__ == "__main__":
    asyncio.run(run(*sys.argv[1:4]))
