"""A throwaway PostgreSQL 18 that believes it is the database that is looked at.

It gets the schema and the planner's statistics by `pg_dump --no-data --statistics`, a few
kilobytes. Tables stay empty, but their files are made as long as the real ones, without taking
space (`ftruncate`): the planner reads the length of the file. So every plan is that of the full
tables, candidates are created in milliseconds, and nothing is asked of the real server but one
dump of its catalogue. It needs no extension there and works for managed databases.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from insight_cloud.core import process
from insight_cloud.core.errors import InsightError, Refused, Unavailable
from insight_cloud.tuning.advisor import whatif
from insight_cloud.tuning.advisor.accesses import indexes_used
from insight_cloud.tuning.advisor.candidates import Candidate, Columns
from insight_cloud.tuning.facts import quoted
from insight_cloud.tuning.postgres import Link, connected, environment

__all__ = ["Scratch", "Server", "Shadow", "opened"]

_SEGMENT_BYTES = 1024**3
_PAGE = 8192
_MOST_BYTES = 512 * 1024 * 1024
_DUMP_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Scratch:
    """A PostgreSQL 18 of our own: its superuser's URL, data directory and programs."""

    url: str
    data: Path
    programs: Path


Server = Callable[[], AbstractAsyncContextManager[Scratch]]


class Shadow:
    """Candidates are real indexes here, on empty tables; hidden ones are marked invalid."""

    name = "shadow"

    def __init__(
        self, scratch: Scratch, url: str, collation: str, settings: Mapping[str, str]
    ) -> None:
        self._scratch = scratch
        self._url = url
        self._settings = settings
        self.collation = collation
        self._columns: Columns = {}
        self._sizes: dict[int, tuple[int, float, int]] = {}
        self._rows: dict[tuple[str, str], float] = {}
        self._made: dict[Candidate, int] = {}
        self._shown: frozenset[Candidate] = frozenset()
        self._connection: AbstractAsyncContextManager[Link] | None = None
        self._link: Link | None = None
        self.missing: tuple[str, ...] = ()
        """Tables that could not be made here: they use types of extensions we do not have."""

    async def fill(self, dump: bytes, titles: Iterable[str], columns: Columns) -> None:
        """Take the schema and statistics of the real database in."""
        self._columns = columns
        outcome = await process.run(
            [self._scratch.programs / "psql", "-X", "-q", "-d", self._url, "-f", "-"],
            timeout_seconds=_DUMP_SECONDS,
            stdin=dump,
        )
        if outcome.status != 0:
            raise Unavailable(f"the shadow database cannot be filled: {outcome.stderr_tail}")
        link = await self._reconnected()
        here = {row["title"] for row in await link.rows(_TABLES)}
        self.missing = tuple(sorted(set(titles) - here))
        for row in await link.rows(_SIZES):
            self._sizes[row["oid"]] = (row["pages"], row["rows"], row["visible"])
        for row in await link.rows(_ROWS):
            self._rows[row["schema"], row["table"]] = max(0.0, row["rows"])
        await self._stretch()

    async def offer(self, candidates: Iterable[Candidate]) -> dict[Candidate, int]:
        """Create each on the empty table, then let tables and indexes seem full again."""
        wanted = [one for one in candidates if one not in self._made]
        await self._shrink()
        link = await self._reconnected()
        for candidate in wanted:
            await self._create(link, candidate)
        await self._stretch()
        sizes = {}
        for candidate in wanted:
            if candidate in self._made:
                sizes[candidate] = await self._resize(candidate)
        await self._stretch()
        link = await self._reconnected()
        await link.rows(_SHOW, [[], list(self._made.values())])
        self._shown = frozenset()
        return sizes

    async def show(self, chosen: frozenset[Candidate]) -> None:
        """Mark what is to be seen valid, and the rest invalid."""
        changed = [self._made[one] for one in self._shown ^ chosen]
        if changed:
            await self._open().rows(_SHOW, [[self._made[one] for one in chosen], changed])
        self._shown = chosen

    async def explain(self, statement: str) -> dict[str, Any]:
        """As the interface says."""
        return await whatif.explain(self._open(), statement)

    def used(self, plan: Mapping[str, Any], chosen: Iterable[Candidate]) -> set[Candidate]:
        """By their names, which are those of the real ones to be."""
        names = indexes_used(plan)
        return {one for one in chosen if one.name in names}

    async def close(self) -> None:
        """End the connection."""
        if self._connection is not None:
            await self._connection.__aexit__(None, None, None)
            self._connection = None

    def _open(self) -> Link:
        assert self._link is not None  # noqa: S101 - `fill` has connected
        return self._link

    async def _reconnected(self) -> Link:
        """A new connection: an old one remembers how many files a table has."""
        await self.close()
        self._connection = connected(self._url, settings=self._settings)
        self._link = await self._connection.__aenter__()
        return self._link

    async def _create(self, link: Link, candidate: Candidate) -> None:
        statement = f"create index {quoted(candidate.name)} {candidate.on}"
        if await whatif.attempt(link, statement) is not None:
            return  # an expression that no index can be on, or a type without such an order
        oid = await link.value("select to_regclass(%s)::oid::bigint", [candidate.title])
        if isinstance(oid, int):
            self._made[candidate] = oid

    async def _resize(self, candidate: Candidate) -> int:
        link = self._open()
        table = (candidate.schema, candidate.table)
        count = self._rows.get(table, 0.0)
        if candidate.predicate:
            part = f"select 1 from {quoted(*table)} where {candidate.predicate}"  # noqa: S608 - names and a condition of the planner's own
            plan = await whatif.explain(link, part)
            count = float(plan["Plan Rows"])
        size = whatif.size_bytes(candidate, self._columns.get(table, {}), count)
        self._sizes[self._made[candidate]] = (-(-size // _PAGE), count, 0)
        return size

    async def _shrink(self) -> None:
        link = self._open()
        for path, _ in await self._files(link):
            _cut(path, 0)

    async def _stretch(self) -> None:
        link = await self._reconnected()
        for path, oid in await self._files(link, everything=True):
            pages = self._sizes.get(oid, (0, 0.0, 0))[0]
            if pages:
                _cut(path, pages * _PAGE)
        # Building an index on an empty table has told the planner that it is empty.
        for oid, (pages, count, visible) in self._sizes.items():
            await link.rows(_TELL, [pages, count, visible, oid])

    async def _files(self, link: Link, *, everything: bool = False) -> list[tuple[Path, int]]:
        kinds = ["r", "m", "i"] if everything else ["r", "m"]
        return [
            (self._scratch.data / row["path"], row["oid"])
            for row in await link.rows(_FILES, [kinds])
        ]


def _cut(path: Path, size: int) -> None:
    """Make a relation's files together `size` bytes long; what is added takes no space."""
    full, rest = divmod(size, _SEGMENT_BYTES)
    lengths = [_SEGMENT_BYTES] * full + [rest]
    for number, length in enumerate(lengths):
        segment = path if number == 0 else path.with_name(f"{path.name}.{number}")
        if not segment.exists():
            segment.touch(mode=0o600)
            owner = path.stat()
            os.chown(segment, owner.st_uid, owner.st_gid)
        # An index keeps its first page, which says what it is.
        if length > segment.stat().st_size or size == 0:
            os.truncate(segment, length)
    for number in range(len(lengths), len(lengths) + 64):
        segment = path.with_name(f"{path.name}.{number}")
        if not segment.exists():
            return
        segment.unlink()


@asynccontextmanager
async def opened(url: str, server: Server) -> AsyncIterator[Shadow]:
    """Start a server, and make it the shadow of the database at `url`.

    Raises:
        Refused: we may not read the tables' definitions and statistics.
        Unavailable: the throwaway server does not start.
    """
    async with connected(url) as link:
        collation = str(
            await link.value(
                "select datcollate from pg_database where datname = current_database()"
            )
        )
        columns = await whatif.columns_of(link)
        titles = [row["title"] for row in await link.rows(_TABLES)]
        # What is dear there is dear here.
        settings = {row["name"]: row["value"] for row in await link.rows(_COSTS)}
    async with server() as scratch:
        dump = await _dump(url, scratch.programs)
        name = f"shadow_{secrets.token_hex(4)}"
        await _database(scratch, name, collation)
        there = urlunsplit(urlsplit(scratch.url)._replace(path=f"/{name}"))
        shadow = Shadow(scratch, there, collation, settings)
        try:
            await shadow.fill(dump, titles, columns)
            yield shadow
        finally:
            await shadow.close()


async def _dump(url: str, programs: Path) -> bytes:
    """The schema and the statistics; the password goes by the environment, not the arguments."""
    outcome = await process.run(
        [
            programs / "pg_dump", "--no-data", "--statistics", "--no-owner", "--no-privileges",
            "--no-publications", "--no-subscriptions", "--no-security-labels", "--no-comments",
            "--lock-wait-timeout=2000",
        ],
        timeout_seconds=_DUMP_SECONDS,
        environment=environment(url),
        output_bytes=_MOST_BYTES,
    )  # fmt: skip
    if outcome.status != 0:
        raise Refused(
            f"the schema and its statistics cannot be read: {outcome.stderr_tail}; the advisor"
            " needs select on the tables, or pg_read_all_data"
        )
    return outcome.stdout


async def _database(scratch: Scratch, name: str, collation: str) -> None:
    plain = collation in {"C", "POSIX"}
    # Any order but that of C finds no prefixes, and C.UTF-8 of the system is one of those.
    locale = "C" if plain else "C.UTF-8"
    async with connected(scratch.url) as link:
        try:
            await link.rows(
                f"create database {name} template template0 encoding 'UTF8'"
                f" locale_provider libc locale '{locale}'"
            )
        except InsightError as error:
            raise Unavailable(f"the shadow database cannot be made: {error}") from error


_COSTS = """
select name, current_setting(name) as value from pg_settings
where name in ('random_page_cost', 'seq_page_cost', 'cpu_tuple_cost', 'cpu_index_tuple_cost',
    'cpu_operator_cost', 'effective_cache_size', 'work_mem', 'hash_mem_multiplier',
    'max_parallel_workers_per_gather', 'parallel_setup_cost', 'parallel_tuple_cost',
    'min_parallel_table_scan_size', 'min_parallel_index_scan_size',
    'default_statistics_target', 'from_collapse_limit', 'join_collapse_limit')
"""
_OURS = "n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_(toast|temp)'"
_TABLES = f"""
select quote_ident(n.nspname) || '.' || quote_ident(c.relname) as title
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'm', 'p') and c.relpersistence <> 't' and {_OURS}
"""  # noqa: S608 - put together from our own constants
_SIZES = f"""
select c.oid::bigint as oid, c.relpages as pages, c.reltuples::float8 as rows,
       c.relallvisible as visible
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'm', 'i') and {_OURS} and c.relpages > 0
"""  # noqa: S608 - put together from our own constants
_ROWS = f"""
select n.nspname as schema, c.relname as table, c.reltuples::float8 as rows
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'm', 'p') and {_OURS}
"""  # noqa: S608 - put together from our own constants
_FILES = f"""
select pg_relation_filepath(c.oid) as path, c.oid::bigint as oid
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind = any(%s) and {_OURS}
"""  # noqa: S608 - put together from our own constants
_TELL = """
update pg_class set relpages = %s, reltuples = %s, relallvisible = %s where oid = %s::bigint::oid
"""
_SHOW = """
update pg_index set indisvalid = indexrelid = any(%s::bigint[]::oid[])
where indexrelid = any(%s::bigint[]::oid[])
"""
