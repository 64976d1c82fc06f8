"""Asks PostgreSQL, read only: the named queries of `queries.sql`, or one of launch.toml."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from importlib import resources
from typing import Any

import psycopg
from psycopg.rows import dict_row

from insight_cloud.core.errors import Corrupt, Unavailable
from insight_cloud.database import sql
from insight_cloud.launch.target import NotRun, Target

__all__ = ["read_sql"]

_MOST_ROWS = 1000
_MISSING = (
    psycopg.errors.InsufficientPrivilege,
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.UndefinedFunction,
    psycopg.errors.ObjectNotInPrerequisiteState,
)


async def read_sql(target: Target, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The `rows` of `query` (a name) or `text` (a statement of the operator's), as tables.

    In a read-only transaction with a time limit of 20 s. Where the role may not look, or what
    is asked about does not exist, the item is not run.
    """
    statement = str(parameters["text"]) if "text" in parameters else _named(parameters["query"])
    url = target.need_database()
    try:
        async with await psycopg.AsyncConnection.connect(
            url, autocommit=True, connect_timeout=10, application_name="insight launch"
        ) as connection:
            await connection.set_read_only(True)
            async with connection.transaction(), connection.cursor(row_factory=dict_row) as cursor:
                await cursor.execute("set local statement_timeout = '20s'")
                await cursor.execute(statement.encode())
                rows = await cursor.fetchmany(_MOST_ROWS)
    except _MISSING as error:
        raise NotRun(f"the database does not answer that: {error.diag.message_primary}") from error
    except psycopg.OperationalError as error:
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else "no connection"
        raise Unavailable(f"the database does not answer: {reason}") from error
    except psycopg.Error as error:
        raise Corrupt(f"the statement cannot be run: {error.diag.message_primary}") from error
    return {"rows": [{name: _plain(one) for name, one in row.items()} for row in rows]}


@lru_cache(maxsize=1)
def _queries() -> Mapping[str, str]:
    source = resources.files("insight_cloud.launch.probes") / "queries.sql"
    return {query.name: query.text for query in sql.load(source)}


def _named(name: Any) -> str:
    try:
        return _queries()[str(name)]
    except KeyError as error:
        raise Corrupt(f"there is no query {name!r}") from error


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    return value if isinstance(value, str | int | float | bool | None) else str(value)
