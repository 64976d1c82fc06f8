"""A caller's stream as an upload needs it: measured, and ended on request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator

from insight_cloud.core.errors import TooLarge

__all__ = ["Feed", "first_bytes"]


class Feed:
    """The bytes of `head` and then of `rest`, at most `limit_bytes`.

    `failure` is what the stream raised. `abandon` makes the next piece an error, also while it
    is being waited for: an uploader then cleans up behind itself.
    """

    def __init__(self, head: bytes, rest: AsyncIterator[bytes], limit_bytes: int) -> None:
        self.failure: BaseException | None = None
        self._head: bytes | None = head
        self._rest = rest
        self._left = limit_bytes
        self._limit = limit_bytes
        self._waiting: asyncio.Future[bytes] | None = None
        self._abandoned = False

    def __aiter__(self) -> Feed:
        return self

    async def __anext__(self) -> bytes:
        try:
            piece = await self._next()
        except StopAsyncIteration:
            raise
        except asyncio.CancelledError as error:
            self.failure = error
            raise RuntimeError("the upload was abandoned") from None
        except BaseException as error:
            self.failure = error
            raise
        self._left -= len(piece)
        if self._left < 0:
            self.failure = TooLarge(
                f"the stream has more than the {self._limit} bytes that were prepared for; "
                "say how many to expect"
            )
            raise self.failure
        return piece

    def abandon(self) -> None:
        """End the stream with an error, now."""
        self._abandoned = True
        if self._waiting is not None:
            self._waiting.cancel()

    async def _next(self) -> bytes:
        if self._abandoned:
            raise asyncio.CancelledError
        if self._head is not None:
            head, self._head = self._head, None
            return head
        self._waiting = asyncio.ensure_future(_anext(self._rest))
        try:
            return await self._waiting
        finally:
            self._waiting = None


async def first_bytes(
    stream: AsyncIterable[bytes], size: int
) -> tuple[bytes, AsyncIterator[bytes] | None]:
    """Take more than `size` bytes off a stream, with what follows; or all of it and None."""
    iterator = aiter(stream)
    head = bytearray()
    async for piece in iterator:
        head += piece
        if len(head) > size:
            return bytes(head), iterator
    return bytes(head), None


async def _anext(iterator: AsyncIterator[bytes]) -> bytes:
    return await anext(iterator)
