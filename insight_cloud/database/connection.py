"""One connection inside a transaction: statements, bulk writes, locks."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeVar

from insight_cloud.database import bulk
from insight_cloud.database.recorder import Recorder
from insight_cloud.database.sql import Query
from insight_cloud.database.statements import Link, Parameters, Statements, send
from insight_cloud.database.translation import FOREIGN, translate

__all__ = ["Connection"]

T = TypeVar("T")

_LOCK = Query("lock", "select pg_advisory_xact_lock(hashtextextended(%(key)s, 0))")


class Connection(Statements):
    """Statements of one transaction. Made by `Pool.transaction`; not shared between tasks."""

    def __init__(self, link: Link, recorder: Recorder) -> None:
        self._link = link
        self._recorder = recorder
        self.work_after_commit: list[Callable[[], Awaitable[None]]] = []
        self.written: set[str] = set()
        """The statements so far that may have changed something."""

    def after_commit(self, work: Callable[[], Awaitable[None]]) -> None:
        """Let `work` run when the transaction is committed, before its `async with` ends.

        It also runs when the answer to the commit was lost, because then it may be committed:
        `work` must do no harm in vain. It does not run after a rollback. Its errors are logged
        and not raised: what is committed cannot be taken back.
        """
        self.work_after_commit.append(work)

    async def insert_many(
        self,
        table: str,
        columns: Sequence[str],
        rows: Iterable[Sequence[Any]],
        *,
        upsert_on: Sequence[str] = (),
    ) -> int:
        """Write `rows` by binary COPY; return how many were written.

        With `upsert_on`, the columns of a unique index, a row that is there already gets the
        new values of the other columns, or stays as it is when there are no others. The same
        key twice within `rows` is `Invalid`.
        """
        name = f"insert_many {table}"
        self.written.add(f"insert into {table}")
        started = time.perf_counter()
        try:
            count = await bulk.write(self._link, table, columns, rows, upsert_on)
        except FOREIGN as error:
            raise bulk.translate(error, name) from error
        seconds = time.perf_counter() - started
        self._recorder.record(name, seconds=seconds, rows=count, parameters={})
        return count

    async def lock(self, key: str) -> None:
        """Wait until no other transaction holds `key`, then hold it to the end of this one."""
        await self.execute(_LOCK, key=key)

    async def _answer(
        self, query: Query, parameters: Parameters, row_type: type[T] | None
    ) -> tuple[list[T], int]:
        if not query.reads or row_type is None:  # a select that is executed writes by a function
            self.written.add(query.text)
        try:
            return await send(self._link, self._recorder, query, parameters, row_type)
        except FOREIGN as error:
            raise translate(error, query.name) from error
