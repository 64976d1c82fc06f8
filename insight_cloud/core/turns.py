"""Turns: heavy work goes on a few at a time, and the rest waits in line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from insight_cloud.core.errors import Unavailable

__all__ = ["Turns"]


class Turns:
    """Lets `at_once` through, in the order in which they came; at most `waiting` wait."""

    def __init__(self, what: str, *, at_once: int, waiting: int) -> None:
        self._what = what
        self._slots = asyncio.Semaphore(at_once)
        self._most = waiting
        self._waiting = 0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn and hold it.

        Raises:
            Unavailable: too many wait already; nothing was begun.
        """
        if self._slots.locked() and self._waiting >= self._most:
            raise Unavailable(
                f"{self._waiting} {self._what} wait already: try again in a little while",
                retry_after=5,
            )
        self._waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._slots.release()
