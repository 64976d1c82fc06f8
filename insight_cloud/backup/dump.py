"""Which parts a dump has, and the command of PostgreSQL that writes each. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from insight_cloud.backup.manifest import Content
from insight_cloud.backup.postgres import Located
from insight_cloud.backup.programs import Program

__all__ = ["OWN_PART_BYTES", "Planned", "arguments", "plan", "plan_plain"]

OWN_PART_BYTES = 16 * 1024 * 1024
"""A table from this size on gets into a shard; smaller ones are not worth a process."""
_MOST_SHARDS = 32
_MOST_TABLES = 512
"""Tables that may be named on a command line; all others are in the rest."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A part that will be made: what it holds, and roughly how much that is."""

    name: str
    content: Content
    tables: tuple[Located, ...] = ()
    bytes: int = 0


def plan(tables: Sequence[Located], *, own_bytes: int = OWN_PART_BYTES) -> tuple[Planned, ...]:
    """Cut a database into parts that can be dumped and restored beside each other.

    Definitions; large tables in shards of about equal size; everything else that is data
    (small tables, sequences, large objects); indexes, constraints and triggers.
    """
    own = [table for table in tables if table.bytes >= own_bytes and not table.extension]
    own = sorted(own, key=lambda table: (-table.bytes, str(table)))[:_MOST_TABLES]
    shards = _shards(own)
    rest = sum(table.bytes for table in tables) - sum(table.bytes for table in own)
    data = [
        Planned(f"data-{number:03}", "data", shard, sum(table.bytes for table in shard))
        for number, shard in enumerate(shards, 1)
    ]
    return (
        Planned("pre-data", "pre-data"),
        *data,
        Planned("data-rest", "data", tuple(own), rest),
        Planned("post-data", "post-data"),
    )


def plan_plain(tables: Sequence[Located]) -> tuple[Planned, ...]:
    """One part: the whole database as SQL."""
    return (Planned("dump", "plain", bytes=sum(table.bytes for table in tables)),)


def _shards(tables: Sequence[Located]) -> list[tuple[Located, ...]]:
    """Put each table, the largest first, into the shard that has least so far."""
    count = min(len(tables), _MOST_SHARDS)
    shards: list[list[Located]] = [[] for _ in range(count)]
    for table in tables:
        min(shards, key=lambda shard: sum(each.bytes for each in shard)).append(table)
    return [tuple(shard) for shard in shards]


def arguments(
    part: Planned, *, program: Program, connection: str, snapshot: str, lock_seconds: float
) -> list[str]:
    """The arguments of pg_dump for one part. Custom format, uncompressed: we compress."""
    common = [
        f"--dbname={connection}",
        "--no-password",
        f"--snapshot={snapshot}",
        f"--lock-wait-timeout={int(lock_seconds * 1000)}",
    ]
    if program.major >= 18:
        common.append("--no-statistics")
    if part.content == "plain":
        return [*common, "--format=plain"]
    common += ["--format=custom", "--compress=0", f"--section={part.content}"]
    if part.content != "data":
        return common
    option = "--exclude-table-data" if part.name == "data-rest" else "--table"
    return [*common, *(f"{option}={_pattern(table)}" for table in part.tables)]


def _pattern(table: Located) -> str:
    """A pattern of pg_dump that matches this one table, whatever is in its name."""
    return ".".join('"' + name.replace('"', '""') + '"' for name in (table.schema, table.name))
