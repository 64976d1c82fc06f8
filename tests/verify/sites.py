"""Sites to be verified: a good one, and what may be wrong with it, one switch each."""

from __future__ import annotations

import asyncio
import gzip
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn

from insight_cloud.verify import Check, Subject
from insight_cloud.verify.asking import Asker

__all__ = ["STRICT", "Page", "Site", "asked", "serving", "statuses"]

STRICT = {
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}
_HEAD = '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
HOME = (
    f'<!doctype html><html lang="en"><head>{_HEAD}<title>Shop</title>'
    '<link rel="stylesheet" href="/site.css"><script src="/site.js" defer></script></head>'
    '<body><main><h1>Shop</h1><p>Tea and coffee. <a href="/about">About us</a></p>'
    "</main></body></html>"
)
ABOUT = HOME.replace("Tea and coffee", "Since 1998").replace("Shop", "About the shop")
_KEPT = {"cache-control": "public, max-age=31536000, immutable"}


@dataclass
class Page:
    """What is answered at one path."""

    body: str | bytes = ""
    status: int = 200
    type: str = "text/html; charset=utf-8"
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0
    make: Callable[[dict[str, str]], Awaitable[Page | None]] | None = None


class Site:
    """Pages by path, as an ASGI application; what is not there is 404."""

    def __init__(self, *, headers: dict[str, str] | None = None, **pages: Page) -> None:
        self.headers = STRICT if headers is None else headers
        self.began = time.monotonic()
        self.pages = {
            "/": Page(HOME),
            "/about": Page(ABOUT),
            "/site.css": Page("main { max-width: 40rem }", type="text/css", headers=_KEPT),
            "/site.js": Page("'use strict';", type="text/javascript", headers=_KEPT),
        } | {f"/{name.replace('_', '-')}": page for name, page in pages.items()}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        asked = {k.decode().lower(): v.decode("latin1") for k, v in scope["headers"]}
        asked |= {":method": scope["method"], ":query": scope["query_string"].decode("latin1")}
        asked[":body"] = await _body(receive)
        page = self.pages.get(scope["path"], Page("<h1>Not found</h1>", status=404))
        if page.make is not None:
            page = await page.make(asked) or page
        if page.seconds:
            await asyncio.sleep(page.seconds)
        body = page.body.encode() if isinstance(page.body, str) else page.body
        headers = {"content-type": page.type, **self.headers, **page.headers}
        if (
            len(body) > 1000
            and "gzip" in asked.get("accept-encoding", "")
            and "plain" not in headers
        ):
            body, headers["content-encoding"] = gzip.compress(body), "gzip"
        headers.pop("plain", None)
        sent = [(n.encode(), v.encode("latin1")) for n, v in headers.items() if v]
        await send({"type": "http.response.start", "status": page.status, "headers": sent})
        await send({"type": "http.response.body", "body": body})


async def _body(receive: Any) -> str:
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    return body.decode()


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to pytest."""
        yield


@asynccontextmanager
async def serving(app: Any, **options: Any) -> AsyncIterator[str]:
    """Serve `app` in this process; its URL."""
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
        config = uvicorn.Config(
            app, log_level="critical", lifespan="off", server_header=False, **options
        )
        server = _Server(config)
        running = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:
            assert not running.done(), running
            await asyncio.sleep(0.01)
        scheme = "https" if "ssl_certfile" in options else "http"
        try:
            yield f"{scheme}://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            server.force_exit = True
            await running


async def asked(suite: Any, url: str, **others: Any) -> dict[str, Check]:
    """The checks of one suite, by their names."""
    name = suite.__name__.rpartition(".")[2]
    asker = Asker(name, lambda *_: None, others.pop("pictures", {}))
    await suite.run(Subject(url, **others), asker)
    return {check.name: check for check in asker.checks}


def statuses(checks: dict[str, Check], names: Iterable[str] | None = None) -> dict[str, str]:
    """Name and status, with the detail where it is not a pass: to be read when it fails."""
    return {
        name: check.status if check.status == "pass" else f"{check.status}: {check.detail}"
        for name, check in checks.items()
        if names is None or name in names
    }


CHROMIUM = Path("/usr/bin/chromium")
