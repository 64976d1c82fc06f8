"""Any ASGI application with the cache; run it: `uvicorn examples.cache_app:app`."""

import asyncio
import json
from typing import Any

from insight_cloud.cache import Cache, Memory

cache = Cache(Memory())  # or Redis("redis://127.0.0.1:6379")


@cache.cached("report:{name}", tags=["reports"])
async def report(name: str) -> dict[str, Any]:
    await asyncio.sleep(0.2)  # a slow query
    return {"name": name, "computed": cache.stats().computations}


async def app(scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG001 - ASGI gives it
    if scope["type"] != "http":
        return
    if scope["method"] == "DELETE":
        await cache.invalidate("reports")
    body = json.dumps(await report(scope["path"].strip("/") or "all")).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})
