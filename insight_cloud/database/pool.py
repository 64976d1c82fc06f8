"""The pool: reads without a transaction, transactions, and the way back after a restart.

psycopg_pool keeps the connections; here is what a request meets.
"""

from __future__ import annotations

import asyncio
import logging
import random
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal, LiteralString, Self, TypeVar

from psycopg import OperationalError
from psycopg.pq import TransactionStatus
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from insight_cloud.core.errors import InsightError, SettingsError, Unavailable
from insight_cloud.database import conninfo
from insight_cloud.database.connection import Connection
from insight_cloud.database.recorder import Recorder, SlowQueries
from insight_cloud.database.sql import Query
from insight_cloud.database.statements import Link, Parameters, Statements, send
from insight_cloud.database.translation import FOREIGN, may_succeed_again, stale, translate

__all__ = ["Isolation", "Pool", "Statistics"]

logger = logging.getLogger(__name__)

T = TypeVar("T")
Isolation = Literal["read committed", "repeatable read", "serializable"]
_BEGIN: dict[Isolation, LiteralString] = {
    "read committed": "begin isolation level read committed",
    "repeatable read": "begin isolation level repeatable read",
    "serializable": "begin isolation level serializable",
}


@dataclass(frozen=True, slots=True)
class Statistics:
    """The pool now, and its counters since it was opened."""

    min_size: int
    max_size: int
    size: int
    idle: int
    waiting: int
    requests: int
    requests_queued: int
    requests_failed: int
    wait_seconds: float
    connections_made: int
    connections_failed: int
    connections_lost: int
    prepared: int
    """Statements that the server keeps prepared, over all connections."""


class Pool(Statements):
    """Connections to one PostgreSQL database, shared by the tasks of one event loop.

    Asked directly, a statement runs by itself, without a transaction around it. A read that
    meets a dead connection is sent once more on a fresh one; a write is not, because nobody
    knows whether it was done. Everybody waits at most `acquire_timeout_seconds` for a
    connection, and then gets `Unavailable`.

    Statements sent five times on a connection are prepared by themselves; with `pgbouncer`
    they never are, and the time limit is left to the server's role.
    """

    def __init__(
        self,
        url: str,
        *,
        min_size: int = 2,
        max_size: int = 10,
        acquire_timeout_seconds: float = 5,
        max_idle_seconds: float = 30,
        max_lifetime_seconds: float = 3600,
        statement_timeout_seconds: float = 30,
        application_name: str = "insight",
        pgbouncer: bool = False,
        slow: SlowQueries = SlowQueries(),  # noqa: B008 - frozen
    ) -> None:
        if not 0 <= min_size <= max_size or max_size < 1:
            raise SettingsError(f"a pool cannot have {min_size} to {max_size} connections")
        self.recorder = Recorder(slow=slow)
        self._generation = 0
        self._links: weakref.WeakSet[Link] = weakref.WeakSet()
        self._acquire_timeout = acquire_timeout_seconds
        self._conninfo = conninfo.build(
            url,
            application_name=application_name,
            connect_timeout_seconds=acquire_timeout_seconds,
            statement_timeout_seconds=statement_timeout_seconds,
            pgbouncer=pgbouncer,
        )
        self._pool: AsyncConnectionPool[Link] = AsyncConnectionPool(
            self._conninfo,
            connection_class=Link,
            kwargs={"autocommit": True, "prepare_threshold": None if pgbouncer else 5},
            configure=self._configure,
            min_size=min_size,
            max_size=max_size,
            timeout=acquire_timeout_seconds,
            max_idle=max_idle_seconds,
            max_lifetime=max_lifetime_seconds,
            # psycopg_pool waits 1, 2, 4 ... seconds between attempts, up to minutes. Given up
            # early, an attempt is begun anew by whoever waits: an outage ends with its cause.
            reconnect_timeout=2,
            reconnect_failed=_try_on,
            open=False,
            name=application_name,
        )

    @property
    def conninfo(self) -> str:
        """How to connect as this pool does, password and all: for a library with its own pool."""
        return self._conninfo

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self) -> None:
        """Connect; return when the smallest number of connections is there.

        Raises:
            Unavailable: they were not within the acquire timeout; the message says why.
        """
        await self._pool.open()
        try:
            await self._pool.wait(self._acquire_timeout)
        except PoolTimeout as error:
            raise Unavailable(await self._reason(), retry_after=5) from error

    async def close(self) -> None:
        """Close every connection. Waiting requests get `Unavailable`."""
        await self._pool.close()

    @asynccontextmanager
    async def transaction(
        self, *, isolation: Isolation = "read committed"
    ) -> AsyncIterator[Connection]:
        """All or nothing: committed at the end of the body, rolled back when it raises.

        Then comes what was asked for with `Connection.after_commit`.
        """
        link = await self._begin(isolation)
        connection = Connection(link, self.recorder)
        committed = False
        try:
            yield connection
            committed = True  # until we know better: the answer may get lost on its way
            await _commit(link)
        except BaseException as error:
            # An error of ours on a connection that lives is the server's word: rolled back.
            committed = committed and (link.closed or not isinstance(error, InsightError))
            await _roll_back(link)
            raise
        finally:
            await self._release(link)
            if committed and connection.work_after_commit:
                await _finish(connection.work_after_commit)

    async def run(
        self,
        work: Callable[[Connection], Awaitable[T]],
        *,
        isolation: Isolation = "read committed",
        serializable_retries: int = 0,
    ) -> T:
        """Do `work` in a transaction and return its result.

        When the server rolls it back because of a serialization failure or a deadlock, do it
        again, up to `serializable_retries` times: `work` must have no effect elsewhere.
        """
        for attempt in range(serializable_retries):
            try:
                return await self._once(work, isolation)
            except Unavailable as error:
                if not may_succeed_again(error.__cause__):
                    raise
            # Those who met in one place should not meet there again in step.
            await asyncio.sleep(random.uniform(0, 0.01 * 2**attempt))  # noqa: S311 - no secret
        return await self._once(work, isolation)

    def statistics(self) -> Statistics:
        """What the pool holds and has counted; costs no round trip."""
        found = self._pool.get_stats()
        return Statistics(
            min_size=found["pool_min"],
            max_size=found["pool_max"],
            size=found["pool_size"],
            idle=found["pool_available"],
            waiting=found["requests_waiting"],
            requests=found.get("requests_num", 0),
            requests_queued=found.get("requests_queued", 0),
            requests_failed=found.get("requests_errors", 0),
            wait_seconds=found.get("requests_wait_ms", 0) / 1000,
            connections_made=found.get("connections_num", 0),
            connections_failed=found.get("connections_errors", 0),
            connections_lost=found.get("returns_bad", 0),
            prepared=sum(link.prepared for link in self._links if not link.closed),
        )

    async def _answer(
        self, query: Query, parameters: Parameters, row_type: type[T] | None
    ) -> tuple[list[T], int]:
        try:
            return await self._try(query, parameters, row_type)
        except _LostError as lost:
            if not query.reads:
                raise translate(lost.error, query.name) from lost.error
        try:
            return await self._try(query, parameters, row_type)
        except _LostError as lost:
            raise translate(lost.error, query.name) from lost.error

    async def _try(
        self, query: Query, parameters: Parameters, row_type: type[T] | None
    ) -> tuple[list[T], int]:
        link = await self._acquire()
        aged = False
        try:
            return await send(link, self.recorder, query, parameters, row_type)
        except FOREIGN as error:
            aged = stale(error)
            if aged or link.closed:
                raise _LostError(error) from error
            raise translate(error, query.name) from error
        finally:
            await self._release(link, aged=aged)

    async def _begin(self, isolation: Isolation) -> Link:
        """A connection with a transaction begun. Nothing is lost yet by a second attempt."""
        try:
            return await self._try_begin(isolation)
        except _LostError:
            pass
        try:
            return await self._try_begin(isolation)
        except _LostError as lost:
            raise translate(lost.error, "begin") from lost.error

    async def _try_begin(self, isolation: Isolation) -> Link:
        link = await self._acquire()
        try:
            await link.execute(_BEGIN[isolation], prepare=False)
        except FOREIGN as error:
            await self._release(link)
            raise _LostError(error) from error
        except BaseException:
            await self._release(link)
            raise
        return link

    async def _once(self, work: Callable[[Connection], Awaitable[T]], isolation: Isolation) -> T:
        async with self.transaction(isolation=isolation) as connection:
            return await work(connection)

    async def _acquire(self) -> Link:
        try:
            return await self._pool.getconn()
        except FOREIGN as error:
            found = self.statistics()
            state = f"{found.size} of at most {found.max_size} are open, {found.waiting} wait"
            raise Unavailable(f"no database connection: {error}; {state}", retry_after=5) from error

    async def _release(self, link: Link, *, aged: bool = False) -> None:
        """Give `link` back. When it died, so did its generation: replace them all, once."""
        if (aged or link.closed) and link.generation == self._generation:
            self._generation += 1
            await self._pool.drain()
        await self._pool.putconn(link)

    async def _configure(self, link: Link) -> None:
        link.generation = self._generation
        self._links.add(link)

    async def _reason(self) -> str:
        """Why there is no connection: the pool only says that there is none."""
        try:
            link = await Link.connect(self._conninfo)
        except OperationalError as error:
            return f"cannot connect to the database: {error}".strip()
        await link.close()
        return "the database was slow to accept connections"


class _LostError(Exception):
    """The statement met a connection that was dead or out of date; `error` says how."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error


async def _try_on(pool: AsyncConnectionPool[Any]) -> None:
    """Keep trying to connect for those who wait: psycopg_pool leaves it to the next request."""
    if pool._waiting:  # noqa: SLF001 - there is no public way; a test of an outage guards it
        pool._maybe_grow_pool()  # noqa: SLF001 - see above


async def _finish(works: Sequence[Callable[[], Awaitable[None]]]) -> None:
    """Wait for `works`, which go on to their end even when the caller is cancelled meanwhile."""
    task = asyncio.create_task(_run_all(works))
    _UNFINISHED.add(task)
    task.add_done_callback(_UNFINISHED.discard)
    await asyncio.shield(task)


async def _run_all(works: Sequence[Callable[[], Awaitable[None]]]) -> None:
    for work in works:
        try:
            await work()
        except Exception:
            logger.exception("what was to be done after a commit failed")


_UNFINISHED: set[asyncio.Task[None]] = set()
"""The event loop alone would forget a task that nobody waits for."""


async def _commit(link: Link) -> None:
    try:
        cursor = await link.execute("commit", prepare=False)
    except FOREIGN as error:
        failure = translate(error, "commit")
        if link.closed:
            failure.add_note("The connection was lost: the transaction may have been committed.")
        raise failure from error
    if cursor.statusmessage == "ROLLBACK":
        # PostgreSQL answers so when a statement failed before and its error was swallowed.
        raise InsightError("the transaction was rolled back, because one of its statements failed")


async def _roll_back(link: Link) -> None:
    """Leave `link` clean. When that fails, it is dead, and the body's own error matters more."""
    if link.pgconn.transaction_status in {TransactionStatus.INTRANS, TransactionStatus.INERROR}:
        with suppress(*FOREIGN):
            await link.execute("rollback", prepare=False)
