"""Upstash's REST protocol in front of a real Redis: commands as JSON, answers as JSON.

As with the real one: a bearer token, `POST /` for one command, `POST /pipeline` for several,
an error as `{"error": ...}` with status 400, and text only: bytes that are no UTF-8 are lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from redis import asyncio as client
from redis.exceptions import ResponseError

__all__ = ["TOKEN", "UpstashFront", "upstash_front"]

TOKEN = "token-of-the-test"


class UpstashFront:
    """The front's address, and what it was asked."""

    def __init__(self, redis_url: str) -> None:
        self.url = ""
        self.requests = 0
        self.delay_seconds = 0.0
        self.broken = False
        self._redis = client.Redis.from_url(redis_url, protocol=2)
        self._redis.response_callbacks.clear()  # answers as the server gives them

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError, EOFError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
                body = await reader.readexactly(int(headers["content-length"]))
                path = head[0].split()[1]
                status, answer = await self._answer(path, headers.get("authorization"), body)
                encoded = json.dumps(answer).encode()
                if self.broken:
                    encoded = b"<html>"
                length = len(encoded)
                writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n\r\n".encode())
                writer.write(encoded)
                await writer.drain()

    async def close(self) -> None:
        await self._redis.aclose()

    async def _answer(self, path: str, token: str | None, body: bytes) -> tuple[int, Any]:
        self.requests += 1
        await asyncio.sleep(self.delay_seconds)
        if token != f"bearer {TOKEN}":
            return 401, {"error": "Unauthorized"}
        if path == "/pipeline":
            return 200, [(await self._run(command))[1] for command in json.loads(body)]
        return await self._run(json.loads(body))

    async def _run(self, command: list[Any]) -> tuple[int, dict[str, Any]]:
        try:
            raw = await self._redis.execute_command(*command)  # type: ignore[no-untyped-call]  # theirs
            return 200, {"result": _text(raw)}
        except ResponseError as error:
            return 400, {"error": f"ERR {error}"}


def _text(answer: Any) -> Any:
    if isinstance(answer, bytes):
        return answer.decode("utf-8", "replace")
    return [_text(part) for part in answer] if isinstance(answer, list) else answer


@contextlib.asynccontextmanager
async def upstash_front(redis_url: str) -> AsyncIterator[UpstashFront]:
    front = UpstashFront(redis_url)
    connections: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        await front.serve(reader, writer)
        connections.discard(task)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    front.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield front
    finally:
        server.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        await front.close()
