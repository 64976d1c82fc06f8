"""Restoring: planned first, proved before a row is touched, built beside, then swapped in.

The database that is there stays as it is until the new one is complete and compared. The swap
is one transaction of two renames; the old database is kept under another name.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import LiteralString

from psycopg import sql

from insight_cloud.backup import load, postgres
from insight_cloud.backup.job import Progress, Report
from insight_cloud.backup.load import Opened
from insight_cloud.backup.manifest import Manifest
from insight_cloud.backup.postgres import Link
from insight_cloud.backup.programs import Programs
from insight_cloud.backup.staged import maintenance, staged
from insight_cloud.backup.tasks import together
from insight_cloud.core.errors import Conflict, Corrupt, InsightError, Refused
from insight_cloud.core.plan import Change, Plan
from insight_cloud.core.report import stopwatch

__all__ = ["Restored", "Target", "inspect", "plan", "remove", "restore"]

_SWAPS = 5
_LONGEST_NAME = 63


@dataclass(frozen=True, slots=True)
class Target:
    """What a restore would meet on a server."""

    database: str
    exists: bool
    objects: int
    """Tables, views, functions and the like that are in it."""
    missing_roles: tuple[str, ...]
    missing_extensions: tuple[str, ...]
    missing_tablespaces: tuple[str, ...]
    version: str
    version_number: int

    @property
    def filled(self) -> bool:
        """Whether something is in it that a restore would replace."""
        return self.objects > 0


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore has done; `kept` is the new name of the database that was there."""

    database: str
    backup_id: str
    kept: str | None
    roles_created: tuple[str, ...]
    seconds: float


async def inspect(url: str, database: str, manifest: Manifest) -> Target:
    """Look at the server without changing anything."""
    async with maintenance(url) as link:
        exists = bool(
            await link.value("select count(*) from pg_database where datname = %s", [database])
        )
        return Target(
            database=database,
            exists=exists,
            objects=await _objects(url, database) if exists else 0,
            missing_roles=await _missing(link, _ROLES, manifest.roles),
            missing_extensions=await _missing(
                link, _EXTENSIONS, [extension.name for extension in manifest.extensions]
            ),
            missing_tablespaces=await _missing(link, _TABLESPACES, manifest.tablespaces),
            version=str(await link.value("select current_setting('server_version')")),
            version_number=int(
                await link.value("select current_setting('server_version_num')::int")
            ),
        )


async def _missing(link: Link, query: LiteralString, names: Iterable[str]) -> tuple[str, ...]:
    return tuple(row["name"] for row in await link.rows(query, [list(names)]))


async def _objects(url: str, database: str) -> int:
    async with postgres.connected(url, database=database) as link:
        return int(await link.value(_OBJECTS))


_ROLES: LiteralString = """
select name from unnest(%s::text[]) name where not exists
    (select from pg_roles where rolname = name) order by 1
"""
_EXTENSIONS: LiteralString = """
select name from unnest(%s::text[]) name where not exists
    (select from pg_available_extensions a where a.name = name.name) order by 1
"""
_TABLESPACES: LiteralString = """
select name from unnest(%s::text[]) name where not exists
    (select from pg_tablespace where spcname = name) order by 1
"""
_OBJECTS: LiteralString = """
with system as (select oid from pg_namespace
                 where nspname in ('pg_catalog', 'information_schema') or nspname ~ '^pg_'),
     members as (select classid, objid from pg_depend where deptype = 'e')
select (select count(*) from pg_class c where relnamespace not in (select oid from system)
           and ('pg_class'::regclass, c.oid) not in (select classid, objid from members))
     + (select count(*) from pg_proc p where pronamespace not in (select oid from system)
           and ('pg_proc'::regclass, p.oid) not in (select classid, objid from members))
     + (select count(*) from pg_type t where typnamespace not in (select oid from system)
           and typrelid = 0 and typelem = 0
           and ('pg_type'::regclass, t.oid) not in (select classid, objid from members))
     + (select count(*) from pg_largeobject_metadata)
"""


def plan(manifest: Manifest, target: Target, *, create_roles: bool = False) -> Plan:
    """What a restore would do, in order."""
    mib = manifest.server.bytes / 2**20
    changes = [
        Change("create", f"role {role}", reason="it owns or may use something, and is missing")
        for role in (target.missing_roles if create_roles else ())
    ]
    source = f"{manifest.rows:,} rows of {len(manifest.tables)} tables, {mib:,.0f} MiB"
    changes.append(
        Change(
            "create", f"database {target.database}__restore_…", reason=f"{manifest.id}: {source}"
        )
    )
    changes.append(Change("run", "compare", reason="count the rows of every table"))
    if target.filled:
        changes.append(
            Change(
                "move",
                f"database {target.database} to {target.database}__before_…",
                reason=f"kept; it has {target.objects} objects",
            )
        )
    elif target.exists:
        changes.append(Change("delete", f"database {target.database}", reason="it is empty"))
    changes.append(Change("move", f"the new database to {target.database}", reason="the swap"))
    return Plan(tuple(changes))


def check_target(
    manifest: Manifest, target: Target, *, replace: str | None, create_roles: bool
) -> None:
    """Refuse what cannot end well, before anything is read or made.

    Raises:
        Conflict: the database is not empty, or roles are missing.
        Refused: the server lacks an extension, or the backup is one of a whole cluster.
    """
    if manifest.kind == "base":
        raise Refused(
            f"{manifest.id} is a copy of a whole cluster, not of one database: bring it back by"
            " --at TIME --directory PLACE"
        )
    if target.filled and replace != target.database:
        raise Conflict(
            f"the database {target.database!r} is not empty ({target.objects} objects): choose"
            f" another name, or confirm that it is to be replaced by --replace {target.database}"
        )
    if target.missing_extensions:
        names = ", ".join(target.missing_extensions)
        raise Refused(f"the server lacks extensions that the backup needs: {names}. Install them")
    if target.missing_roles and not create_roles:
        names = ", ".join(target.missing_roles)
        raise Conflict(
            f"the server lacks roles that the backup needs: {names}. Create them, or let them be"
            " created without the right to sign in by --create-roles"
        )
    if target.version_number // 10000 < manifest.server.major:
        raise Refused(
            f"the backup is from PostgreSQL {manifest.server.version}, and this server is older"
            f" ({target.version}): restore it to a server of that version or newer"
        )


async def restore(
    backup: Opened,
    url: str,
    database: str,
    *,
    programs: Programs,
    parallel: int,
    replace: str | None = None,
    create_roles: bool = False,
    report: Report = lambda _: None,
) -> Restored:
    """Bring a backup back as `database` on the server of `url`.

    `replace` must be the database's own name when it is not empty. Whatever fails or whoever
    interrupts before the swap leaves everything on the server as it was.

    Raises:
        Conflict, Refused: as `check_target`.
        Corrupt: the backup is damaged, or what was restored differs from it.
        Unavailable: the store or the server went away.
    """
    manifest = backup.manifest
    if len(database.encode()) > _LONGEST_NAME:
        raise Refused(f"the name of a database has at most {_LONGEST_NAME} bytes")
    with stopwatch() as watch:
        target = await inspect(url, database, manifest)
        check_target(manifest, target, replace=replace, create_roles=create_roles)
        await backup.prove(parallel, report)
        async with (
            maintenance(url) as link,
            _roles(link, target.missing_roles),
            staged(link, database, manifest.server) as name,
        ):
            await load.fill(backup, url, name, programs=programs, parallel=parallel, report=report)
            await _judge(url, name, backup, parallel, report)
            roles = {
                row["name"] for row in await link.rows("select rolname::text as name from pg_roles")
            }
            await load.apply_properties(link, name, await backup.properties(), roles)
            # Hours may have passed: whoever has filled an empty database meanwhile keeps it.
            now = await inspect(url, database, manifest)
            check_target(manifest, now, replace=replace, create_roles=create_roles)
            kept = await _swap(link, url, name, now)
    return Restored(database, manifest.id, kept, target.missing_roles, watch.seconds)


async def remove(url: str, restored: Restored) -> None:
    """Remove a restored database from its server, and the roles that were made for it."""
    async with maintenance(url) as link:
        name = sql.Identifier(restored.database)
        await link.rows(sql.SQL("drop database if exists {} with (force)").format(name))
        await _drop_roles(link, restored.roles_created)


@asynccontextmanager
async def _roles(link: Link, missing: tuple[str, ...]) -> AsyncIterator[None]:
    """Roles that cannot sign in, made for a restore; they go again if it fails."""
    made: list[str] = []
    try:
        for role in missing:
            await link.rows(sql.SQL("create role {} nologin").format(sql.Identifier(role)))
            made.append(role)
        yield
    except BaseException:
        dropping = asyncio.ensure_future(_drop_roles(link, made))
        while not dropping.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.shield(dropping)
        raise


async def _drop_roles(link: Link, roles: Iterable[str]) -> None:
    for role in roles:
        with contextlib.suppress(InsightError):  # the server is away, or somebody uses it already
            await link.rows(sql.SQL("drop role if exists {}").format(sql.Identifier(role)))


async def _judge(url: str, database: str, backup: Opened, parallel: int, report: Report) -> None:
    report(Progress("counting rows"))
    async with postgres.connected(url, database=database) as link:
        problems = await load.compare(link, backup.manifest)
        if problems:
            raise Corrupt(f"what was restored differs from the backup: {'; '.join(problems[:5])}")
        waiting = deque(await postgres.analysable(link))
    report(Progress("gathering statistics"))
    # A database without statistics is so slow that one could think it were broken.
    await together(*(_analyze(url, database, waiting) for _ in range(parallel)))


async def _analyze(url: str, database: str, waiting: deque[sql.Identifier]) -> None:
    async with postgres.connected(url, database=database) as link:
        while waiting:
            await link.rows(sql.SQL("analyze {}").format(waiting.popleft()))


async def _swap(link: Link, url: str, name: str, target: Target) -> str | None:
    """Give the new database its name, in one transaction; return where the old one is now."""
    old = (
        f"{target.database.encode()[:45].decode('utf-8', 'ignore')}__before_{secrets.token_hex(4)}"
    )
    for attempt in range(1, _SWAPS + 1):
        try:
            async with link.transaction():
                if target.exists:
                    # Whoever is connected is sent away; whoever comes now waits for the rename.
                    await link.rows(
                        "select pg_terminate_backend(pid) from pg_stat_activity"
                        " where datname = %s and pid <> pg_backend_pid()",
                        [target.database],
                    )
                    await _rename(link, target.database, old)
                await _rename(link, name, target.database)
            break
        except Conflict:
            if attempt == _SWAPS:
                raise
    if not target.exists:
        return None
    if target.filled or await _objects(url, old):
        return old
    await link.rows(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(old)))
    return None


async def _rename(link: Link, before: str, after: str) -> None:
    await link.rows(
        sql.SQL("alter database {} rename to {}").format(
            sql.Identifier(before), sql.Identifier(after)
        )
    )
