"""A store that fails on request, in front of one that works."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from typing import Literal, TypeAlias

from insight_cloud.core.errors import Refused, Unavailable
from insight_cloud.core.storage import PLAIN, Attributes, Leftover, Object, Store

__all__ = ["FAULTS", "Fault", "Faulty"]

Fault: TypeAlias = Literal[
    "unreachable",
    "refusing",
    "full",
    "slow",
    "truncates",
    "flips when written",
    "flips when read",
    "loses",
    "shortens when read",
    "list fails",
    "other manifest",
    "create refused",
]
FAULTS: tuple[Fault, ...] = (
    "unreachable",
    "refusing",
    "full",
    "truncates",
    "flips when written",
    "flips when read",
    "loses",
    "shortens when read",
    "list fails",
    "other manifest",
    "create refused",
)
"""All of them that make a backup impossible."""


class Faulty(Store):
    """`fault` happens to every object whose path `hits`."""

    def __init__(
        self, inner: Store, fault: Fault | None, hits: Callable[[str], bool] = lambda _: True
    ) -> None:
        self.inner = inner
        self.url = f"faulty+{inner.url}"
        self.fault = fault
        self._hits = hits

    def _is(self, fault: Fault, path: str) -> bool:
        return self.fault == fault and self._hits(path)

    async def put(
        self,
        path: str,
        data: bytes | AsyncIterable[bytes],
        *,
        attributes: Attributes = PLAIN,
        expected_bytes: int | None = None,
    ) -> str:
        if self._is("unreachable", path):
            raise Unavailable(f"{self.url}: cannot be reached; try again later")
        if self._is("refusing", path):
            raise Refused(f"{self.url}: the credentials are not accepted (403)")
        stream = self._written(path, _stream(data))
        return await self.inner.put(
            path, stream, attributes=attributes, expected_bytes=expected_bytes
        )

    async def _written(self, path: str, data: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        number = 0
        async for piece in data:
            number += 1
            if self._is("full", path):
                yield piece[: len(piece) // 2]
                raise Unavailable(f"{self.url}: no space left; make room and try again")
            if self._is("slow", path):
                await asyncio.sleep(0.02)
            if self._is("truncates", path):
                yield piece[:-1]
                return
            if self._is("flips when written", path) and number == 1:
                yield _flipped(piece)
                continue
            yield piece

    async def create(self, path: str, data: bytes, *, attributes: Attributes = PLAIN) -> str:
        if self.fault == "create refused":
            raise Refused(f"{self.url}: the credentials are not accepted (403)")
        if self.fault == "other manifest":
            data = data.replace(b'"rows":', b'"rows":1', 1)
        return await self.inner.create(path, data, attributes=attributes)

    async def replace(
        self, path: str, data: bytes, etag: str, *, attributes: Attributes = PLAIN
    ) -> str:
        return await self.inner.replace(path, data, etag, attributes=attributes)

    async def head(self, path: str) -> Object:
        return await self.inner.head(path)

    async def read(self, path: str, *, limit_bytes: int = 16 * 1024 * 1024) -> bytes:
        return await self.inner.read(path, limit_bytes=limit_bytes)

    async def stream(
        self, path: str, *, start: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        if self._is("loses", path):
            await self.inner.delete([path])
        first = True
        async for piece in self.inner.stream(path, start=start, length=length):
            if self._is("flips when read", path) and first:
                yield _flipped(piece)
            elif self._is("shortens when read", path):
                yield piece[:-1]
            else:
                yield piece
            first = False

    async def list(self, prefix: str = "") -> AsyncIterator[Object]:
        if self.fault == "list fails":
            raise Unavailable(f"{self.url}: answered 503; try again later")
        async for found in self.inner.list(prefix):
            yield found

    async def delete(self, paths: Iterable[str]) -> None:
        await self.inner.delete(paths)

    async def leftovers(self) -> tuple[Leftover, ...]:
        return await self.inner.leftovers()

    async def abort(self, leftover: Leftover) -> None:
        await self.inner.abort(leftover)

    async def close(self) -> None:
        await self.inner.close()


async def _stream(data: bytes | AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    if isinstance(data, bytes):
        yield data
        return
    async for piece in data:
        yield piece


def _flipped(piece: bytes) -> bytes:
    changed = bytearray(piece)
    changed[len(changed) // 2] ^= 4
    return bytes(changed)
