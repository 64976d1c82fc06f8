"""A page with photographs that are resized when somebody asks for them.

PHOTOS=photos uvicorn images_app:app
"""

import os
from contextlib import AsyncExitStack
from pathlib import Path

from insight_cloud.images import Described, Images, Mounts, Store, Workers, ours, picture

folder = Path(os.environ["PHOTOS"])
images = Images(
    Workers(),
    Mounts({"/photos/": folder}),
    store=Store(Path(os.environ.get("STORE", "image-cache"))),
)
cat = picture(
    Described("/photos/cat.jpg", width=1300, height=900),
    ours("/_image"),
    alt="A cat",
    sizes="(min-width: 60rem) 30rem, 100vw",
    priority=True,
)
PAGE = f'<!doctype html><html lang="en"><title>A cat</title>{cat}'.encode()


async def app(scope, receive, send):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - a plain ASGI application
    if scope["type"] == "lifespan":
        async with AsyncExitStack() as stack:
            while (await receive())["type"] == "lifespan.startup":
                await stack.enter_async_context(images)
                await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
    elif scope["path"] == "/_image":
        await images(scope, receive, send)
    else:
        headers = [(b"content-type", b"text/html; charset=utf-8")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": PAGE})
