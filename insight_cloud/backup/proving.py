"""Reading back: is what a store returns what was written? Hashes only, so no key is needed."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

from insight_cloud.backup.manifest import Part
from insight_cloud.core.errors import Corrupt, Missing

__all__ = ["prove", "together"]

T = TypeVar("T")


async def prove(part: Part, stream: AsyncIterator[bytes], where: str) -> None:
    """Read a whole part and hold its size and SHA-256 against the manifest.

    Raises:
        Corrupt: it is not what was written; the message names the part and the store.
    """
    digest, size = hashlib.sha256(), 0
    try:
        async for piece in stream:
            size += len(piece)
            if size > part.stored_bytes:
                break
            await asyncio.to_thread(digest.update, piece)
    except Missing as error:
        raise Corrupt(f"{where}: part {part.name!r} is missing") from error
    if size != part.stored_bytes:
        found = f"{size} bytes instead of {part.stored_bytes}"
        raise Corrupt(f"{where}: part {part.name!r} is damaged: {found}")
    if digest.hexdigest() != part.sha256:
        raise Corrupt(f"{where}: part {part.name!r} is damaged: its SHA-256 differs")


async def together(*work: Coroutine[Any, Any, T]) -> list[T]:
    """Do all at once; at the first failure end the others, wait for them, and raise it."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
