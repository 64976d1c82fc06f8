"""Carries a plan out on a live database, one statement at a time, and leaves no debris.

What may go wrong, and what is done about it:

- Somebody holds the table, or an old transaction is open. Waiting for either happens before
  anything is created, so giving up leaves nothing behind.
- A build fails or is cancelled halfway. PostgreSQL leaves an invalid index; it is dropped at once.
- We are killed. The server notices within two seconds that we are gone and stops the build; the
  invalid index is found by the next run, which drops and builds it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from insight_cloud.core.errors import Conflict, InsightError
from insight_cloud.core.plan import Change, Plan
from insight_cloud.core.report import stopwatch
from insight_cloud.tuning.postgres import Link, connected

__all__ = ["Applied", "Progress", "apply"]

_WORD = r'(?:"(?:[^"]|"")+"|[\w$]+)'
_CREATES = re.compile(
    rf"create (?:unique )?index concurrently (?:if not exists )?{_WORD} on (?:only )?"
    rf"({_WORD}(?:\.{_WORD})?)",
    re.IGNORECASE,
)

Progress = Callable[[Change, str], None]
"""Told of each step what goes on."""

_LOCK_KEY = 0x74756E65  # "tune": one plan at a time in a database
_LOOK_SECONDS = 0.5
_LAST_SECONDS = 60
"""How long the debris of a failed build may wait for others; it locks nobody out meanwhile."""


@dataclass(frozen=True, slots=True)
class Applied:
    """One change that was made, and what brings the state before it back."""

    change: Change
    seconds: float

    @property
    def undo(self) -> str | None:
        """The statement that takes it back; None where there is nothing to take back."""
        return None if self.change.before is None else str(self.change.before)


async def apply(
    url: str,
    plan: Plan,
    *,
    lock_seconds: float = 5,
    progress: Progress = lambda _change, _text: None,
    before: Callable[[Change], None] = lambda _change: None,
) -> list[Applied]:
    """Run the plan's statements in order; stop at the first that fails.

    `before` is called before each step, to write down what takes it back.

    Raises:
        Conflict: somebody is in the way for longer than `lock_seconds`, or runs another plan;
            the message names them, and what was done before it stays done.
    """
    done: list[Applied] = []
    async with _alone(url, lock_seconds) as (link, watcher):
        for change in plan:
            progress(change, "begins")
            before(change)
            with stopwatch() as watch:
                try:
                    await _step(link, watcher, change, lock_seconds, progress)
                except InsightError as error:
                    raise type(error)(
                        f"{change.after}: {error}. {len(done)} of {len(plan)} changes were made"
                    ) from error
            done.append(Applied(change, watch.seconds))
            progress(change, f"done in {watch.seconds:.1f} s")
    return done


@asynccontextmanager
async def _alone(url: str, lock_seconds: float) -> AsyncIterator[tuple[Link, Link]]:
    settings = {
        "statement_timeout": "0",
        "lock_timeout": f"{int(lock_seconds * 1000)}ms",
        # A server whose client was killed would otherwise go on building for nobody.
        "client_connection_check_interval": "2s",
    }
    async with connected(url) as watcher:
        if watcher.version < 140000:
            del settings["client_connection_check_interval"]
        async with connected(url, settings=settings) as link:
            if not await link.value("select pg_try_advisory_lock(%s)", [_LOCK_KEY]):
                raise Conflict("another plan is being carried out on this database: wait for it")
            yield link, watcher
            await link.value("select pg_advisory_unlock(%s)", [_LOCK_KEY])


async def _step(
    link: Link, watcher: Link, change: Change, lock_seconds: float, progress: Progress
) -> None:
    statement = str(change.after)
    lowered = statement.lower()
    concurrent = " concurrently " in lowered
    if concurrent:
        await _until_free(link, watcher, statement, lock_seconds)
    told: list[str] = []
    watching = asyncio.create_task(_watch(watcher, link.pid, change, progress, told))
    try:
        await link.rows(statement)
    except BaseException as error:
        watching.cancel()
        if concurrent and not lowered.startswith("drop"):
            await asyncio.shield(_clean(link, change, statement))
        if isinstance(error, Conflict) and told:
            raise Conflict(f"{error}; waited for {told[-1]}") from error
        raise
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError, InsightError):
            await watching


async def _until_free(link: Link, watcher: Link, statement: str, lock_seconds: float) -> None:
    """Wait until nobody is in the way of a concurrent build, before there is anything of it.

    A build waits for every writer of its table, and at its end for every transaction that is
    older. Found out halfway, that would leave an invalid index which the same transaction also
    keeps from being dropped.
    """
    table = await _table_of(link, statement)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + lock_seconds
    while blockers := await watcher.rows(_IN_THE_WAY, [link.pid, table, lock_seconds]):
        if loop.time() >= deadline:
            first = blockers[0]
            more = f", and {len(blockers) - 1} more" if len(blockers) > 1 else ""
            raise Conflict(
                f"process {first['pid']} ({first['who']}, {first['state']}) has had a transaction"
                f" open for {first['seconds']:.0f} s{more}: end it, or raise"
                " performance.lock_timeout_seconds"
            )
        await asyncio.sleep(0.1)


async def _table_of(link: Link, statement: str) -> int | None:
    """The number of the table that a statement about an index concerns."""
    if made := _CREATES.match(statement):
        return _number(await link.value("select to_regclass(%s)::oid::bigint", [made[1]]))
    name = statement.rsplit(maxsplit=1)[-1]
    return _number(
        await link.value(
            "select indrelid::bigint from pg_index where indexrelid = to_regclass(%s)", [name]
        )
    )


def _number(value: object) -> int | None:
    return value if isinstance(value, int) else None


async def _clean(link: Link, change: Change, statement: str) -> None:
    """Drop what a failed build has left; where that fails too, the next run finds it."""
    with contextlib.suppress(InsightError):
        await link.rows("select set_config('lock_timeout', %s, false)", [f"{_LAST_SECONDS}s"])
        names = [change.target]
        if statement.lower().startswith("reindex"):
            names = [row["name"] for row in await link.rows(_LEFTOVERS, [change.target])]
        for name in names:
            if await link.value(_IS_INVALID, [name]):
                await link.rows(f"drop index concurrently if exists {name}")


async def _watch(
    watcher: Link, pid: int, change: Change, progress: Progress, told: list[str]
) -> None:
    """Say how far a statement is and whom it waits for, until cancelled."""
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        for row in await watcher.rows(_BLOCKERS, [pid]):
            told.append(
                f"process {row['pid']} ({row['who']}, {row['state']}, transaction of"
                f" {row['seconds']:.0f} s)"
            )
            progress(change, f"waits for {told[-1]}")
        for row in await watcher.rows(_PROGRESS, [pid, pid]):
            share = f" {row['done'] / row['total']:.0%}" if row["total"] else ""
            progress(change, f"{row['phase']}{share}")


_WHO = """
coalesce(nullif(a.application_name, ''), a.usename, '?') as who, coalesce(a.state, '?') as state,
coalesce(extract(epoch from clock_timestamp() - a.xact_start), 0)::float8 as seconds
"""

_IN_THE_WAY = f"""
select a.pid, {_WHO}
from pg_stat_activity a
where a.pid not in (pg_backend_pid(), %s) and a.datname = current_database() and (
    exists (select from pg_locks l where l.pid = a.pid and l.granted
        and l.relation = %s::bigint::oid and l.mode not in ('AccessShareLock', 'RowShareLock'))
    or ((a.backend_xid is not null or a.backend_xmin is not null)
        and a.xact_start < clock_timestamp() - make_interval(secs => %s)
        and a.backend_type = 'client backend'))
order by a.xact_start
"""  # noqa: S608 - put together from our own constants

_BLOCKERS = f"""
select a.pid, {_WHO}
from pg_stat_activity a where a.pid = any(pg_blocking_pids(%s))
"""  # noqa: S608 - put together from our own constants

_PROGRESS = """
select phase, case when tuples_total > 0 then tuples_done else blocks_done end as done,
       case when tuples_total > 0 then tuples_total else blocks_total end as total
from pg_stat_progress_create_index where pid = %s
union all
select phase, heap_blks_scanned, heap_blks_total from pg_stat_progress_vacuum where pid = %s
"""

_IS_INVALID = """
select exists (select from pg_index where indexrelid = to_regclass(%s) and not indisvalid)
"""

_LEFTOVERS = """
select quote_ident(n.nspname) || '.' || quote_ident(c.relname) as name
from pg_index i join pg_class c on c.oid = i.indexrelid
join pg_namespace n on n.oid = c.relnamespace
where not i.indisvalid and c.relname ~ '_cc(new|old)[0-9]*$'
    and i.indrelid = (select indrelid from pg_index where indexrelid = to_regclass(%s))
"""
