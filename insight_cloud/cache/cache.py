"""The cache that people use: values by key, computed once, kept near, invalidated by tag."""

from __future__ import annotations

import functools
import inspect
import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from random import SystemRandom
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, get_type_hints, overload

from insight_cloud.cache import entry as entries
from insight_cloud.cache.backend import Backend
from insight_cloud.cache.flight import Flights
from insight_cloud.cache.guard import Guarded
from insight_cloud.cache.local import Copy, Local, Ticket
from insight_cloud.cache.lock import Lock
from insight_cloud.cache.memory import Memory
from insight_cloud.cache.names import Key, Names, kind_of
from insight_cloud.core.errors import Corrupt, Refused

__all__ = ["MISSING", "Cache", "Stats"]

_T = TypeVar("_T")
_P = ParamSpec("_P")
_log = logging.getLogger("insight_cloud.cache")

MISSING: Any = type("Missing", (), {"__repr__": lambda _: "MISSING", "__bool__": lambda _: False})()
"""What `get(key, MISSING)` returns for a miss, where None may be a cached value."""

_CHUNK = 500
_TAG_TTL_MS = 30 * 24 * 3600 * 1000
_SYSTEM_RANDOM = SystemRandom()


@dataclass(frozen=True, slots=True)
class Stats:
    """Counts since the cache was made, and what is held now."""

    local_hits: int
    """Answered from a copy in the process, without a command."""
    store_hits: int
    misses: int
    computations: int
    """How often the function given to `get_or_set` ran."""
    refreshes: int
    """Those of the computations that ran early, while nobody waited."""
    stale: int
    """Expired values served because their computation failed."""
    failures: int
    """Calls that the store did not answer; each was a miss or did nothing."""
    local_entries: int
    local_bytes: int
    circuit_open: bool

    @property
    def hit_ratio(self) -> float:
        """Hits of all look-ups, from 0 to 1; 0 before the first."""
        hits = self.local_hits + self.store_hits
        return hits / (hits + self.misses) if hits + self.misses else 0.0


@dataclass(slots=True)
class _Counts:
    local_hits: int = 0
    store_hits: int = 0
    misses: int = 0
    computations: int = 0
    refreshes: int = 0
    stale: int = 0


@dataclass(frozen=True, slots=True)
class _Found:
    value: Any
    expires: float
    refresh_at: float


@dataclass(frozen=True, slots=True)
class _Wish:
    """What `get_or_set` was asked for."""

    key: str
    make: Callable[[], Awaitable[Any]]
    ttl: timedelta
    stale: timedelta
    tags: tuple[str, ...]


class Cache:
    """Values by key in `backend`, with copies in the process that every change reaches.

    A value is data: what MessagePack or `msgspec` can carry (plain types, dataclasses,
    Structs, datetimes, UUIDs...). It comes back as `Any`, or as the type of a `Key`. What is
    returned may be shared with other callers: do not change it.

    `ttl` is how long a value is served; `stale`, how much longer one from `get_or_set` is kept
    for the case that computing it anew fails. `local_bytes` bounds the copies (0: none);
    `timeout` each call of the store; `lease` is how long the lock of a process that died holds
    up the others, `patience` how long anybody waits for another process at all. No method
    raises because the store is away. The first call opens the cache; close it at the end, or
    use `async with`.
    """

    def __init__(
        self,
        backend: Backend | None = None,
        *,
        namespace: str = "insight",
        ttl: timedelta = timedelta(minutes=5),
        stale: timedelta = timedelta(minutes=5),
        local_bytes: int = 32 * 2**20,
        timeout: timedelta = timedelta(seconds=0.2),
        lease: timedelta = timedelta(seconds=10),
        patience: timedelta = timedelta(seconds=30),
        clock: Callable[[], float] = time.time,
        random: Callable[[], float] = _SYSTEM_RANDOM.random,
    ) -> None:
        self._names = Names(namespace)
        self._store = Guarded(
            Memory() if backend is None else backend, timeout_seconds=timeout.total_seconds()
        )
        self._ttl = ttl
        self._stale = stale
        self._lease = lease
        self._patience = patience.total_seconds()
        self._clock = clock
        self._random = random
        self._local = Local(local_bytes)
        self._copies = self._local.copies
        self._flights = Flights()
        self._waiting: dict[str, set[Lock]] = {}
        self._counts = _Counts()
        self._opened = False

    @property
    def shared(self) -> bool:
        """Whether other processes use the same store, so that one forgets for all."""
        return self._store.shared

    async def open(self) -> None:
        """Begin to listen for changes; done by the first call that needs the store."""
        if not self._opened:
            self._opened = True
            await self._store.open(self._names.prefix, self._changed)

    async def close(self) -> None:
        """End connections and tasks; computations under way are cancelled."""
        await self._flights.close()
        await self._store.close()
        self._local.clear()
        self._opened = False

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        await self.close()

    # Single values

    @overload
    async def get(self, key: Key[_T], default: None = None) -> _T | None: ...
    @overload
    async def get(self, key: str, default: Any = None) -> Any: ...
    async def get(self, key: str, default: Any = None) -> Any:
        """The value of `key`, or `default` on a miss."""
        copy = self._copies.get(key)
        if copy is not None and copy.expires > self._clock():
            self._counts.local_hits += 1
            self._copies.move_to_end(key)
            return copy.value
        found = self._count(await self._fetch(key))
        return default if found is None else found.value

    async def set(
        self, key: str, value: Any, *, ttl: timedelta | None = None, tags: Sequence[str] = ()
    ) -> None:
        """Store `value` for `ttl`, to be invalidated by any of `tags`.

        Raises:
            Refused: the value is not data, or `ttl` is not positive.
        """
        await self.open()
        ttl_ms = _milliseconds(ttl or self._ttl)
        raw = self._pack(value, ttl_ms, await self._tag_versions(tags))
        try:
            await self._store.set(self._names.value(key), raw, ttl_ms)
        finally:
            self._local.drop(key)

    async def delete(self, *keys: str) -> None:
        """Forget `keys`, and whatever is being computed for them."""
        await self.open()
        for chunk in _chunks(keys):
            # Without its lock, a computation that is under way cannot be stored afterwards.
            values = [self._names.value(key) for key in chunk]
            locks = [self._names.lock(key) for key in chunk]
            try:
                await self._store.delete(values + locks)
            finally:
                for key in chunk:
                    self._local.drop(key)
                self._flights.overtake(*chunk)

    async def exists(self, key: str) -> bool:
        """Whether `get` would find something."""
        copy = self._copies.get(key)
        if copy is not None and copy.expires > self._clock():
            return True
        return await self._fetch(key) is not None

    async def increment(self, key: str, by: int = 1, *, ttl: timedelta | None = None) -> int:
        """Add to a counter and return it; a new one begins at 0 and lives for `ttl`.

        Returns 0 when the store is away.

        Raises:
            Conflict: `key` holds something that is not an integer.
        """
        await self.open()
        name = self._names.value(key)
        return await self._store.increment(name, by, _milliseconds(ttl or self._ttl))

    async def ttl(self, key: str) -> timedelta | None:
        """How long the value of `key` will still be served; None on a miss."""
        found = await self._fetch(key)
        if found is None:
            return None
        if found.expires != float("inf"):
            return timedelta(seconds=found.expires - self._clock())
        left = await self._store.remaining_ms(self._names.value(key))
        return None if left is None else timedelta(milliseconds=left)

    async def touch(self, key: str, ttl: timedelta | None = None) -> bool:
        """Let the value of `key` live for `ttl` from now on; False on a miss."""
        if await self._fetch(key) is None:
            return False
        lifetime = ttl or self._ttl
        head = entries.head(self._clock() + lifetime.total_seconds())
        try:
            name = self._names.value(key)
            return await self._store.touch(name, head, _milliseconds(lifetime))
        finally:
            self._local.drop(key)

    # Many values

    async def get_many(self, keys: Iterable[str]) -> dict[str, Any]:
        """Those of `keys` that are cached, with their values."""
        found: dict[str, Any] = {}
        missing: list[str] = []
        now = self._clock()
        for key in keys:
            copy = self._copies.get(key)
            if copy is None or copy.expires <= now:
                missing.append(key)
                continue
            self._counts.local_hits += 1
            found[key] = copy.value
        for chunk in _chunks(missing):
            found.update(await self._fetch_many(chunk))
        return found

    async def set_many(
        self,
        values: Mapping[str, Any],
        *,
        ttl: timedelta | None = None,
        tags: Sequence[str] = (),
    ) -> None:
        """Store several values; each by itself appears at once, all of them do not."""
        await self.open()
        ttl_ms = _milliseconds(ttl or self._ttl)
        versions = await self._tag_versions(tags)
        for chunk in _chunks(list(values)):
            packed = {
                self._names.value(key): self._pack(values[key], ttl_ms, versions) for key in chunk
            }
            try:
                await self._store.set_many(packed, ttl_ms)
            finally:
                for key in chunk:
                    self._local.drop(key)

    async def keys(self, pattern: str = "*") -> AsyncIterator[str]:
        """The keys in the store that match a glob; some may expire before you look."""
        await self.open()
        seen: set[str] = set()
        async for name in self._store.scan(self._names.values(pattern)):
            key = self._names.key(name)
            if key is not None and key not in seen:
                seen.add(key)
                yield key

    async def clear(self, namespace: str | None = None) -> int:
        """Forget everything, or all keys `namespace:...`; how many there were."""
        pattern = "*" if namespace is None else f"{_literal(namespace)}:*"
        keys = [key async for key in self.keys(pattern)]
        await self.delete(*keys)
        return len(keys)

    async def invalidate(self, *tags: str) -> None:
        """Forget every value that has one of `tags`, and those that are being computed."""
        await self.open()
        values = {self._names.tag(tag): _version() for tag in tags}
        try:
            await self._store.set_many(values, _TAG_TTL_MS)
        finally:
            for tag in tags:
                self._drop_tag(tag)

    # Computed values

    async def get_or_set(
        self,
        key: str,
        make: Callable[[], Awaitable[_T]],
        ttl: timedelta | None = None,
        tags: Sequence[str] = (),
        *,
        stale: timedelta | None = None,
    ) -> _T:
        """The value of `key`, computed by `make` if there is none.

        Of all who ask at once, in all processes, one computes; a caller that is cancelled
        disturbs nobody. Shortly before the value expires one caller computes it anew in the
        background. When `make` fails, the previous value is served for `stale` longer; if there
        is none, the error goes to all who wait, and is not cached. Whoever asks after `delete`
        or `invalidate` is not given what somebody began to compute before.
        """
        copy = self._copies.get(key)
        if copy is not None and copy.refresh_at > self._clock():
            self._counts.local_hits += 1
            self._copies.move_to_end(key)
            return copy.value  # type: ignore[no-any-return]  # one key, one type
        keep = self._stale if stale is None else stale
        wish = _Wish(key, make, ttl or self._ttl, keep, tuple(tags))
        if copy is not None and copy.expires > self._clock():
            self._counts.local_hits += 1
            copy.refresh_at = copy.expires  # one attempt is enough
            self._refresh_early(wish, copy.expires)
            return copy.value  # type: ignore[no-any-return]  # one key, one type
        work = functools.partial(self._look_or_make, wish)
        return await self._flights.join(key, work, wish.tags)

    def cached(
        self,
        key: str,
        *,
        ttl: timedelta | None = None,
        tags: Sequence[str] = (),
        stale: timedelta | None = None,
    ) -> Callable[[Callable[_P, Awaitable[_T]]], Callable[_P, Awaitable[_T]]]:
        """Decorate a coroutine function: its result is cached under `key`.

        `key` and `tags` are format strings over the function's parameters, as in
        `@cache.cached("project:{project_id}", tags=["project:{project_id}"])`. The type that is
        read back is the function's return annotation.
        """

        def decorate(function: Callable[_P, Awaitable[_T]]) -> Callable[_P, Awaitable[_T]]:
            signature = inspect.signature(function)

            @functools.wraps(function)
            async def wrapper(*args: _P.args, **kwargs: _P.kwargs) -> _T:
                bound = signature.bind(*args, **kwargs)
                bound.apply_defaults()
                return await self.get_or_set(
                    Key(key.format(**bound.arguments), _returned(function)),
                    functools.partial(function, *args, **kwargs),
                    ttl,
                    [tag.format(**bound.arguments) for tag in tags],
                    stale=stale,
                )

            return wrapper

        return decorate

    def stats(self) -> Stats:
        """The counts of this process."""
        counts = self._counts
        return Stats(
            local_hits=counts.local_hits,
            store_hits=counts.store_hits,
            misses=counts.misses,
            computations=counts.computations,
            refreshes=counts.refreshes,
            stale=counts.stale,
            failures=self._store.failures,
            local_entries=len(self._copies),
            local_bytes=self._local.held_bytes,
            circuit_open=self._store.circuit_open,
        )

    async def ping(self) -> None:
        """Ask the store itself, past the circuit breaker.

        Raises:
            Unavailable: it does not answer.
        """
        await self._store.ping()

    # How a value is found

    async def _fetch(self, key: str, *, expired: bool = False) -> _Found | None:
        """What the store has, if it may be served (or, with `expired`, was once)."""
        await self.open()
        ticket = self._local.begin(key)
        try:
            raw = await self._store.get(self._names.value(key))
            return await self._read(key, raw, ticket, expired=expired)
        finally:
            self._local.end(key, ticket)

    async def _fetch_many(self, keys: Sequence[str]) -> dict[str, Any]:
        await self.open()
        tickets = {key: self._local.begin(key) for key in keys}
        values: dict[str, Any] = {}
        try:
            raws = await self._store.get_many([self._names.value(key) for key in tickets])
            for (key, ticket), raw in zip(tickets.items(), raws, strict=True):
                found = self._count(await self._read(key, raw, ticket, expired=False))
                if found is not None:
                    values[key] = found.value
        finally:
            for key, ticket in tickets.items():
                self._local.end(key, ticket)
        return values

    async def _read(
        self, key: str, raw: bytes | None, ticket: Ticket, *, expired: bool
    ) -> _Found | None:
        if raw is None:
            return None
        try:
            entry = entries.unpack(raw, kind_of(key))
        except Corrupt as error:
            _log.warning("cache.corrupt %s: %s", key, error)
            return None
        fresh = entry.expires > self._clock()
        if not (fresh or expired) or not await self._tags_hold(entry.tags, ticket):
            return None
        # 1 - random() is in (0, 1]: the logarithm exists
        refresh = entries.refresh_at(entry.expires, entry.cost, 1 - self._random())
        if fresh and self._store.coherent and entry.expires != float("inf"):
            copy = Copy(entry.value, entry.expires, refresh, tuple(entry.tags))
            self._local.keep(key, ticket, copy)
        return _Found(entry.value, entry.expires, refresh)

    async def _tags_hold(self, tags: Mapping[str, str], ticket: Ticket) -> bool:
        """Whether no tag was invalidated since the value was computed."""
        if not tags:
            return True
        known = self._local.versions(tags) if self._store.coherent else {}
        unknown = [tag for tag in tags if tag not in known]
        if unknown:
            raws = await self._store.get_many([self._names.tag(tag) for tag in unknown])
            fetched = {t: r.decode() for t, r in zip(unknown, raws, strict=True) if r is not None}
            self._local.keep_versions(ticket, fetched)
            known |= fetched
        return all(known.get(tag) == version for tag, version in tags.items())

    def _count(self, found: _Found | None) -> _Found | None:
        if found is None:
            self._counts.misses += 1
        else:
            self._counts.store_hits += 1
        return found

    # How a value is made

    async def _look_or_make(self, wish: _Wish) -> Any:
        found = await self._fetch(wish.key, expired=True)
        now = self._clock()
        if found is not None and found.expires > now:
            self._counts.store_hits += 1
            if found.refresh_at <= now:
                self._refresh_early(wish, found.expires)
            return found.value
        self._counts.misses += 1
        return await self._make_once(wish, found)

    async def _make_once(self, wish: _Wish, stale: _Found | None) -> Any:
        """Compute under the lock, or wait for whoever holds it."""
        async with self._lock(wish.key) as lock:
            limit = time.monotonic() + self._patience
            while not await lock.acquire() and time.monotonic() < limit:
                await lock.wait(limit - time.monotonic())
                found = await self._fetch(wish.key)
                if found is not None:
                    return found.value
            found = await self._fetch(wish.key)  # made between our look and our lock?
            if found is not None:
                return found.value
            return await self._make(wish, lock, stale)

    def _refresh_early(self, wish: _Wish, known_expires: float) -> None:
        """Compute anew in the background, unless somebody does, here or elsewhere."""
        task = ("refresh", wish.key)
        if not self._flights.under_way(task):
            self._flights.start(task, functools.partial(self._refresh, wish, known_expires))

    async def _refresh(self, wish: _Wish, known_expires: float) -> None:
        async with self._lock(wish.key) as lock:
            if self._store.circuit_open or not await lock.acquire():
                return
            found = await self._fetch(wish.key)
            if found is None or found.expires > known_expires:
                return
            self._counts.refreshes += 1
            try:
                await self._make(wish, lock, None)
            except Exception as error:  # noqa: BLE001 - the present value is still good
                _log.warning("cache.refresh %s: %s: %s", wish.key, type(error).__name__, error)

    async def _make(self, wish: _Wish, lock: Lock, previous: _Found | None) -> Any:
        # Before the computation: what is invalidated meanwhile must not be served.
        versions = await self._tag_versions(wish.tags)
        self._counts.computations += 1
        began = time.monotonic()
        try:
            value = await wish.make()
        except Exception as error:
            if previous is None:
                raise
            self._counts.stale += 1
            _log.warning("cache.stale %s: %s: %s", wish.key, type(error).__name__, error)
            return previous.value
        payload = entries.encode(value)
        raw = entries.pack(
            payload,
            expires=self._clock() + wish.ttl.total_seconds(),
            cost=time.monotonic() - began,
            tags=versions,
        )
        await lock.settle(self._names.value(wish.key), raw, _milliseconds(wish.ttl + wish.stale))
        self._local.drop(wish.key)
        return entries.decode(payload, kind_of(wish.key))

    def _pack(self, value: Any, ttl_ms: int, versions: Mapping[str, str]) -> bytes:
        digits = None if versions else entries.counter(value)
        if digits is not None:
            return digits
        expires = self._clock() + ttl_ms / 1000
        return entries.pack(entries.encode(value), expires=expires, tags=versions)

    async def _tag_versions(self, tags: Sequence[str]) -> dict[str, str]:
        """The present version of each tag; a tag without one gets one.

        A version is a random word and not a number: if the store loses it, no old value can
        come back to life.
        """
        if not tags:
            return {}
        known = self._local.versions(tags) if self._store.coherent else {}
        for tag in tags:
            if tag in known:
                continue
            fresh = _version()
            if await self._store.add(self._names.tag(tag), fresh, _TAG_TTL_MS):
                known[tag] = fresh.decode()
            else:
                raw = await self._store.get(self._names.tag(tag))
                known[tag] = (raw or fresh).decode()
        return known

    def _lock(self, key: str) -> Lock:
        lease_ms = _milliseconds(self._lease)
        return Lock(self._store, self._names.lock(key), self._waiting, lease_ms=lease_ms)

    def _changed(self, name: str | None) -> None:
        """The store says that `name` has changed, or that anything may have."""
        if name is None:
            self._local.clear()
            self._wake(self._waiting)
            return
        key = self._names.key(name)
        if key is not None:
            self._local.drop(key)
            return
        tag = self._names.tag_of(name)
        if tag is not None:
            self._drop_tag(tag)
        elif name in self._waiting:
            self._wake((name,))

    def _drop_tag(self, tag: str) -> None:
        self._local.drop_tag(tag)
        self._flights.overtake_tag(tag)

    def _wake(self, names: Iterable[str]) -> None:
        for name in names:
            for lock in self._waiting[name]:
                lock.changed.set()


def _chunks(keys: Sequence[str]) -> Iterable[Sequence[str]]:
    return (keys[start : start + _CHUNK] for start in range(0, len(keys), _CHUNK))


def _milliseconds(lifetime: timedelta) -> int:
    milliseconds = int(lifetime.total_seconds() * 1000)
    if milliseconds <= 0:
        raise Refused(f"a time to live must be positive, not {lifetime}")
    return milliseconds


def _version() -> bytes:
    return secrets.token_hex(8).encode()


def _literal(text: str) -> str:
    """`text` as a glob that matches nothing else."""
    return "".join("\\" + letter if letter in "*?[]\\" else letter for letter in text)


@functools.cache
def _returned(function: Callable[..., Any]) -> Any:
    return get_type_hints(function).get("return", Any)
