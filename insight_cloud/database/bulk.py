"""Many rows in: binary COPY, into a staging table first where rows may be there already.

Measured eight times as fast as an INSERT of 1,000 rows; apart, because COPY has its own errors.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Any

from psycopg import errors
from psycopg.rows import tuple_row
from psycopg.sql import SQL, Composed, Identifier

from insight_cloud.core.errors import InsightError, Invalid
from insight_cloud.database import translation
from insight_cloud.database.statements import Link

__all__ = ["translate", "write"]

_MISFITS = (AttributeError, IndexError, OverflowError, TypeError, ValueError, struct.error)
"""What psycopg's converters raise for a value that is not of the column's type."""

# In the binary format an enum is a text, and a domain is what it is a domain of.
_TYPES = SQL("""
    select attname,
        case typtype when 'e' then 25 when 'd' then typbasetype::int8 else atttypid::int8 end
    from pg_attribute join pg_type on pg_type.oid = atttypid
    where attrelid = {}::regclass and attnum > 0 and not attisdropped
""")
_RANGES = {21: 2**15, 23: 2**31}
"""The types smallint and integer: psycopg cuts a larger number to size, without a word."""


async def write(
    link: Link,
    table: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    upsert_on: Sequence[str],
) -> int:
    """Copy `rows` into `columns` of `table`; see `Connection.insert_many`."""
    target = Identifier(*table.split("."))
    types = await _types(link, target, columns)
    if not upsert_on:
        return await _copy(link, target, columns, types, rows)
    staging = Identifier("insight_staging")
    names = _names(columns)
    await link.execute(
        SQL("create temp table {} on commit drop as select {} from {} limit 0").format(
            staging, names, target
        )
    )
    await _copy(link, staging, columns, types, rows)
    cursor = await link.execute(_merge(staging, target, columns, upsert_on))
    await link.execute(SQL("drop table {}").format(staging))
    return cursor.rowcount


def translate(error: BaseException, statement: str) -> InsightError:
    """As `translation.translate`, and what only a bulk write can meet."""
    if isinstance(error, errors.CardinalityViolation):
        return Invalid(f"{statement}: two rows have the same key")
    return translation.translate(error, statement)


async def _types(link: Link, target: Identifier, columns: Sequence[str]) -> list[int]:
    """The type of each column: binary COPY converts nothing, so the client must know them."""
    name = target.as_string(link)
    cursor = await link.cursor(row_factory=tuple_row).execute(_TYPES.format(name))
    found: dict[str, int] = dict(await cursor.fetchall())
    try:
        return [found[column] for column in columns]
    except KeyError as error:
        raise errors.UndefinedColumn(f"{name} has no column {error}") from error


async def _copy(
    link: Link,
    target: Identifier,
    columns: Sequence[str],
    types: Sequence[int],
    rows: Iterable[Sequence[Any]],
) -> int:
    narrow = [(column, _RANGES[oid]) for column, oid in enumerate(types) if oid in _RANGES]
    statement = SQL("copy {} ({}) from stdin (format binary)").format(target, _names(columns))
    cursor = link.cursor()
    async with cursor.copy(statement) as copy:
        copy.set_types(types)
        for number, row in enumerate(rows):
            try:
                for column, limit in narrow:
                    if (value := row[column]) is not None and not -limit <= value < limit:
                        raise OverflowError(f"{value} is out of range")
                await copy.write_row(row)
            except _MISFITS as error:
                raise Invalid(f"row {number} does not fit {list(columns)}: {error}") from error
    return cursor.rowcount


def _merge(
    staging: Identifier, target: Identifier, columns: Sequence[str], key: Sequence[str]
) -> Composed:
    others = [Identifier(column) for column in columns if column not in key]
    updates = SQL(", ").join(SQL("{} = excluded.{}").format(name, name) for name in others)
    action = SQL("update set {}").format(updates) if others else SQL("nothing")
    return SQL("insert into {} ({}) select {} from {} on conflict ({}) do {}").format(
        target, _names(columns), _names(columns), staging, _names(key), action
    )


def _names(columns: Sequence[str]) -> Composed:
    return SQL(", ").join(map(Identifier, columns))
