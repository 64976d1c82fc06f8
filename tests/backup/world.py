"""A small database that has some of everything, and a way to say that two databases are equal."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from insight_cloud.backup import Catalogue, Held, Identity, Job, Lock, Opened, Programs, opened
from insight_cloud.backup.child import Child, access
from insight_cloud.backup.crypto import new_identity
from insight_cloud.core.storage import Store
from insight_cloud.core.storage.disk import Disk
from insight_cloud.database import embedded
from tests import postgres

__all__ = [
    "IDENTITY",
    "LOCK",
    "SECRET",
    "Picture",
    "databases",
    "execute",
    "folder",
    "job_for",
    "make_rich",
    "newest",
    "picture",
    "programs",
    "rich",
    "value",
]

SECRET, _PUBLIC = new_identity()
IDENTITY = Identity(SECRET)
LOCK = Lock((_PUBLIC,))
SHARD_BYTES = 32 * 1024

_RICH = Path(__file__).with_name("rich.sql")


async def execute(url: str, *statements: LiteralString | sql.Composed | bytes) -> None:
    """Run statements, each on its own."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        for statement in statements:
            await connection.execute(statement)


async def value(url: str, query: LiteralString, parameters: Sequence[Any] = ()) -> Any:
    """The first column of the first row."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        row = await (await connection.execute(query, parameters or None)).fetchone()
    return None if row is None else row[0]


async def databases(url: str) -> set[str]:
    """The names of all databases of the server."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        rows = await (await connection.execute("select datname from pg_database")).fetchall()
    return {row[0] for row in rows}


async def make_rich(url: str) -> None:
    """Fill an empty database with some of everything."""
    await execute(url, _RICH.read_bytes())


@asynccontextmanager
async def rich(url: str) -> AsyncIterator[str]:
    """A new database on the server of `url` that has some of everything."""
    async with postgres.database(url) as made:
        await make_rich(made)
        yield made


def programs() -> Programs:
    """PostgreSQL's programs: of the system, and of the wheel."""
    return Programs(plain=(embedded.binaries(),))


def job_for(url: str, tmp_path: Path) -> Job:
    """A job with an encrypted store in a folder."""
    return Job(
        "shop",
        url,
        (folder(tmp_path / "store"),),
        programs=programs(),
        lock=LOCK,
        identity=IDENTITY,
        shard_bytes=SHARD_BYTES,
        parallel=2,
    )


def folder(path: Path) -> Disk:
    """A directory as a store."""
    return Disk(path, private=True)


def everything_in(job: Job) -> bytes:
    """All bytes of all objects in the job's first store, a folder."""
    root = Path(job.stores[0].root)  # type: ignore[attr-defined]
    return b"".join(path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file())


async def newest(job: Job, store: Store | None = None) -> tuple[Held, Opened]:
    """The newest good backup in a store, opened."""
    catalogue = Catalogue(store or job.stores[0], job.name)
    held = (await catalogue.read()).newest_good()
    return held, await opened(catalogue, held.id, job.identity)


@dataclass(frozen=True)
class Picture:
    """All that must be equal in two databases."""

    schema: str
    tables: dict[str, tuple[int, str]]
    sequences: dict[str, tuple[int | None, int]]
    large_objects: dict[int, str]
    extensions: dict[str, str]


async def picture(url: str, *, dump_with: int) -> Picture:
    """Look at a database: its definitions as pg_dump of version `dump_with` writes them, the
    rows of every table by an independent hash, sequences, large objects, extensions."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute("set timezone = 'UTC'")
        names = await _rows(connection, _NAMES)
        return Picture(
            schema=await _schema(url, dump_with),
            tables={f"{s}.{t}": await _content(connection, s, t) for s, t in names},
            sequences={
                name: (last, step) for name, last, step in await _rows(connection, _SEQUENCES)
            },
            large_objects={
                oid: hashlib.sha256(data).hexdigest()
                for oid, data in await _rows(connection, _OBJECTS)
            },
            extensions=dict(
                await _rows(connection, "select extname, extversion from pg_extension")
            ),
        )


_NAMES: LiteralString = """
select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where c.relkind in ('r', 'm') and n.nspname not in ('pg_catalog', 'information_schema')
   and n.nspname !~ '^pg_'
"""
_SEQUENCES: LiteralString = """
select schemaname || '.' || sequencename, last_value, increment_by from pg_sequences
"""
_OBJECTS: LiteralString = "select oid::bigint, lo_get(oid) from pg_largeobject_metadata"


async def _rows(connection: psycopg.AsyncConnection[Any], query: LiteralString) -> list[Any]:
    return await (await connection.execute(query)).fetchall()


async def _content(
    connection: psycopg.AsyncConnection[Any], schema: str, table: str
) -> tuple[int, str]:
    """Rows and a hash of them in sorted order: another way than the program's own."""
    name = sql.Identifier(schema, table)
    query = sql.SQL("copy (select x::text from only {} x) to stdout").format(name)
    lines = []
    async with connection.cursor().copy(query) as copy:
        async for block in copy:
            lines += bytes(block).splitlines()
    lines.sort()
    return len(lines), hashlib.sha256(b"\n".join(lines)).hexdigest()


async def copy(source: str, target: str) -> None:
    """Copy a database by the official way: pg_dump piped to psql, both of version 18."""
    dumped = (await _dump(source, 18, "--no-statistics")).encode()
    words = ["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--output=/dev/null"]
    with access(target) as reach:
        command = [f"--dbname={reach.argument}", *words]
        async with Child(embedded.binaries() / "psql", command, reach, stdin=True) as child:
            await asyncio.to_thread(child.write, dumped)
            child.end_input()
            assert await child.finish() == 0, child.said


async def _schema(url: str, version: int) -> str:
    lines = (await _dump(url, version, "--schema-only")).splitlines()
    # A random word that belongs to the one dump, and the versions of server and program.
    return "\n".join(
        line for line in lines if not line.startswith(("\\restrict", "\\unrestrict", "-- Dumped"))
    )


async def _dump(url: str, version: int, *words: str) -> str:
    program = await programs().find("pg_dump", at_least=version, url=url)
    out = bytearray()
    buffer = bytearray(65536)
    with access(url) as reach:
        command = [f"--dbname={reach.argument}", "--no-password", *words]
        async with Child(program.path, command, reach, stdout=True) as child:
            while count := child.read_into(buffer):
                out += buffer[:count]
            assert await child.finish() == 0, child.said
    return out.decode()
