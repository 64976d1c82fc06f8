"""Reads that are answered from a cache until somebody writes what they read.

The cache is an argument: anything that keeps bytes by key and forgets them by tag.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache, partial
from typing import Any, Protocol, TypeVar, cast
from uuid import UUID

import msgspec

from insight_cloud.core.errors import InsightError, Unavailable
from insight_cloud.database import tables
from insight_cloud.database.connection import Connection
from insight_cloud.database.pool import Isolation, Pool
from insight_cloud.database.recorder import OTHERS
from insight_cloud.database.sql import Query
from insight_cloud.database.statements import Parameters, Statements
from insight_cloud.database.tables import Tables

__all__ = ["Cache", "CacheStatistics", "CachedStatement", "QueryCache"]

T = TypeVar("T")
logger = logging.getLogger(__name__)

_UNCACHED = b""
"""Kept in place of rows that cannot be kept: whoever finds it asks the database."""

_PLAIN = (bool, int, float, str, bytes, Decimal, UUID, datetime, date, time, timedelta)
_NUMBERS = (int, float)
_STATEMENTS = 500


class Cache(Protocol):
    """What is needed of a cache. One that is away may raise, or compute as if it were empty."""

    async def get_or_set(
        self,
        key: str,
        make: Callable[[], Awaitable[bytes]],
        ttl: timedelta | None = None,
        tags: Sequence[str] = (),
    ) -> Any:
        """The bytes of `key`, made if there are none; what was made is kept for `ttl`.

        It is not kept when one of `tags` was invalidated after `make` had begun.
        """

    async def invalidate(self, *tags: str) -> None:
        """Forget everything that has one of `tags`, in every process."""


@dataclass(frozen=True, slots=True)
class CachedStatement:
    """How often the rows of one statement were in the cache."""

    name: str
    hits: int
    misses: int
    uncached: int
    """Calls whose rows, parameters or row type cannot be kept: the database answered."""


@dataclass(frozen=True, slots=True)
class CacheStatistics:
    """The counts of this process."""

    statements: tuple[CachedStatement, ...]
    """By statement, the most asked for first."""
    invalidations: int
    failures: int
    """Calls of the cache that failed; the database answered them."""

    @property
    def hits(self) -> int:
        """Calls that the cache answered."""
        return sum(statement.hits for statement in self.statements)

    @property
    def misses(self) -> int:
        """Calls that the database answered, and the cache kept."""
        return sum(statement.misses for statement in self.statements)

    @property
    def hit_ratio(self) -> float:
        """Hits of all calls that could be one, from 0 to 1; 0 before the first."""
        return self.hits / (self.hits + self.misses) if self.hits + self.misses else 0.0


@dataclass(slots=True)
class _Counts:
    hits: int = 0
    misses: int = 0
    uncached: int = 0


@dataclass(slots=True)
class _Shared:
    """What a query cache and those made from it by `tagged` have in common."""

    pool: Pool
    cache: Cache
    schema: str
    tables: bool
    max_bytes: int
    counts: dict[str, _Counts] = field(default_factory=dict)
    invalidations: int = 0
    failures: int = 0
    known: Tables | None = None
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)
    complained: set[str] = field(default_factory=set)

    def count(self, name: str) -> _Counts:
        if name not in self.counts and len(self.counts) >= _STATEMENTS:
            name = OTHERS
        return self.counts.setdefault(name, _Counts())


class QueryCache(Statements):
    """Asks like a pool; reads are kept for `ttl`, and until a write invalidates them.

    What invalidates is a tag. `tagged("project:7")` gives the same cache with tags: its reads
    carry them, its writes invalidate them, in every process. With `tables`, reads carry the
    tables that they mention as well, and writes by this object invalidate those that they
    mention, views and cascading foreign keys included. Writes that go past it, by the pool
    itself or by another program, are noticed when the time is over, or by `invalidate`.

    What is kept depends on the statement, its parameters and the row type alone. So it is not
    for statements whose answer depends on the user of the connection, or on the time.

    A write is invalidated after it is committed. Nothing is kept from inside a transaction:
    its reads go by its connection. Rows come back as they were, or are not kept: those that
    msgspec cannot restore exactly, and results of more than `max_bytes`. Say another `schema`
    when the data changed their meaning; a row type that changed is another key by itself.

    The cache is never needed: when it fails, the database answers.
    """

    def __init__(
        self,
        pool: Pool,
        cache: Cache,
        *,
        ttl: timedelta = timedelta(minutes=5),
        schema: str = "",
        tables: bool = False,
        max_bytes: int = 1024 * 1024,
    ) -> None:
        self._shared = _Shared(pool, cache, schema, tables, max_bytes)
        self._ttl = ttl
        self._tags: tuple[str, ...] = ()

    def tagged(self, *tags: str, ttl: timedelta | None = None) -> QueryCache:
        """The same cache, whose reads carry `tags` too and whose writes invalidate them."""
        twin = object.__new__(QueryCache)
        twin._shared = self._shared
        twin._ttl = ttl or self._ttl
        twin._tags = (*self._tags, *(tag for tag in tags if tag not in self._tags))
        return twin

    @asynccontextmanager
    async def transaction(
        self, *, isolation: Isolation = "read committed"
    ) -> AsyncIterator[Connection]:
        """A transaction of the pool, which invalidates what it wrote once it is committed."""
        await self._tables()  # before, because what is written must be invalidated
        async with self._shared.pool.transaction(isolation=isolation) as connection:
            self.invalidate_after(connection)
            yield connection

    def invalidate_after(self, connection: Connection) -> None:
        """Let the transaction of `connection`, begun elsewhere, invalidate what it writes."""
        connection.after_commit(partial(self._written, connection))

    async def invalidate(self, *tags: str) -> None:
        """Forget the reads that carry one of `tags`, and of this object's own.

        For writes that went past it. A table's tag is `table:` and its name.
        """
        wanted = (*self._tags, *tags)
        if not wanted:
            return
        self._shared.invalidations += 1
        try:
            await self._shared.cache.invalidate(*wanted)
        except Exception as error:  # noqa: BLE001 - a cache that is away must not fail a write
            self._failed(error)

    def statistics(self) -> CacheStatistics:
        """What this process has counted, over all tags."""
        shared = self._shared
        found = (
            CachedStatement(name, counts.hits, counts.misses, counts.uncached)
            for name, counts in shared.counts.items()
        )
        by_calls = sorted(found, key=lambda one: -(one.hits + one.misses + one.uncached))
        return CacheStatistics(tuple(by_calls), shared.invalidations, shared.failures)

    # -- reading -------------------------------------------------------------------------------

    async def _answer(
        self, query: Query, parameters: Parameters, row_type: type[T] | None
    ) -> tuple[list[T], int]:
        if row_type is None or not query.reads:
            return await self._write(query, parameters, row_type)
        rows = await self._read(query, parameters, row_type)
        return rows, len(rows)

    async def _read(self, query: Query, parameters: Parameters, row_type: type[T]) -> list[T]:
        tags = (*self._tags, *await self._table_tags(query.text))
        key = _key(self._shared.schema, tags, query, parameters, row_type)
        if key is None:
            return await self._uncached(query, parameters, row_type)
        load = _Load(self._shared, query, parameters, row_type)
        try:
            payload = await self._shared.cache.get_or_set(key, load, self._ttl, tags)
        except _QueryError as failed:
            raise failed.error from failed.error.__cause__
        except Exception as error:  # noqa: BLE001 - the cache is never needed
            self._failed(error)
            return await self._uncached(query, parameters, row_type)
        counts = self._shared.count(query.name)
        if load.rows is not None:
            if payload == _UNCACHED:
                counts.uncached += 1
            else:
                counts.misses += 1
            return load.rows
        rows = _decode(payload, row_type)
        if rows is None:
            return await self._uncached(query, parameters, row_type)
        counts.hits += 1
        return rows

    async def _uncached(self, query: Query, parameters: Parameters, row_type: type[T]) -> list[T]:
        self._shared.count(query.name).uncached += 1
        return await self._shared.pool.fetch_all(query, row_type, **parameters)

    async def _table_tags(self, text: str) -> list[str]:
        known = await self._tables()
        return [] if known is None else [f"table:{name}" for name in sorted(known.read_by(text))]

    async def _tables(self) -> Tables | None:
        """What the server knows, asked once; None when tables are not tags."""
        shared = self._shared
        if shared.tables and shared.known is None:
            async with shared.asking:
                if shared.known is None:  # nobody has asked while we waited
                    shared.known = await tables.read(shared.pool)
        return shared.known

    # -- writing -------------------------------------------------------------------------------

    async def _write(
        self, query: Query, parameters: Parameters, row_type: type[T] | None
    ) -> tuple[list[T], int]:
        await self._tables()  # before, because what is written must be invalidated
        try:
            rows, count = await self._send(query, parameters, row_type)
        except (Unavailable, asyncio.CancelledError):
            await self._changed((query.text,))  # it may have been done
            raise
        await self._changed((query.text,))
        return rows, count

    async def _send(
        self, query: Query, parameters: Parameters, row_type: type[T] | None
    ) -> tuple[list[T], int]:
        pool = self._shared.pool
        if row_type is None:
            return [], await pool.execute(query, **parameters)
        rows = await pool.fetch_all(query, row_type, **parameters)
        return rows, len(rows)

    async def _written(self, connection: Connection) -> None:
        await self._changed(sorted(connection.written))

    async def _changed(self, texts: Sequence[str]) -> None:
        tags: set[str] = set()
        try:
            known = await self._tables()
        except InsightError as error:  # only where `invalidate_after` was the first to ask
            self._failed(error)
            known = None
        if known is not None:
            tags.update(f"table:{name}" for text in texts for name in known.changed_by(text))
        await self.invalidate(*sorted(tags))

    def _failed(self, error: Exception) -> None:
        shared = self._shared
        shared.failures += 1
        kind = type(error).__name__
        if kind not in shared.complained:
            shared.complained.add(kind)
            reason = str(error) if isinstance(error, InsightError) else "no error of ours"
            logger.warning("database.query_cache: the cache failed: %s: %s", kind, reason)


class _QueryError(Exception):
    """The database failed, not the cache; `error` is what it said."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class _Load:
    """Asks the database for the cache; `rows` are those that were found, for whoever asked."""

    def __init__(
        self, shared: _Shared, query: Query, parameters: Parameters, row_type: type[Any]
    ) -> None:
        self._shared = shared
        self._query = query
        self._parameters = parameters
        self._row_type = row_type
        self.rows: list[Any] | None = None

    async def __call__(self) -> bytes:
        try:
            rows = await self._shared.pool.fetch_all(
                self._query, self._row_type, **self._parameters
            )
        except Exception as error:
            raise _QueryError(error) from error
        self.rows = rows
        payload = _encode(rows, self._row_type)
        if payload is None or len(payload) > self._shared.max_bytes:
            self._complain("it is too large" if payload else "its rows cannot be restored exactly")
            return _UNCACHED
        return payload

    def _complain(self, reason: str) -> None:
        name = self._query.name
        if name not in self._shared.complained:
            self._shared.complained.add(name)
            logger.warning("database.query_cache: %s is not kept: %s", name, reason)


# -- keys and rows: pure -----------------------------------------------------------------------


def _key(
    schema: str,
    tags: Sequence[str],
    query: Query,
    parameters: Parameters,
    row_type: type[Any],
) -> str | None:
    """The key of a read, or None when a parameter has no exact form as text.

    The tags belong to it: rows that were kept under others must not be found under these.
    """
    values = [(name, _exact(value)) for name, value in sorted(parameters.items())]
    if any(value is None for _, value in values):
        return None
    parts = repr((schema, sorted(tags), query.text, values, _shape(row_type)))
    digest = hashlib.sha256(parts.encode("utf-8", "surrogatepass")).hexdigest()
    return f"query:{digest}"


def _exact(value: Any) -> str | None:
    """`value` with its type, such that two are equal only when they ask the same."""
    kind = type(value)
    if value is None:
        return "None"
    if kind in _PLAIN or isinstance(value, Enum):
        return f"{kind.__module__}.{kind.__qualname__}:{value!r}"
    if kind in {list, tuple}:
        items = [_exact(item) for item in value]
        return None if None in items else f"{kind.__name__}:{items!r}"
    return None


def _shape(row_type: type[Any]) -> str:
    """The name of a row type and of its fields: another release may mean another type by it."""
    return f"{row_type.__module__}.{row_type.__qualname__}{_fields(cast('Hashable', row_type))}"


@lru_cache(maxsize=1024)
def _fields(row_type: Any) -> tuple[tuple[str, str], ...]:
    if dataclasses.is_dataclass(row_type):
        return tuple((one.name, str(one.type)) for one in dataclasses.fields(row_type))
    if issubclass(row_type, msgspec.Struct) or hasattr(row_type, "_fields"):
        return tuple((name, str(kind)) for name, kind in row_type.__annotations__.items())
    return ()


def _encode(rows: list[Any], row_type: type[Any]) -> bytes | None:
    """The rows as bytes, or None when they would not come back as they are."""
    try:
        payload = msgspec.msgpack.encode(rows)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return None
    again = _decode(payload, row_type)
    return payload if again is not None and _same(rows, again) else None


def _same(one: Any, other: Any) -> bool:
    """Whether they are equal, to the types of every value: `'1'` is not a `Decimal`."""
    kind: Any = type(one)
    if kind is not type(other):
        return isinstance(one, _NUMBERS) and isinstance(other, _NUMBERS) and one == other
    if kind is datetime:  # the same moment may be another hour elsewhere
        return bool(one == other) and one.utcoffset() == other.utcoffset()
    if kind in _PLAIN or one is None:
        return bool(one == other)
    if isinstance(one, dict):
        return _same(list(one.items()), list(other.items()))
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(_same, one, other))
    names = [name for name, _ in _fields(cast("Hashable", kind))]
    return all(_same(getattr(one, name), getattr(other, name)) for name in names) and one == other


def _decode(payload: bytes, row_type: type[T]) -> list[T] | None:
    """The rows in `payload`, or None when there are none for this row type."""
    try:
        return cast("list[T]", _decoder(cast("Hashable", row_type)).decode(payload))
    except (msgspec.DecodeError, TypeError, ValueError):
        return None


@lru_cache(maxsize=1024)
def _decoder(row_type: Any) -> msgspec.msgpack.Decoder[Any]:
    # The value of a single column may be null; a row may not.
    whole = dataclasses.is_dataclass(row_type) or issubclass(
        row_type, (msgspec.Struct, tuple, dict)
    )
    return msgspec.msgpack.Decoder(list[row_type] if whole else list[row_type | None])
