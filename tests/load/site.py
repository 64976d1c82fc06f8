"""A small site that keeps count of what it was asked, and can be slow, frozen, wrong or moved."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from urllib.parse import parse_qs

FREEZE_SECONDS, FREEZE_EVERY_SECONDS = 1.0, 5.0


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that came."""

    method: str
    path: str
    headers: dict[str, str]
    body: str
    at: float


@dataclass(slots=True)
class Site:
    """`asked` holds every request, `counts` how many by path."""

    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    elsewhere: str = ""
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    zero: float = field(default_factory=time.monotonic)

    @property
    def counts(self) -> Counter[str]:
        return Counter(request.path for request in self.asked)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                request = await self._read(reader)
                self.asked.append(request)
                self.begun.set()
                status, headers, body = await self._answer(request)
                lines = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}", *headers]
                writer.write("\r\n".join([*lines, "", ""]).encode() + body)
                await writer.drain()
        writer.close()

    @staticmethod
    async def _read(reader: asyncio.StreamReader) -> Asked:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().splitlines()
        headers = {
            name.lower(): text.strip() for name, _, text in (x.partition(":") for x in lines)
        }
        method, path, _ = first.split(" ")
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        return Asked(method, path, headers, body.decode(), time.monotonic())

    async def _answer(  # noqa: PLR0911 - a table of paths
        self, request: Asked
    ) -> tuple[int, list[str], bytes]:
        path = request.path.partition("?")[0]
        if path == "/slow":
            await asyncio.sleep(0.3)
        elif path == "/frozen":
            passed = (time.monotonic() - self.zero) % FREEZE_EVERY_SECONDS
            await asyncio.sleep(max(0.0, FREEZE_SECONDS - passed))
        elif path == "/never":
            await self.closing.wait()
        elif path == "/broken":
            return 500, [], b"broken"
        elif path == "/sign-in":
            name = parse_qs(request.body)["name"][0]
            return 303, [f"set-cookie: who={len(name)}; Path=/", "location: /me"], b""
        elif path == "/me":
            cookies = SimpleCookie(request.headers.get("cookie", ""))
            if "who" not in cookies:
                return 401, [], b""
            return 200, ["content-type: application/json"], b'{"id": 7, "tags": ["a", "b"]}'
        elif path == "/away":
            return 302, [f"location: {self.elsewhere}/"], b""
        elif path == "/round":
            return 302, ["location: /round"], b""
        return 200, ["content-type: text/plain", "x-kind: plain"], b"fine"


@contextlib.asynccontextmanager
async def site(context: ssl.SSLContext | None = None) -> AsyncIterator[Site]:
    """A site on a port of its own."""
    made = Site()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0, ssl=context, backlog=2048)
    scheme = "https" if context else "http"
    made.url = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        made.closing.set()
        server.close()
