"""Which tables a statement may touch: what it reads by, and what a write to it changes.

From the names in its text that the server knows as relations. A column or alias that is called
like a table makes one too many, which costs an invalidation in vain and never a stale answer.
What no text shows, a function that reads or a trigger that writes, is not seen.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from insight_cloud.database.sql import Query
from insight_cloud.database.statements import Statements

__all__ = ["Tables", "read"]

_WORD = re.compile(r"[^\W\d][\w$]*")

_RELATIONS = Query(
    "relations",
    """
    with recursive relation as (
        select oid, relname, relkind
        from pg_class
        where relkind in ('r', 'p', 'v', 'm', 'f')
          and relnamespace not in ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
          and relpersistence <> 't'
    ),
    behind (oid, target) as (
        select oid, oid from relation
        union
        -- a view, by its rule, stands for what it reads
        select behind.oid, depend.refobjid
        from behind
        join pg_rewrite on pg_rewrite.ev_class = behind.target
        join pg_depend as depend on depend.classid = 'pg_rewrite'::regclass
          and depend.objid = pg_rewrite.oid and depend.refclassid = 'pg_class'::regclass
    ),
    changed (oid, target) as (
        select oid, target from behind
        union
        -- a foreign key that cascades, sets null or sets the default writes to its own table
        select changed.oid, pg_constraint.conrelid
        from changed
        join pg_constraint on pg_constraint.confrelid = changed.target and contype = 'f'
          and (confdeltype in ('c', 'n', 'd') or confupdtype in ('c', 'n', 'd'))
    )
    select
        relname::text as name,
        array(
            select distinct root.relname::text
            from behind
            join pg_class as root
              on root.oid = coalesce(pg_partition_root(behind.target), behind.target)
            where behind.oid = relation.oid and root.relkind in ('r', 'p', 'f', 'm')
        ) as reads,
        array(
            select distinct root.relname::text
            from changed
            join pg_class as root
              on root.oid = coalesce(pg_partition_root(changed.target), changed.target)
            where changed.oid = relation.oid and root.relkind in ('r', 'p', 'f', 'm')
        ) as changes
    from relation
    """,
)


@dataclass(frozen=True, slots=True)
class _Relation:
    name: str
    reads: list[str]
    changes: list[str]


class Tables:
    """The relations of one database, as they were when it was asked."""

    def __init__(
        self, reads: Mapping[str, frozenset[str]], changes: Mapping[str, frozenset[str]]
    ) -> None:
        self._reads = reads
        self._changes = changes

    def read_by(self, text: str) -> frozenset[str]:
        """The tables whose rows the statement may show; a view is what it is made of."""
        return _all(self._reads, text)

    def changed_by(self, text: str) -> frozenset[str]:
        """The tables whose rows the statement may change, foreign keys that cascade included."""
        return _all(self._changes, text)


async def read(database: Statements) -> Tables:
    """Ask the server for its relations: one statement, some milliseconds."""
    reads: dict[str, frozenset[str]] = {}
    changes: dict[str, frozenset[str]] = {}
    for relation in await database.fetch_all(_RELATIONS, _Relation):
        # The same name in two schemas is one entry here: one too many again.
        reads[relation.name] = reads.get(relation.name, frozenset()).union(relation.reads)
        changes[relation.name] = changes.get(relation.name, frozenset()).union(relation.changes)
    return Tables(reads, changes)


def _all(known: Mapping[str, frozenset[str]], text: str) -> frozenset[str]:
    found = (tables for name, tables in known.items() if _mentions(text, name))
    return frozenset().union(*found)


def _mentions(text: str, name: str) -> bool:
    """Whether `name` may be meant somewhere in `text`: in a comment or a string as well.

    To leave those out would take a parser of PostgreSQL's quotes; a name that it misses would
    be a stale answer.
    """
    if not _WORD.fullmatch(name):
        return name.replace('"', '""') in text
    return name in _words(text)


@lru_cache(maxsize=1024)
def _words(text: str) -> frozenset[str]:
    """Every word as it stands, and as the server reads it without quotes."""
    words = _WORD.findall(text)
    return frozenset(words).union(word.lower() for word in words)
