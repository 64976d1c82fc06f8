"""A page with thirty images as somebody may build it, under a strict policy."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import uvicorn

from insight_cloud.core.asgi import Receive, Scope, Send
from insight_cloud.images import Described, Images, Mounts, Workers, digest, ours, picture
from tests.images.gallery import jpeg, photo

__all__ = ["COUNT", "SIZES", "WIDTH", "serving"]

COUNT = 30
WIDTH, HEIGHT = 1600, 1000
SIZES = "(min-width: 60rem) 25vw, (min-width: 40rem) 50vw, 100vw"
_STYLE = """
body { margin: 0; font-family: sans-serif }
main { display: grid; grid-template-columns: 1fr }
img { display: block; max-width: 100%; width: 100%; height: auto }
@media (min-width: 40rem) { main { grid-template-columns: 1fr 1fr } }
@media (min-width: 60rem) { main { grid-template-columns: repeat(4, 1fr) } }
"""
_ROBOTS = b"User-agent: *\nAllow: /\n"
_POLICY = "default-src 'none'; img-src 'self' data:; style-src 'nonce-n0nce'; base-uri 'none'"


class Site:
    """The page at / and the endpoint at /_image, over photographs in `folder`."""

    def __init__(self, folder: Path, workers: Workers) -> None:
        self._folder = folder
        self.images = Images(workers, Mounts({"/photos/": folder}))
        self._placeholder = ""

    async def prepare(self, workers: Workers) -> None:
        """Draw the photographs: six of them under thirty names, so that it does not take long."""
        drawn = [jpeg(photo(WIDTH, HEIGHT).rot180(), Q=70 + n) for n in range(6)]
        for number in range(COUNT):
            (self._folder / f"{number}.jpg").write_bytes(drawn[number % 6])
        self._placeholder = (await workers.make(drawn[0], [], placeholder=True)).placeholder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/_image":
            await self.images(scope, receive, send)
            return
        page = scope["path"] == "/"
        body = gzip.compress(self._page()) if page else _ROBOTS
        headers = [
            (b"content-type", b"text/html; charset=utf-8" if page else b"text/plain"),
            (b"content-security-policy", _POLICY.encode()),
            (b"content-length", str(len(body)).encode()),
            *([(b"content-encoding", b"gzip")] if page else []),
        ]
        status = 200 if page or scope["path"] == "/robots.txt" else 404
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _page(self) -> bytes:
        address = ours(version=lambda url: digest((self._folder / url[8:]).read_bytes()))
        shown = [
            picture(
                Described(f"/photos/{number}.jpg", WIDTH, HEIGHT, placeholder=self._placeholder),
                address,
                alt=f"Photograph {number}",
                sizes=SIZES,
                priority=number == 0,
                nonce="n0nce",
            )
            for number in range(COUNT)
        ]
        return (
            '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Thirty</title>'
            '<link rel="icon" href="data:,">'
            '<meta name="viewport" content="width=device-width">'
            '<meta name="description" content="Thirty photographs.">'
            f'<style nonce="n0nce">{_STYLE}</style></head>'
            f"<body><main>{''.join(shown)}</main></body></html>"
        ).encode()


@contextlib.asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[str]:
    """Serve the page on this machine."""
    workers = Workers(seconds=60)
    site = Site(folder, workers)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        async with site.images:
            await site.prepare(workers)
            config = uvicorn.Config(site, log_level="warning", lifespan="off")
            server = uvicorn.Server(config)
            server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]  # the tests' own stay
            task = asyncio.create_task(server.serve(sockets=[listener]))
            try:
                yield f"http://127.0.0.1:{listener.getsockname()[1]}"
            finally:
                server.should_exit = True
                await task
