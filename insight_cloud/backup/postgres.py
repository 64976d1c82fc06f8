"""Everything that is asked of a PostgreSQL server by SQL: snapshots, facts, counts, databases."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from insight_cloud.backup.child import parameters
from insight_cloud.backup.manifest import Extension, Server, Table
from insight_cloud.core.errors import Conflict, InsightError, Missing, Refused, Unavailable

__all__ = ["Facts", "Link", "Located", "Snapshot", "connected", "frozen"]

_LOCK_KEY = 0x696E7369676874  # "insight": one backup of a database at a time
_LOCK_SECONDS = 2.0
_LOCK_PAUSE_SECONDS = 0.1
_SETTINGS = (
    # Text of values must not depend on who asks; nor may a time limit end a long count.
    "set statement_timeout = 0",
    "set lock_timeout = 0",
    "set idle_in_transaction_session_timeout = 0",
    "set timezone = 'UTC'",
    "set datestyle = 'ISO, YMD'",
    "set intervalstyle = 'iso_8601'",
    "set extra_float_digits = 1",
    "set bytea_output = 'hex'",
    "set xmloption = 'content'",
    "set search_path = pg_catalog",
    "set row_security = off",
    "set client_encoding = 'UTF8'",
)


class Link:
    """A connection of ours, whose errors are ours."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._connection = connection

    async def rows(
        self, query: LiteralString | sql.Composed, parameters: Sequence[Any] = ()
    ) -> list[dict[str, Any]]:
        """Run a statement; return its rows by column name."""
        with translated():
            cursor = self._connection.cursor(row_factory=dict_row)
            async with cursor:
                await cursor.execute(query, parameters or None)
                return await cursor.fetchall() if cursor.description else []

    async def value(
        self, query: LiteralString | sql.Composed, parameters: Sequence[Any] = ()
    ) -> Any:
        """Run a statement; return the first column of its first row, None without one."""
        rows = await self.rows(query, parameters)
        return next(iter(rows[0].values())) if rows else None

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """All or nothing, also of creating and renaming."""
        with translated():
            async with self._connection.transaction():
                yield


@contextlib.contextmanager
def translated() -> Any:
    """Turn psycopg's errors into ours."""
    try:
        yield
    except psycopg.Error as error:
        raise _explain(error) from error


def _explain(error: psycopg.Error) -> InsightError:
    said = (error.diag.message_primary or str(error).strip() or "no reason given")[:500]
    match error:
        case psycopg.errors.InsufficientPrivilege():
            return Refused(f"the database refuses: {said}")
        case psycopg.errors.InvalidPassword() | psycopg.errors.InvalidAuthorizationSpecification():
            return Refused(f"the database does not let us in: {said}")
        case (
            psycopg.errors.LockNotAvailable()
            | psycopg.errors.ObjectInUse()
            | psycopg.errors.UndefinedTable()
            | psycopg.errors.DuplicateDatabase()
            | psycopg.errors.DeadlockDetected()
            | psycopg.errors.InvalidCatalogName()
        ):
            return Conflict(said)
    # Before a connection is made there is no code, only the server's words.
    if "does not exist" in said and "database" in said:
        return Missing(f"{said}: name another one")
    if any(words in said for words in _NOT_LET_IN):
        return Refused(f"the database does not let us in: {said}")
    return Unavailable(f"the database does not answer: {said}; try again")


_NOT_LET_IN = ("authentication failed", "no pg_hba.conf entry", "does not exist", "no password")


@asynccontextmanager
async def connected(url: str, *, database: str | None = None) -> AsyncIterator[Link]:
    """A connection in autocommit, with settings that make text comparable.

    Raises:
        Unavailable: the server cannot be reached.
        Refused: it does not let us in.
    """
    changed = {} if database is None else {"dbname": database}
    found = {"application_name": "insight backup", "connect_timeout": "10", **parameters(url)}
    with translated():
        connection = await psycopg.AsyncConnection.connect(
            **{**found, **changed, "autocommit": True}  # type: ignore[arg-type]
        )
    try:
        with translated():
            for setting in _SETTINGS:
                await connection.execute(setting)
        yield Link(connection)
    finally:
        with contextlib.suppress(psycopg.Error):
            await connection.close()


@dataclass(frozen=True, slots=True)
class Located:
    """A table as it is found: what the plan of a dump needs to know."""

    schema: str
    name: str
    bytes: int
    extension: bool

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def identifier(self) -> sql.Identifier:
        """For statements."""
        return sql.Identifier(self.schema, self.name)


@dataclass(frozen=True, slots=True)
class Facts:
    """What belongs to a database beside its content."""

    server: Server
    at: datetime
    lsn: str | None
    tables: tuple[Located, ...]
    extensions: tuple[Extension, ...]
    roles: tuple[str, ...]
    tablespaces: tuple[str, ...]
    large_objects: int
    properties: Mapping[str, Any]
    """Owner, comment, privileges and settings of the database: some people keep secrets in
    settings, so this goes into a part, never into the manifest."""


class Snapshot:
    """A state of the database that does not change while it is open; `id` lets others join."""

    def __init__(self, link: Link, snapshot: str, facts: Facts) -> None:
        self._link = link
        self.id = snapshot
        self.facts = facts

    async def count(self, table: Located, *, digest: bool) -> Table:
        """Count the rows of one table, and hash them when asked."""
        return await count(self._link, table.schema, table.name, digest=digest)


async def count(link: Link, schema: str, name: str, *, digest: bool) -> Table:
    """Count a table's own rows (not those of its children), and hash them when asked.

    The hash does not depend on their order: the sum of the first eight bytes of each row's MD5.
    It tells equal from different by accident; it is no proof against an attacker.
    """
    hashed = sql.SQL(
        "coalesce(sum(('x' || substr(md5({row}::text), 1, 16))::bit(64)::bigint::numeric), 0)::text"
        if digest
        else "null"
    ).format(row=sql.Identifier("insight row"))
    query = sql.SQL(
        "select count(*) as rows, {hashed} as digest from only {table} as {row}"
    ).format(hashed=hashed, table=sql.Identifier(schema, name), row=sql.Identifier("insight row"))
    (found,) = await link.rows(query)
    return Table(schema=schema, name=name, rows=found["rows"], digest=found["digest"])


@asynccontextmanager
async def alone(url: str, *, wait_seconds: float = 0.0) -> AsyncIterator[None]:
    """Be the only one who backs this database up. The lock ends with us, however we end.

    Raises:
        Conflict: somebody else does, and does so for longer than `wait_seconds`.
    """
    async with connected(url) as link:
        loop = asyncio.get_running_loop()
        # The server takes a moment to notice that the one before us is gone.
        limit = loop.time() + max(_LOCK_SECONDS, wait_seconds)
        while not await link.value("select pg_try_advisory_lock(%s)", [_LOCK_KEY]):
            if loop.time() > limit:
                raise Conflict("another backup of this database is running: wait for its end")
            await asyncio.sleep(_LOCK_PAUSE_SECONDS)
        yield
        with contextlib.suppress(InsightError):  # the lock has ended with the connection
            await link.value("select pg_advisory_unlock(%s)", [_LOCK_KEY])


@asynccontextmanager
async def frozen(url: str, *, lock_seconds: float) -> AsyncIterator[Snapshot]:
    """Hold one state of the database, and keep its tables from being dropped meanwhile.

    Raises:
        Conflict: a table is gone since, or somebody holds it for longer than `lock_seconds`.
    """
    async with connected(url) as link:
        await link.rows("begin isolation level repeatable read read only")
        snapshot = str(await link.value("select pg_export_snapshot()"))
        # Also asking for the size of a table waits for who is changing it.
        limit = f"{int(lock_seconds * 1000)}ms"
        await link.value("select set_config('lock_timeout', %s, true)", [limit])
        found = await facts(link)
        await _hold(link, found.tables)
        yield Snapshot(link, snapshot, found)


async def _hold(link: Link, tables: Sequence[Located]) -> None:
    for start in range(0, len(tables), 500):
        names = sql.SQL(", ").join(table.identifier for table in tables[start : start + 500])
        await link.rows(sql.SQL("lock table only {} in access share mode").format(names))


async def facts(link: Link) -> Facts:
    """Read everything that the manifest says about a database."""
    server, at = await server_of(link)
    return Facts(
        server=server,
        at=at,
        lsn=await _lsn(link),
        tables=tuple(Located(**row) for row in await link.rows(_TABLES)),
        extensions=tuple(Extension(**row) for row in await link.rows(_EXTENSIONS)),
        roles=tuple(row["name"] for row in await link.rows(_ROLES)),
        tablespaces=tuple(row["name"] for row in await link.rows(_TABLESPACES)),
        large_objects=await link.value("select count(*) from pg_largeobject_metadata"),
        properties=await _properties(link),
    )


async def server_of(link: Link) -> tuple[Server, datetime]:
    """Describe the server and the database, and say what time its clock shows."""
    (row,) = await link.rows(_SERVER)
    number = row["version_number"]
    locale = "daticulocale" if 150000 <= number < 170000 else "datlocale"
    known = number >= 150000
    (more,) = await link.rows(
        sql.SQL(
            "select {provider} as provider, {locale} as locale from pg_database"
            " where datname = current_database()"
        ).format(
            provider=sql.SQL("datlocprovider::text" if known else "'c'"),
            locale=sql.Identifier(locale) if known else sql.SQL("null"),
        )
    )
    at = row.pop("at")
    return Server(**row, **more, system_identifier=await _identifier(link)), at


async def _identifier(link: Link) -> str | None:
    allowed = await link.value("select has_function_privilege('pg_control_system()', 'execute')")
    if not allowed:
        return None
    return str(await link.value("select system_identifier::text from pg_control_system()"))


async def _lsn(link: Link) -> str | None:
    return await link.value(  # type: ignore[no-any-return]
        "select (case when pg_is_in_recovery() then pg_last_wal_replay_lsn()"
        " else pg_current_wal_lsn() end)::text"
    )


async def _properties(link: Link) -> dict[str, Any]:
    (row,) = await link.rows(_DATABASE)
    return {
        **row,
        "settings": await link.rows(_DATABASE_SETTINGS),
        "grants": await link.rows(_DATABASE_GRANTS),
    }


async def tables(link: Link) -> tuple[Located, ...]:
    """The tables of a database, as a backup counts them."""
    return tuple(Located(**row) for row in await link.rows(_TABLES))


async def analysable(link: Link) -> list[sql.Identifier]:
    """What has statistics, the largest first."""
    return [sql.Identifier(row["schema"], row["name"]) for row in await link.rows(_ANALYSABLE)]


_ANALYSABLE: LiteralString = """
select n.nspname::text as schema, c.relname::text as name
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where c.relkind in ('r', 'm', 'p') and c.relpersistence <> 't'
   and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_toast'
 order by c.relpages desc, 1, 2
"""

_SERVER: LiteralString = """
select current_setting('server_version') as version,
       current_setting('server_version_num')::int as version_number,
       current_database()::text as database,
       pg_encoding_to_char(encoding)::text as encoding,
       datcollate::text as collate, datctype::text as ctype,
       pg_database_size(oid) as bytes,
       clock_timestamp() as at
  from pg_database where datname = current_database()
"""

# Own rows only: a partitioned table has none, and COPY takes none from its children.
_TABLES: LiteralString = """
select n.nspname::text as schema, c.relname::text as name, pg_table_size(c.oid) as bytes,
       exists (select from pg_depend d where d.classid = 'pg_class'::regclass
                  and d.objid = c.oid and d.deptype = 'e') as extension
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where c.relkind = 'r' and c.relpersistence <> 't'
   and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_toast'
 order by 1, 2
"""

_EXTENSIONS: LiteralString = """
select extname::text as name, extversion as version from pg_extension
 where extname <> 'plpgsql' order by 1
"""

_ROLES: LiteralString = """
select distinct r.rolname::text as name
  from pg_shdepend d join pg_roles r on r.oid = d.refobjid
  join pg_database b on b.datname = current_database()
 where d.refclassid = 'pg_authid'::regclass and r.rolname !~ '^pg_'
   and (d.dbid = b.oid or (d.classid = 'pg_database'::regclass and d.objid = b.oid))
 union select pg_get_userbyid(datdba)::text from pg_database where datname = current_database()
 order by 1
"""

_TABLESPACES: LiteralString = """
select distinct t.spcname::text as name from pg_class c join pg_tablespace t
    on t.oid = c.reltablespace where t.spcname !~ '^pg_' order by 1
"""

_DATABASE: LiteralString = """
select pg_get_userbyid(datdba)::text as owner, datconnlimit as connection_limit,
       shobj_description(oid, 'pg_database') as comment
  from pg_database where datname = current_database()
"""

_DATABASE_SETTINGS: LiteralString = """
select coalesce(r.rolname::text, '') as role, split_part(item, '=', 1) as name,
       substr(item, strpos(item, '=') + 1) as value
  from pg_db_role_setting s join pg_database b on b.oid = s.setdatabase
  left join pg_roles r on r.oid = s.setrole, unnest(s.setconfig) item
 where b.datname = current_database() order by 1, 2
"""

_DATABASE_GRANTS: LiteralString = """
select coalesce(r.rolname::text, '') as role, a.privilege_type::text as privilege,
       a.is_grantable as grantable
  from pg_database b, aclexplode(b.datacl) a left join pg_roles r on r.oid = a.grantee
 where b.datname = current_database() order by 1, 2
"""
