"""What would the planner do with other indexes? The question, and what every answer shares."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from insight_cloud.core.errors import InsightError
from insight_cloud.tuning.advisor.candidates import Candidate, Column
from insight_cloud.tuning.postgres import Link

__all__ = ["WhatIf", "columns_of", "explain", "size_bytes"]


class WhatIf(Protocol):
    """Plans for indexes that do not exist. Nothing of it touches the tables that serve."""

    name: str
    collation: str
    """The order of the database that is planned for; `C` finds prefixes by itself."""

    async def offer(self, candidates: Iterable[Candidate]) -> dict[Candidate, int]:
        """Make `candidates` possible; return those that are, with their sizes in bytes."""

    async def show(self, chosen: frozenset[Candidate]) -> None:
        """Let the planner see `chosen`, and no other candidate."""

    async def explain(self, statement: str) -> dict[str, Any]:
        """Return the plan of `statement`, which is not run.

        Raises:
            InsightError: it cannot be planned.
        """

    def used(self, plan: Mapping[str, Any], chosen: Iterable[Candidate]) -> set[Candidate]:
        """Return which of `chosen` stand in the plan."""


_TYPED = re.compile(r"\b(date|timestamptz|timestamp|interval|time)\s+\$(\d+)", re.IGNORECASE)


async def explain(link: Link, statement: str) -> dict[str, Any]:
    """Plan a statement, also one with parameters `$1` whose values are not known.

    Raises:
        InsightError: the server cannot plan it.
    """
    options = "verbose, format json"
    # `date '2025-01-01'` becomes `date $1` in the server's statistics, which is no SQL.
    statement = _TYPED.sub(r"$\2::\1", statement)
    parameters = {int(n) for n in re.findall(r"\$(\d+)", re.sub(r"'(?:[^']|'')*'", "", statement))}
    if not parameters:
        return _plan(await link.rows(f"explain ({options}) {statement}"))
    if link.version >= 160000:
        return _plan(await link.rows(f"explain (generic_plan, {options}) {statement}"))
    values = ", ".join(["null"] * max(parameters))
    await link.rows("set plan_cache_mode = force_generic_plan")
    await link.rows(f"prepare insight_tune as {statement}")
    try:
        return _plan(await link.rows(f"explain ({options}) execute insight_tune({values})"))
    finally:
        await link.rows("deallocate insight_tune")


def _plan(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    found = next(iter(rows[0].values()))
    plan = msgspec.json.decode(found) if isinstance(found, str | bytes) else found
    result: dict[str, Any] = plan[0]["Plan"]
    return result


async def columns_of(link: Link) -> dict[tuple[str, str], dict[str, Column]]:
    """What the server knows of every column of our tables, by schema and table."""
    found: dict[tuple[str, str], dict[str, Column]] = {}
    for row in await link.rows(_COLUMNS):
        common: tuple[tuple[str, float], ...] = ()
        if row["values"] and row["shares"]:
            common = tuple(zip(row["values"], row["shares"], strict=False))
        found.setdefault((row["schema"], row["table"]), {})[row["column"]] = Column(
            row["type"], row["width"], row["distinct"], row["nulls"], common
        )
    return found


def size_bytes(candidate: Candidate, columns: Mapping[str, Column], rows: float) -> int:
    """About how large an index over `rows` rows will be."""
    width = 0.0
    distinct = 1.0
    for key in (*candidate.keys, *candidate.included):
        name = re.split(r" |\)", key.lstrip("("), maxsplit=1)[0]
        column = columns.get(name)
        width += column.width if column else 16
        spread = (column.distinct if column else -1) or rows
        distinct *= -spread * rows if spread < 0 else spread
    tuple_bytes = -(-(8 + width) // 8) * 8 + 4
    if candidate.method == "gin":
        return int(rows * max(8.0, width) * (1.5 if "trgm" in candidate.keys[0] else 0.7)) + 16384
    # Equal keys are stored once, with six bytes for each further row.
    if not candidate.included and distinct < rows / 3:
        tuple_bytes = min(tuple_bytes, 6.5 + tuple_bytes * distinct / max(rows, 1))
    return int(rows * tuple_bytes / 0.9 / 0.995) + 16384


async def attempt(link: Link, statement: str) -> str | None:
    """Run a statement; return why it cannot be."""
    try:
        await link.rows(statement)
    except InsightError as error:
        return str(error)
    return None


_COLUMNS = """
select n.nspname as schema, c.relname as table, quote_ident(a.attname) as column,
       format_type(a.atttypid, null) as type,
       coalesce(s.avg_width, nullif(a.attlen, -1), 32)::float8 as width,
       coalesce(s.n_distinct, 0)::float8 as distinct, coalesce(s.null_frac, 0)::float8 as nulls,
       s.most_common_vals::text::text[] as values, s.most_common_freqs as shares
from pg_class c join pg_namespace n on n.oid = c.relnamespace
join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
left join pg_stats s on s.schemaname = n.nspname and s.tablename = c.relname
    and s.attname = a.attname and not s.inherited
where c.relkind in ('r', 'm', 'p') and n.nspname not in ('pg_catalog', 'information_schema')
    and n.nspname !~ '^pg_(toast|temp)' and c.relpersistence <> 't'
"""
