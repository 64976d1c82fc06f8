"""The queue's own tables, which its library brings: made, and moved forward with the library.

Apart from our migrations, because these files are the library's, and change with it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from insight_cloud.core.plan import Change, Plan
from insight_cloud.database.sql import Query

if TYPE_CHECKING:
    from insight_cloud.database import Connection, Pool

__all__ = ["apply", "plan"]

_LOCK = "insight.migrations"  # the same as our own migrations take: one of both at a time
_EXISTS = Query("queue_exists", "select to_regclass('procrastinate_jobs') is not null")
_CREATE = Query(
    "queue_schema_table",
    """
    create table if not exists queue_schema (
        name text primary key,
        applied_at timestamptz not null default now()
    )
    """,
)
_KNOWN = Query("queue_schema_known", "select to_regclass('queue_schema') is not null")
_APPLIED = Query("queue_schema_applied", "select name from queue_schema")
_RECORD = Query(
    "queue_schema_record", "insert into queue_schema (name) select unnest(%(names)s::text[])"
)
_INDEX = Query(
    "queue_schema_index",
    "create index if not exists queue_jobs_worker on procrastinate_jobs (worker_id)",
)
"""The library leaves this foreign key without one: each worker that ends would scan all jobs."""
_WHOLE = "procrastinate schema"


def _steps() -> dict[str, str]:
    """The library's changes since its first release, by file name, in order."""
    from procrastinate.schema import SchemaManager

    folder = Path(SchemaManager.get_migrations_path())
    return {file.name: file.read_text("utf-8") for file in sorted(folder.glob("*.sql"))}


async def plan(db: Pool | Connection) -> Plan:
    """What brings the queue's tables to the state that the installed library expects."""
    if not await db.fetch_value(_EXISTS):
        return Plan((Change("create", _WHOLE, reason="not there yet"),))
    known = set(await db.fetch_all(_APPLIED, str)) if await db.fetch_value(_KNOWN) else set()
    return Plan(
        tuple(
            Change("run", name, reason="the library is newer than its tables")
            for name in _steps()
            if name not in known
        )
    )


async def apply(pool: Pool) -> Plan:
    """Do what `plan` says, in one transaction; several processes may at once.

    Raises:
        Unavailable: a table stayed locked for 5 seconds; nothing was done.
    """
    if not await plan(pool):
        return Plan()
    async with pool.transaction() as db:
        await db.execute("set local statement_timeout = 0")
        await db.lock(_LOCK)
        await db.execute("set local lock_timeout = '5s'")
        wanted = await plan(db)  # another process may have been quicker
        await db.execute(_CREATE)
        for change in wanted:
            await _run(db, change)
        await db.execute(_INDEX)
    return wanted


async def _run(db: Connection, change: Change) -> None:
    from procrastinate.schema import SchemaManager

    if change.target == _WHOLE:
        await db.execute(Query("queue_schema", SchemaManager.get_schema()))
        await db.execute(_RECORD, names=list(_steps()))
        return
    await db.execute(Query(f"queue_schema {change.target}", _steps()[change.target]))
    await db.execute(_RECORD, names=[change.target])
