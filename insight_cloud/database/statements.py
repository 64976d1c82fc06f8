"""The five ways to ask, the same on the pool and inside a transaction."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import Any, LiteralString, TypeVar

from psycopg import AsyncConnection

from insight_cloud.core.errors import Missing
from insight_cloud.database.recorder import Recorder
from insight_cloud.database.rows import factory
from insight_cloud.database.sql import Query, query_of

__all__ = ["Link", "Parameters", "Statement", "Statements", "send"]

T = TypeVar("T")
Parameters = dict[str, Any]
Statement = Query | LiteralString
"""What a call accepts: a named query, or a literal text, which is named by its fingerprint."""


class Link(AsyncConnection[Any]):
    """psycopg's connection, and what the pool must know of it."""

    generation: int = 0
    """How often the pool had found its connections dead before this one was made."""

    @property
    def prepared(self) -> int:
        """Statements that the server keeps prepared for this connection."""
        return len(self._prepared._names)  # noqa: SLF001 - psycopg counts them nowhere public


class Statements(ABC):
    """Ask by a `Query` or a literal text; parameters are keywords. Errors are ours."""

    async def fetch_all(self, query: Statement, row_type: type[T], /, **parameters: Any) -> list[T]:
        """Every row, as `row_type`.

        A dataclass, a msgspec Struct or a named tuple gets the columns by name; `tuple` and
        `dict` are rows as they are; any other type is the value of a single column.
        """
        rows, _ = await self._ask(query, parameters, row_type)
        return rows

    async def fetch_maybe(
        self, query: Statement, row_type: type[T], /, **parameters: Any
    ) -> T | None:
        """The first row, or None when there is none."""
        rows, _ = await self._ask(query, parameters, row_type)
        return rows[0] if rows else None

    async def fetch_one(self, query: Statement, row_type: type[T], /, **parameters: Any) -> T:
        """The first row.

        Raises:
            Missing: there is none.
        """
        rows, _ = await self._ask(query, parameters, row_type)
        if not rows:
            name = query if isinstance(query, str) else query.name
            raise Missing(f"{name} found nothing")
        return rows[0]

    async def fetch_value(self, query: Statement, /, **parameters: Any) -> Any:
        """The first column of the first row, or None when there is no row."""
        rows, _ = await self._ask(query, parameters, tuple)
        return rows[0][0] if rows else None

    async def execute(self, query: Statement, /, **parameters: Any) -> int:
        """Run a statement; return how many rows it changed."""
        _, count = await self._ask(query, parameters, None)
        return max(count, 0)

    async def _ask(
        self, query: Statement, parameters: Parameters, row_type: type[T] | None
    ) -> tuple[list[T], int]:
        if isinstance(query, str):
            query = query_of(query)
        return await self._answer(query, parameters, row_type)

    @abstractmethod
    async def _answer(
        self, query: Query, parameters: Parameters, row_type: type[T] | None
    ) -> tuple[list[T], int]:
        """The rows, unless `row_type` is None, and the number of rows."""


async def send(
    link: Link,
    recorder: Recorder,
    query: Query,
    parameters: Parameters,
    row_type: type[T] | None,
) -> tuple[list[T], int]:
    """Run `query` on `link` and record what it cost. psycopg's errors pass through."""
    started = time.perf_counter()
    rows: list[T] = []
    count, failed = 0, True
    try:
        cursor = link.cursor(row_factory=factory(row_type)) if row_type else link.cursor()
        await cursor.execute(query.encoded, parameters or None)
        count = cursor.rowcount
        if row_type is not None:
            rows = await cursor.fetchall()
        failed = False
    finally:
        seconds = time.perf_counter() - started
        recorder.record(
            query.name, seconds=seconds, rows=count, parameters=parameters, failed=failed
        )
    return rows, count
