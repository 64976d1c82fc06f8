"""Asks a slow statement once, whoever visits, until somebody adds a word.

DATABASE_URL=postgresql://... uvicorn query_cache_app:app
"""

import os
from contextlib import AsyncExitStack

from insight_cloud.cache import Cache
from insight_cloud.database import Pool, QueryCache

pool, cache = Pool(os.environ["DATABASE_URL"]), Cache()
queries = QueryCache(pool, cache, tables=True)


async def app(scope, receive, send):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - a plain ASGI application
    if scope["type"] == "lifespan":
        async with AsyncExitStack() as stack:
            while (await receive())["type"] == "lifespan.startup":
                await stack.enter_async_context(pool)
                await stack.enter_async_context(cache)
                await pool.execute("create table if not exists words (word text)")
                await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    if scope["method"] == "POST":
        await queries.execute("insert into words values (%(word)s)", word=scope["path"][1:])
    words = await queries.fetch_all("select word from words, pg_sleep(0.2) order by word", str)
    headers = [(b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": "\n".join(words).encode()})
