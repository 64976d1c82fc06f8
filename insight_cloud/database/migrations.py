"""The schema moves forward through numbered SQL files, each in a transaction of its own.

A release must run beside its neighbours: migrations are additive, so a program may meet a
schema that is newer than it knows. It then starts, changes nothing, and says so in the log.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib.resources.abc import Traversable
from pathlib import Path

from insight_cloud.core.errors import Conflict, Corrupt
from insight_cloud.core.plan import Change, Plan
from insight_cloud.database.connection import Connection
from insight_cloud.database.pool import Pool
from insight_cloud.database.sql import Query

__all__ = ["Applied", "Migration", "State", "apply", "plan", "read", "status", "wanted"]

logger = logging.getLogger(__name__)

_FILE = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
_LOCK = "insight.migrations"
_CREATE = Query(
    "migration_table",
    """
    create table if not exists schema_migrations (
        number integer primary key,
        name text not null,
        sha256 text not null,
        applied_at timestamptz not null default now()
    )
    """,
)
_EXISTS = Query("migration_table_exists", "select to_regclass('schema_migrations') is not null")
_APPLIED = Query(
    "applied_migrations",
    "select number, name, sha256, applied_at from schema_migrations order by number",
)
_RECORD = Query(
    "record_migration",
    "insert into schema_migrations (number, name, sha256)"
    " values (%(number)s, %(name)s, %(sha256)s)",
)


@dataclass(frozen=True, slots=True)
class Migration:
    """One file, `0001_initial.sql`: what brings the schema from `number` - 1 to `number`."""

    number: int
    name: str
    sql: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.number:04}_{self.name}"


@dataclass(frozen=True, slots=True)
class Applied:
    """One row of `schema_migrations`: what a database went through."""

    number: int
    name: str
    sha256: str
    applied_at: datetime

    def __str__(self) -> str:
        return f"{self.number:04}_{self.name}"


@dataclass(frozen=True, slots=True)
class State:
    """Where a schema stands. `ahead` are migrations of a newer program."""

    applied: tuple[Applied, ...]
    pending: tuple[str, ...]
    ahead: tuple[Applied, ...]


def wanted(directory: Path | Traversable) -> tuple[Migration, ...]:
    """Read the migrations of `directory`, in order.

    Raises:
        Corrupt: the numbers do not count 1, 2, 3 ..., or a `.sql` file has no number.
    """
    found = sorted(
        (_read(file) for file in directory.iterdir() if file.name.endswith(".sql")),
        key=lambda migration: migration.number,
    )
    for expected, migration in enumerate(found, start=1):
        if migration.number != expected:
            raise Corrupt(f"migration {expected:04} is missing or there twice, beside {migration}")
    return tuple(found)


def _read(file: Path | Traversable) -> Migration:
    match = _FILE.fullmatch(file.name)
    if match is None:
        raise Corrupt(f"the migration {file.name!r} is not named like 0001_initial.sql")
    content = file.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    return Migration(int(match[1]), match[2], content.decode(), digest)


def plan(found: Sequence[Applied], wanted: Sequence[Migration]) -> Plan:
    """What brings a schema that went through `found` to `wanted`.

    Raises:
        Corrupt: a file was changed after it was applied.
        Conflict: a number was skipped, or means another migration here.
    """
    applied = {migration.number: migration for migration in found}
    newest = max(applied, default=0)
    changes = []
    for migration in wanted:
        done = applied.get(migration.number)
        if done is not None:
            _compare(done, migration)
        elif migration.number < newest:
            raise Conflict(f"{migration} was never applied, but {newest:04} was: renumber it")
        else:
            reason = "not applied yet"
            changes.append(Change("run", str(migration), after=migration.sha256, reason=reason))
    return Plan(tuple(changes))


def _compare(done: Applied, migration: Migration) -> None:
    if done.name != migration.name:
        raise Conflict(f"the database went through {done}, and here is {migration}: other program?")
    if done.sha256 != migration.sha256:
        raise Corrupt(f"{migration} was changed after it was applied: restore it, add a new one")


async def read(database: Pool | str) -> tuple[Applied, ...]:
    """What `database` went through, in order; nothing when it is new."""
    async with _pool(database) as pool:
        if not await pool.fetch_value(_EXISTS):
            return ()
        return tuple(await pool.fetch_all(_APPLIED, Applied))


async def status(database: Pool | str, directory: Path | Traversable) -> State:
    """Where `database` stands beside the files of `directory`. Raises what `plan` raises."""
    files, found = wanted(directory), await read(database)
    pending = tuple(change.target for change in plan(found, files))
    return State(found, pending, tuple(done for done in found if done.number > len(files)))


async def apply(database: Pool | str, directory: Path | Traversable) -> Plan:
    """Run what is pending; return what was done. Several processes may do so at once.

    Each migration is committed by itself: after a failure the earlier ones stay.

    Raises:
        Unavailable: a table stayed locked for 5 seconds; nothing of this migration was done.
        Corrupt, Conflict: see `plan`.
    """
    files = wanted(directory)
    async with _pool(database) as pool:
        changes = plan(found := await read(pool), files)
        if ahead := [done for done in found if done.number > len(files)]:
            logger.warning("the schema is %d migrations ahead of this program", len(ahead))
        done = []
        for change in changes:
            async with pool.transaction() as connection:
                if await _step(connection, change, files):
                    done.append(change)
    return Plan(tuple(done))


async def _step(connection: Connection, change: Change, files: Sequence[Migration]) -> bool:
    """Run one migration, unless another process did while we waited for the lock."""
    await connection.execute("set local statement_timeout = 0")
    await connection.lock(_LOCK)
    # A change that waits for a table makes everybody behind it wait too: give up early.
    await connection.execute("set local lock_timeout = '5s'")
    await connection.execute(_CREATE)
    found = await connection.fetch_all(_APPLIED, Applied)
    if change not in plan(found, files).changes:
        return False
    migration = next(file for file in files if str(file) == change.target)
    await connection.execute(Query(f"migration {migration}", migration.sql))
    await connection.execute(
        _RECORD, number=migration.number, name=migration.name, sha256=migration.sha256
    )
    logger.info("migration %s was applied", migration)
    return True


@asynccontextmanager
async def _pool(database: Pool | str) -> AsyncIterator[Pool]:
    if isinstance(database, Pool):
        yield database
        return
    async with Pool(database, min_size=1, max_size=1) as pool:
        yield pool
