"""A page whose stylesheet is minified, compressed and kept by browsers for ever.

STATIC=static BUILT=built uvicorn assets_app:app
"""

import os
from pathlib import Path

from insight_cloud.assets import Assets, Static

built = os.environ.get("BUILT")
assets = Assets.prepare(Path(os.environ["STATIC"]), kept=Path(built) if built else None)
static = Static(assets)
PAGE = f'<!doctype html><html lang="en"><title>Red</title>{assets.stylesheet("app.css")}'.encode()


async def app(scope, receive, send):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - a plain ASGI application
    if scope["type"] != "http":
        return
    if scope["path"].startswith(assets.prefix):
        await static(scope, receive, send)
        return
    headers = [
        (b"content-type", b"text/html; charset=utf-8"),
        (b"link", assets.preload("app.css").encode()),  # an edge sends it ahead
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": PAGE})
