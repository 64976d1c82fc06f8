"""A proxy in front of a server that answers wrongly, breaks off, hangs, or cuts bodies short."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Literal
from urllib.parse import urlsplit

__all__ = ["Faults", "Proxy", "faulty_proxy"]

Faults = Literal["503", "reset", "hang", "cut"]


class Proxy:
    """Forwards one request a connection; every n-th, or only the n-th, meets a fault instead."""

    def __init__(
        self, upstream: str, every: Mapping[int, Faults], only: Mapping[int, Faults]
    ) -> None:
        parts = urlsplit(upstream)
        assert parts.hostname is not None
        assert parts.port is not None
        self._upstream = (parts.hostname, parts.port)
        self._every = every
        self._only = only
        self.url = ""
        self.requests = 0
        self.faults = 0
        self.seen = b""
        self._serving: set[asyncio.Task[None]] = set()

    def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._connected(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def end(self) -> None:
        """End every connection, whatever it waits for."""
        serving = [*self._serving]
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.seen += head
        body = await reader.readexactly(_length(head))
        self.requests += 1
        fault = self._only.get(self.requests) or next(
            (fault for n, fault in self._every.items() if self.requests % n == 0), None
        )
        if fault is not None:
            self.faults += 1
        if fault == "503":
            writer.write(b"HTTP/1.1 503 Slow\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            await writer.drain()
        elif fault == "reset":
            writer.transport.abort()
        elif fault == "hang":
            await reader.read()  # until the client has had enough
        else:
            answer = await self._ask(head, body)
            cut = fault == "cut"
            writer.write(
                answer[: max(len(answer) // 2, answer.find(b"\r\n\r\n") + 3)] if cut else answer
            )
            await writer.drain()

    async def _ask(self, head: bytes, body: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(*self._upstream)
        lines = [
            line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection:")
        ]
        lines.insert(1, b"Connection: close")
        writer.write(b"\r\n".join(lines) + body)
        try:
            return await reader.read()
        finally:
            writer.close()


@asynccontextmanager
async def faulty_proxy(
    upstream: str,
    every: Mapping[int, Faults] | None = None,
    only: Mapping[int, Faults] | None = None,
) -> AsyncIterator[Proxy]:
    """A proxy to `upstream`; `every={4: "reset"}` breaks each fourth request, `only` one."""
    proxy = Proxy(upstream, every or {}, only or {})
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0, limit=2**20)
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()
        await proxy.end()


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0
