"""A sign-in page that admits five attempts in 15 minutes, however many processes serve it.

REDIS_URL=redis://127.0.0.1:6379/0 uvicorn --workers 4 --no-proxy-headers ratelimit_app:app
"""

import os
from contextlib import AsyncExitStack
from datetime import timedelta

from insight_cloud.ratelimit import Addresses, Limiter, Policy, RateLimit, Redis

store = Redis(os.environ["REDIS_URL"])
addresses = Addresses(trusted_proxies=[])
auth = Policy("auth", limit=5, window=timedelta(minutes=15), on_failure="closed")


async def sign_in(scope, receive, send):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - a plain ASGI application
    if scope["type"] == "lifespan":
        async with AsyncExitStack() as stack:
            while (await receive())["type"] == "lifespan.startup":
                await stack.enter_async_context(store)
                await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    headers = [(b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": 401, "headers": headers})
    await send({"type": "http.response.body", "body": b"wrong password\n"})


app = RateLimit(sign_in, Limiter(store), policies=lambda scope: [(auth, addresses(scope))])
