"""What was read of a database, as plain data: rules judge it, and tests make it up."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

__all__ = [
    "Constraint",
    "Facts",
    "ForeignKey",
    "Index",
    "Sequence",
    "Server",
    "Session",
    "Slot",
    "Statement",
    "Table",
    "quoted",
]


def quoted(*names: str) -> str:
    """Names as SQL writes them, quoted where they must be; keywords are quoted too."""
    return ".".join(name if _is_plain(name) else _in_quotes(name) for name in names)


def _is_plain(name: str) -> bool:
    return re.fullmatch(r"[a-z_][a-z0-9_]*", name) is not None and name not in _KEYWORDS


def _in_quotes(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


_KEYWORDS = frozenset(
    """
    all analyse analyze and any array as asc asymmetric both case cast check collate column
    constraint create current_catalog current_date current_role current_time
    current_timestamp current_user default deferrable desc distinct do else end except false
    fetch for foreign from grant group having in initially intersect into lateral leading
    limit localtime localtimestamp not null offset on only or order placing primary
    references returning select session_user some symmetric system_user table then to
    trailing true union unique user using variadic when where window with authorization
    binary collation concurrently cross current_schema freeze full ilike inner is isnull
    join left like natural notnull outer overlaps right similar tablesample verbose between
    bigint bit boolean char character coalesce dec decimal exists extract float greatest
    grouping int integer interval least national nchar none normalize nullif numeric
    out overlay position precision real row setof smallint substring time timestamp treat
    trim values varchar
    """.split()  # noqa: SIM905 - as a list they would fill two pages
)


@dataclass(frozen=True, slots=True)
class Server:
    """The server and this database as a whole."""

    version: int
    """As in `server_version_num`: 150020 is 15.20."""
    database: str
    now: datetime
    started_at: datetime
    counted_since: datetime | None
    """Since when the statistics count; None where they were never reset."""
    bytes: int
    transaction_age: int
    multixact_age: int
    blocks_hit: int
    blocks_read: int
    settings: Mapping[str, str] = field(default_factory=dict)
    """Numbers in bytes, seconds or as they are; see `catalogue`."""
    extensions: frozenset[str] = frozenset()
    collation: str = "C"
    replicas: int = 0
    in_recovery: bool = False

    @property
    def counted_days(self) -> float:
        """Days for which the use of indexes has been counted, for certain."""
        since = max(filter(None, (self.counted_since, self.started_at)))
        return (self.now - (self.counted_since or since)).total_seconds() / 86_400


@dataclass(frozen=True, slots=True)
class Table:
    """A table, materialised view or partition that has rows of its own."""

    oid: int
    schema: str
    name: str
    rows: float
    """As the planner believes; -1 where it was never told."""
    bytes: int
    pages: int
    visible_pages: int = 0
    live: int = 0
    dead: int = 0
    written: int = 0
    """Rows inserted, updated and deleted since the statistics count."""
    scans: int = 0
    """Sequential and index scans of it since then."""
    modified: int = 0
    """Rows changed since it was last analysed."""
    analyzed: int = 0
    vacuumed: int = 0
    """How often, by hand or by autovacuum."""
    has_statistics: bool | None = None
    """Whether the planner knows its columns; None where we may not see that."""
    wanted_bytes: float | None = None
    """What its rows need without bloat, by the widths of its columns; None where unseen."""
    frozen_age: int = 0
    partition: bool = False

    @property
    def title(self) -> str:
        """For people and statements: `schema.name`."""
        return quoted(self.schema, self.name)

    @property
    def size(self) -> float:
        """Rows by what is known best."""
        return max(self.rows, self.live, 0)


@dataclass(frozen=True, slots=True)
class Index:
    """An index, and what may need it."""

    oid: int
    schema: str
    name: str
    table: int
    definition: str
    method: str
    keys: tuple[str, ...]
    """Each key: column or expression with operator class, collation and direction."""
    columns: tuple[int, ...]
    """The number of each key's column; 0 for an expression."""
    included: tuple[int, ...] = ()
    predicate: str = ""
    unique: bool = False
    primary: bool = False
    constraint: str = ""
    """The constraint that it carries, if any."""
    identity: bool = False
    """Whether replication or CLUSTER relies on it."""
    valid: bool = True
    building: bool = False
    """Whether somebody builds it right now."""
    partitioned: bool = False
    """Whether it is only the roof over those of partitions, or under such a roof."""
    bytes: int = 0
    rows: float = 0
    scans: int = 0
    wanted_bytes: float | None = None

    @property
    def title(self) -> str:
        """For people and statements: `schema.name`."""
        return quoted(self.schema, self.name)


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """A reference from `table`'s columns to another table."""

    name: str
    table: int
    columns: tuple[int, ...]
    column_names: tuple[str, ...]
    references: str
    referenced_changes: int = 0
    """Rows updated or deleted in the table referred to, each of which looks for references."""


@dataclass(frozen=True, slots=True)
class Constraint:
    """A constraint that new rows obey and old ones may not."""

    name: str
    table: int


@dataclass(frozen=True, slots=True)
class Sequence:
    """A sequence, and the column that takes its numbers."""

    schema: str
    name: str
    last: int | None
    """The last number given out; None where there was none, or we may not see it."""
    lowest: int
    highest: int
    """What both the sequence and its column can hold."""
    increment: int
    cycles: bool
    column: str = ""
    visible: bool = True

    @property
    def title(self) -> str:
        """For people and statements: `schema.name`."""
        return quoted(self.schema, self.name)

    @property
    def used(self) -> float:
        """The share of its numbers that is gone, from 0 to 1."""
        if self.last is None or self.cycles:
            return 0.0
        down = self.increment < 0
        end, limit = (
            (-self.last, -self.lowest or 1) if down else (self.last, self.highest or 1)
        )  # fmt: skip
        return max(0.0, min(1.0, end / limit))


@dataclass(frozen=True, slots=True)
class Session:
    """A connection, what it does, and whom it waits for."""

    pid: int
    user: str
    application: str
    state: str
    seconds: float
    """How long it has been in this state."""
    transaction_seconds: float | None
    wait: str = ""
    blocked_by: tuple[int, ...] = ()
    query: str = ""


@dataclass(frozen=True, slots=True)
class Slot:
    """A replication slot; `retained_bytes` of the log are kept for it."""

    name: str
    active: bool
    retained_bytes: int


@dataclass(frozen=True, slots=True)
class Statement:
    """One kind of statement: all calls with the same text but for their values."""

    text: str
    calls: int
    total_ms: float
    rows: int = 0
    samples: tuple[str, ...] = ()
    """Whole statements as they were sent, where a log or a file showed them."""

    @property
    def mean_ms(self) -> float:
        """Milliseconds a call took on average."""
        return self.total_ms / max(1, self.calls)


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that was read at one moment; `unseen` says what was not, and why."""

    server: Server
    tables: tuple[Table, ...] = ()
    indexes: tuple[Index, ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()
    constraints: tuple[Constraint, ...] = ()
    sequences: tuple[Sequence, ...] = ()
    sessions: tuple[Session, ...] = ()
    slots: tuple[Slot, ...] = ()
    statements: tuple[Statement, ...] | None = None
    unseen: Mapping[str, str] = field(default_factory=dict)

    def table(self, oid: int) -> Table:
        """The table with this number."""
        return next(table for table in self.tables if table.oid == oid)

    def as_metrics(self) -> dict[str, Any]:
        """The numbers that are compared from run to run."""
        read = self.server.blocks_hit + self.server.blocks_read
        return {
            "database_bytes": self.server.bytes,
            "tables_bytes": sum(table.bytes for table in self.tables),
            "indexes_bytes": sum(index.bytes for index in self.indexes),
            "indexes": len(self.indexes),
            "dead_rows": sum(table.dead for table in self.tables),
            "hit_rate": round(self.server.blocks_hit / read, 4) if read else None,
            "statement_mean_ms": _mean(self.statements),
        }


def _mean(statements: tuple[Statement, ...] | None) -> float | None:
    calls = sum(one.calls for one in statements or ())
    return round(sum(s.total_ms for s in statements or ()) / calls, 3) if calls else None
