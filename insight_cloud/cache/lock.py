"""A lock across processes: taken by one command, waited for without spinning, with a lease.

Whoever waits is woken when the store announces that the lock has changed; where the store
announces nothing, it looks again after pauses that grow. The holder renews its lease, so a
long computation keeps the lock and a dead process loses it.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from types import TracebackType
from typing import Self

from insight_cloud.cache.backend import Backend
from insight_cloud.cache.tasks import end

__all__ = ["Lock"]

_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 1.0


class Lock:
    """The lock `name` of `store`; `waiting` is where the cache finds it when `name` changes."""

    def __init__(
        self, store: Backend, name: str, waiting: dict[str, set[Lock]], *, lease_ms: int
    ) -> None:
        self._store = store
        self._name = name
        self._waiting = waiting
        self._lease_ms = lease_ms
        self._token = secrets.token_hex(8).encode()
        self._held = False
        self._pause = _FIRST_PAUSE
        self._renewal: asyncio.Task[None] | None = None
        self.changed = asyncio.Event()

    async def __aenter__(self) -> Self:
        # Before the first attempt: a release between that attempt and the wait must be heard.
        self._waiting.setdefault(self._name, set()).add(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        waiting = self._waiting[self._name]
        waiting.discard(self)
        if not waiting:
            del self._waiting[self._name]
        await self._stop_renewing()
        if self._held:
            self._held = False
            await self._store.remove(self._name, self._token)

    async def acquire(self) -> bool:
        """Try once."""
        self.changed.clear()
        self._held = await self._store.add(self._name, self._token, self._lease_ms)
        if self._held:
            self._renewal = asyncio.create_task(self._renew(), name="cache-lease")
        return self._held

    async def wait(self, limit_seconds: float) -> None:
        """Until the lock may have become free, at most `limit_seconds`."""
        pause = self._lease_ms / 1000
        if not self._store.coherent:
            pause, self._pause = self._pause, min(self._pause * 2, _LONGEST_PAUSE)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(pause, max(limit_seconds, 0))):
                await self.changed.wait()

    async def settle(self, name: str, value: bytes, ttl_ms: int) -> None:
        """Store what was computed and give up the lock; nothing is stored if the lock is lost."""
        await self._stop_renewing()
        self._held = False
        await self._store.settle(name, value, ttl_ms, lock=self._name, token=self._token)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._lease_ms / 3000)
            if not await self._store.renew(self._name, self._token, self._lease_ms):
                return

    async def _stop_renewing(self) -> None:
        renewal, self._renewal = self._renewal, None
        await end(renewal)
