"""Reading back: is what a store returns what was written? Hashes only, so no key is needed."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable

from insight_cloud.backup.manifest import Part
from insight_cloud.core.errors import Corrupt, Missing

__all__ = ["prove"]


async def prove(
    part: Part,
    stream: AsyncIterator[bytes],
    where: str,
    seen: Callable[[int], object] = lambda _: None,
) -> None:
    """Read a whole part and hold its size and SHA-256 against the manifest.

    `seen` is told of the bytes as they come.

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
            seen(len(piece))
    except Missing as error:
        raise Corrupt(f"{where}: part {part.name!r} is missing") from error
    if size != part.stored_bytes:
        found = f"{size} bytes instead of {part.stored_bytes}"
        raise Corrupt(f"{where}: part {part.name!r} is damaged: {found}")
    if digest.hexdigest() != part.sha256:
        raise Corrupt(f"{where}: part {part.name!r} is damaged: its SHA-256 differs")
