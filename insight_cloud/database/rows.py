"""How a row becomes an object; apart, because it is the innermost loop of every read."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache
from typing import Any, TypeVar, cast

import msgspec
from psycopg import AsyncCursor
from psycopg.rows import AsyncRowFactory, dict_row, tuple_row

__all__ = ["factory"]

T = TypeVar("T")
Make = Callable[[Sequence[Any]], Any]


def factory(row_type: type[T]) -> AsyncRowFactory[T]:
    """Make rows into `row_type`.

    A dataclass, a msgspec Struct or a named tuple gets the columns by name; `tuple` and `dict`
    are rows as they are; any other type is the value of a single column.
    """

    def row_factory(cursor: AsyncCursor[Any]) -> Make:
        description = cursor.description
        if description is None:
            return _no_result
        return _maker(cast("Hashable", row_type), tuple([column.name for column in description]))

    if row_type is tuple:
        return cast("AsyncRowFactory[T]", tuple_row)
    if row_type is dict:
        return cast("AsyncRowFactory[T]", dict_row)
    return row_factory


def _no_result(_values: Sequence[Any]) -> Any:
    raise TypeError("the statement returns no rows")


@lru_cache(maxsize=1024)
def _maker(row_type: Any, columns: tuple[str, ...]) -> Make:
    fields = _fields(row_type)
    if fields is None:
        return _scalar(columns)
    if columns == fields[: len(columns)]:
        # Columns in the order of the fields, the usual case: no dictionary per row.
        return lambda values: row_type(*values)
    if unknown := set(columns) - set(fields):
        raise TypeError(f"{row_type.__name__} has no field for the columns {sorted(unknown)}")
    return lambda values: row_type(**dict(zip(columns, values, strict=True)))


def _scalar(columns: tuple[str, ...]) -> Make:
    if len(columns) != 1:
        raise TypeError(f"one value a row was asked for, and the columns are {list(columns)}")
    return lambda values: values[0]


def _fields(row_type: type[Any]) -> tuple[str, ...] | None:
    if dataclasses.is_dataclass(row_type):
        return tuple(field.name for field in dataclasses.fields(row_type) if field.init)
    if issubclass(row_type, msgspec.Struct):
        return tuple(row_type.__struct_fields__)
    if issubclass(row_type, tuple) and hasattr(row_type, "_fields"):
        return tuple(row_type._fields)
    return None
