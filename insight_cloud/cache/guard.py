"""The store as a request may use it: it answers in time or is passed over, and never raises.

The first failure opens the circuit: from then on nothing waits for the store until a probe in
the background has been answered. What should have been deleted meanwhile is deleted before
the circuit closes, so that no outage brings an old value back.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import ParamSpec, TypeVar

from typing_extensions import override

from insight_cloud.cache.backend import Backend, OnChange
from insight_cloud.cache.tasks import end
from insight_cloud.core.errors import InsightError, Refused, Unavailable

__all__ = ["Guarded"]

_P = ParamSpec("_P")
_T = TypeVar("_T")
_log = logging.getLogger("insight_cloud.cache")

_OWED = 10_000
_CHUNK = 500
_STALL = 1.5


class Guarded(Backend):
    """`backend` with a time limit on each call and a circuit breaker.

    Where the store gives no answer: `get` finds nothing, `add` and `settle` succeed (whoever
    asks computes for itself), `increment` returns 0, the rest does nothing. `failures` counts
    these.
    """

    def __init__(
        self, backend: Backend, *, timeout_seconds: float, probe_seconds: float = 0.25
    ) -> None:
        self._backend = backend
        self._timeout = timeout_seconds
        self._probe_every = probe_seconds
        self._prefix = ""
        self._owed: set[str] = set()
        self._owes_all = False
        self._probing: asyncio.Task[None] | None = None
        self._refusals: set[str] = set()
        self.failures = 0

    @property
    def circuit_open(self) -> bool:
        """Whether the store is being passed over at this moment."""
        return self._probing is not None

    @property
    @override
    def coherent(self) -> bool:
        return self._probing is None and self._backend.coherent

    @property
    @override
    def shared(self) -> bool:
        return self._backend.shared

    @override
    async def open(self, prefix: str, on_change: OnChange) -> None:
        self._prefix = prefix
        await self._backend.open(prefix, on_change)

    @override
    async def close(self) -> None:
        probing, self._probing = self._probing, None
        await end(probing)
        await self._backend.close()

    @override
    async def ping(self) -> None:
        """The unguarded question: it raises when the store is away."""
        async with self._limit("ping"):
            await self._backend.ping()

    @override
    async def get(self, name: str) -> bytes | None:
        return await self._ask(None, self._backend.get, name)

    @override
    async def get_many(self, names: Sequence[str]) -> list[bytes | None]:
        nothing: list[bytes | None] = [None] * len(names)
        return await self._ask(nothing, self._backend.get_many, names)

    @override
    async def set(self, name: str, value: bytes, ttl_ms: int) -> None:
        if not await self._did(self._backend.set, name, value, ttl_ms):
            await self.delete((name,))

    @override
    async def set_many(self, values: Mapping[str, bytes], ttl_ms: int) -> None:
        if not await self._did(self._backend.set_many, values, ttl_ms):
            await self.delete(tuple(values))

    @override
    async def add(self, name: str, value: bytes, ttl_ms: int) -> bool:
        return await self._ask(True, self._backend.add, name, value, ttl_ms)

    @override
    async def renew(self, name: str, value: bytes, ttl_ms: int) -> bool:
        return await self._ask(True, self._backend.renew, name, value, ttl_ms)

    @override
    async def remove(self, name: str, value: bytes) -> bool:
        return await self._ask(True, self._backend.remove, name, value)

    @override
    async def settle(
        self, name: str, value: bytes, ttl_ms: int, *, lock: str, token: bytes
    ) -> bool:
        return await self._ask(
            True, self._backend.settle, name, value, ttl_ms, lock=lock, token=token
        )

    @override
    async def delete(self, names: Sequence[str]) -> None:
        if not await self._did(self._backend.delete, names):
            self._owe(names)

    @override
    async def increment(self, name: str, by: int, ttl_ms: int) -> int:
        return await self._ask(0, self._backend.increment, name, by, ttl_ms)

    @override
    async def touch(self, name: str, head: bytes, ttl_ms: int) -> bool:
        return await self._ask(False, self._backend.touch, name, head, ttl_ms)

    @override
    async def remaining_ms(self, name: str) -> int | None:
        return await self._ask(None, self._backend.remaining_ms, name)

    @override
    async def scan(self, pattern: str) -> AsyncIterator[str]:
        names = self._backend.scan(pattern)
        while (name := await self._ask(None, anext, names, None)) is not None:
            yield name

    async def _did(
        self, call: Callable[_P, Awaitable[None]], *args: _P.args, **kwargs: _P.kwargs
    ) -> bool:
        async def done() -> bool:
            await call(*args, **kwargs)
            return True

        return await self._ask(False, done)

    async def _ask(
        self,
        otherwise: _T,
        call: Callable[_P, Awaitable[_T]],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> _T:
        if self._probing is not None:
            self.failures += 1
            return otherwise
        began = time.monotonic()
        try:
            async with self._limit(getattr(call, "__name__", "call")):
                return await call(*args, **kwargs)
        except Unavailable as error:
            self.failures += 1
            if time.monotonic() - began > self._timeout * _STALL:
                # Our own loop stood still: the answer may be lying unread, and is no evidence.
                self._refused(f"the event loop was too busy to hear the answer: {error}")
            else:
                self._break(error)
        except Refused as error:
            self.failures += 1
            self._refused(str(error))
        return otherwise

    @contextlib.asynccontextmanager
    async def _limit(self, what: str) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._timeout):
                yield
        except TimeoutError as error:
            message = f"no answer to {what} within {self._timeout:g} s"
            raise Unavailable(message) from error

    def _refused(self, reason: str) -> None:
        """Log a refusal once for each kind, until the store has been away and come back."""
        kind = reason.partition(":")[0]
        if kind not in self._refusals:
            self._refusals.add(kind)
            _log.warning("cache.refused %s", reason)

    def _break(self, error: InsightError) -> None:
        if self._probing is not None:
            return
        _log.warning("cache.unavailable %s; every key is a miss until it answers", error)
        self._probing = asyncio.create_task(self._probe(), name="cache-probe")

    async def _probe(self) -> None:
        began = time.monotonic()
        while not await self._answers():  # noqa: ASYNC110 - another machine sets no event of ours
            await asyncio.sleep(self._probe_every)
        self._probing = None
        self._refusals.clear()
        _log.warning("cache.available again after %.1f s", time.monotonic() - began)

    async def _answers(self) -> bool:
        try:
            await self.ping()
            await self._pay()
        except (Unavailable, Refused):
            return False
        return True

    def _owe(self, names: Iterable[str]) -> None:
        """Remember what must be deleted before anybody reads again."""
        self._owed.update(names)
        if len(self._owed) > _OWED:
            self._owed.clear()
            self._owes_all = True
        if self._probing is None:
            # A store that refuses to delete would serve the old value: pass it over instead.
            self._break(Unavailable("an outdated value could not be deleted"))

    async def _pay(self) -> None:
        if self._owes_all:
            async for name in self._backend.scan(self._prefix + "*"):
                self._owed.add(name)
        while self._owed:
            chunk = tuple(self._owed)[:_CHUNK]
            async with self._limit("delete"):
                await self._backend.delete(chunk)
            self._owed.difference_update(chunk)
        self._owes_all = False
