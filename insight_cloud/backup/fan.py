"""One stream into several stores at once: all at the pace of the slowest, and one may fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence

from insight_cloud.core.errors import InsightError
from insight_cloud.core.storage import Attributes, Store

__all__ = ["send"]

_WAITING_PIECES = 2


class _Branch:
    """One store's copy of the stream."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.failure: InsightError | None = None
        self.ended = False
        self._queue: asyncio.Queue[bytes | BaseException | None] = asyncio.Queue(_WAITING_PIECES)

    async def run(self, path: str, attributes: Attributes, expected_bytes: int | None) -> None:
        try:
            await self.store.put(
                path, self._pieces(), attributes=attributes, expected_bytes=expected_bytes
            )
        except _SourceFailed:
            pass  # the source's own error is told by whoever reads it
        except InsightError as error:
            self.failure = error
        finally:
            self.ended = True
            while not self._queue.empty():  # whoever waits to put something in goes on
                self._queue.get_nowait()

    async def give(self, piece: bytes | BaseException | None) -> None:
        if not self.ended:
            await self._queue.put(piece)

    async def _pieces(self) -> AsyncIterator[bytes]:
        while (piece := await self._queue.get()) is not None:
            if isinstance(piece, BaseException):
                raise _SourceFailed from piece
            yield piece


class _SourceFailed(Exception):  # noqa: N818 - says what happened to the source, to `_Branch.run`
    """The stream ended badly: no store may keep what it has of it."""


async def send(
    pieces: AsyncIterator[bytes],
    stores: Sequence[Store],
    path: str,
    *,
    attributes: Mapping[Store, Attributes],
    expected_bytes: int | None = None,
) -> dict[Store, InsightError]:
    """Write `pieces` to `path` in every store; return what failed, by store.

    A store that fails is left behind, the others go on. When the stream itself raises, or the
    caller is cancelled, no store keeps anything, and the error goes on to the caller.
    """
    branches = [_Branch(store) for store in stores]
    running = [
        asyncio.create_task(branch.run(path, attributes[branch.store], expected_bytes))
        for branch in branches
    ]
    try:
        await _distribute(pieces, branches)
        await asyncio.gather(*running)
    except asyncio.CancelledError:
        for task in running:
            task.cancel()
        raise
    finally:
        await asyncio.gather(*running, return_exceptions=True)
    return {branch.store: branch.failure for branch in branches if branch.failure is not None}


async def _distribute(pieces: AsyncIterator[bytes], branches: Sequence[_Branch]) -> None:
    try:
        async for piece in pieces:
            for branch in branches:
                await branch.give(piece)
            if all(branch.ended for branch in branches):
                return
    except Exception as error:
        for branch in branches:
            await branch.give(error)
        raise
    for branch in branches:
        await branch.give(None)
