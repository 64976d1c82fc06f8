"""Loading a backup into an empty database of its own: read, proved, restored, compared."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
from psycopg import sql

from insight_cloud.backup import postgres
from insight_cloud.backup.catalogue import Catalogue
from insight_cloud.backup.child import Access, Child, access, in_thread
from insight_cloud.backup.crypto import DataKey, Identity
from insight_cloud.backup.job import Progress, Report
from insight_cloud.backup.manifest import Manifest, Part, authenticate
from insight_cloud.backup.packing import Unpacker
from insight_cloud.backup.postgres import Link
from insight_cloud.backup.programs import Program, Programs
from insight_cloud.backup.proving import prove
from insight_cloud.backup.tasks import together
from insight_cloud.core.errors import Corrupt, InsightError, Refused

__all__ = ["Opened", "apply_properties", "compare", "dump_major", "fill", "opened"]

_PROPERTIES_BYTES = 64 * 1024 * 1024
_INDEX_MEMORY = "256MB"
_TIMEOUT_SETTING_SINCE = 17


@dataclass(frozen=True)
class Opened:
    """A backup in one store that can be read: its key is open, its manifest is authentic."""

    catalogue: Catalogue
    manifest: Manifest
    key: DataKey | None

    def part_key(self, part: Part) -> bytes | None:
        """The key of one part, if the backup is encrypted."""
        return None if self.key is None else self.key.for_part(self.manifest.id, part.name)

    async def prove(self, parallel: int, report: Report = lambda _: None) -> None:
        """Read every part and hold it against the manifest, before anything is done with it.

        Raises:
            Corrupt: one is damaged or missing; the message names it.
        """
        gate = asyncio.Semaphore(parallel)
        seen = _Seen("verified", self.manifest.stored_bytes, report)

        async def one(part: Part) -> None:
            async with gate:
                stream = self.catalogue.stream(self.manifest, part)
                await prove(part, stream, self.catalogue.store.url, seen)

        await together(*(one(part) for part in self.manifest.parts))

    async def unpack(
        self,
        part: Part,
        sink: Callable[[bytes | memoryview], object],
        unblock: Callable[[], object],
        seen: Callable[[int], object] = lambda _: None,
    ) -> None:
        """Give a part's content to `sink`, in a thread; `seen` is told of the stored bytes.

        Raises:
            Corrupt: it is damaged; the sink may have been given a part of it.
        """
        unpacker = Unpacker(part, self.manifest.compression, sink, key=self.part_key(part))
        async for piece in self.catalogue.stream(self.manifest, part):
            await in_thread(partial(unpacker.update, piece), unblock=unblock)
            seen(len(piece))
        await in_thread(unpacker.finish, unblock=unblock)

    async def properties(self) -> dict[str, Any]:
        """What belongs to the database itself; empty for a backup that has no such part."""
        for part in self.manifest.parts:
            if part.content == "database":
                if part.raw_bytes > _PROPERTIES_BYTES:
                    raise Corrupt(f"part {part.name!r} is larger than it can be")
                body = bytearray()
                await self.unpack(part, body.extend, lambda: None)
                return msgspec.json.decode(bytes(body), type=dict[str, Any])
        return {}


class _Seen:
    """Adds up what several parts tell, for a progress."""

    def __init__(self, what: str, total: int, report: Report) -> None:
        self._what, self._total, self._report = what, total, report
        self._done = 0

    def __call__(self, count: int) -> None:
        self._done += count
        self._report(Progress(self._what, self._done, self._total))


async def opened(catalogue: Catalogue, backup_id: str, identity: Identity | None) -> Opened:
    """Open a backup: the manifest is read again, and proved to be from who holds the key.

    Raises:
        Missing: there is no such backup.
        Refused: it is encrypted, and the key is wrong or was not given.
        Corrupt: the manifest was changed.
    """
    manifest = await catalogue.manifest(backup_id)
    if manifest.encryption is None:
        return Opened(catalogue, manifest, None)
    if identity is None:
        raise Refused(f"{backup_id} is encrypted: name the identity file or the passphrase")
    key = await asyncio.to_thread(identity.open, manifest.encryption)
    authenticate(await catalogue.manifest_bytes(backup_id), key.for_manifest(backup_id))
    return Opened(catalogue, manifest, key)


async def fill(
    backup: Opened,
    url: str,
    database: str,
    *,
    programs: Programs,
    parallel: int,
    report: Report = lambda _: None,
) -> None:
    """Restore everything into `database`, which exists and is empty.

    Definitions first, then the data of all parts side by side, then indexes and constraints,
    several at once. The first error ends it.

    Raises:
        Corrupt: a part is damaged.
        Refused, Conflict, Unavailable: the server, with PostgreSQL's own words.
    """
    manifest = backup.manifest
    async with postgres.connected(url, database=database) as link:
        major = int(await link.value("select current_setting('server_version_num')::int")) // 10000
    name = "psql" if manifest.kind == "plain" else "pg_restore"
    wanted = max(major, dump_major(manifest))
    program = await programs.find(name, at_least=wanted, url=url)
    memory = f"-c maintenance_work_mem={_INDEX_MEMORY} -c synchronous_commit=off"
    with access(url, database=database, options=memory) as reach:
        seen = _Seen("restored", manifest.stored_bytes, report)
        restorer = _Restorer(backup, program, reach, major, parallel, seen)
        for content in ("pre-data", "data", "post-data", "plain"):
            if content == "post-data" and manifest.kind == "logical":
                report(Progress("building indexes"))
            await restorer.run(content)


def dump_major(manifest: Manifest) -> int:
    """The version of the program that wrote it: only one as new can read it."""
    return int(manifest.dumped_by.split()[-1].split(".")[0].split("b")[0].split("r")[0])


@dataclass
class _Restorer:
    backup: Opened
    program: Program
    reach: Access
    major: int
    parallel: int
    seen: _Seen

    async def run(self, content: str) -> None:
        """Restore all parts of one kind."""
        gate = asyncio.Semaphore(self.parallel)
        parts = [part for part in self.backup.manifest.parts if part.content == content]

        async def one(part: Part) -> None:
            async with gate:
                await self._restore(part)

        await together(*(one(part) for part in sorted(parts, key=lambda part: -part.raw_bytes)))

    async def _restore(self, part: Part) -> None:
        if part.content == "post-data":
            await self._from_file(part)
            return
        words = [f"--dbname={self.reach.argument}", "--no-password"]
        if part.content == "plain":
            words += ["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1"]
        else:
            words += self._strictness()
        async with Child(self.program.path, words, self.reach, stdin=True) as child:
            broken = False
            try:
                await self.backup.unpack(part, child.write, child.kill, self.seen)
                child.end_input()
            except BrokenPipeError:
                broken = True  # it has ended before its input did, and says why
            except InsightError:
                child.kill()  # the end of its input would let it believe that this was all
                raise
            status = await child.finish()
            self._judge(child, 1 if broken and status == 0 else status)

    async def _from_file(self, part: Part) -> None:
        """Several at once needs a file to seek in; this part has definitions only."""
        with tempfile.NamedTemporaryFile(prefix="insight-", suffix=".pgdump") as file:
            await self.backup.unpack(part, file.write, lambda: None)
            file.flush()
            words = [
                f"--dbname={self.reach.argument}",
                "--no-password",
                f"--jobs={self.parallel}",
                *self._strictness(),
                file.name,
            ]
            async with Child(self.program.path, words, self.reach) as child:
                self._judge(child, await child.finish())

    def _strictness(self) -> list[str]:
        return [] if self._tolerant() else ["--exit-on-error"]

    def _tolerant(self) -> bool:
        """A newer pg_restore sets what an older server does not know; it cannot be told not to."""
        return self.program.major >= _TIMEOUT_SETTING_SINCE > self.major

    def _judge(self, child: Child, status: int) -> None:
        if status == 0:
            return
        if status == 1 and self._tolerant() and _only_the_timeout(child.faults):
            return
        raise child.failure(status)


def _only_the_timeout(faults: set[str]) -> bool:
    """Whether every error was about `transaction_timeout`."""
    known = 'unrecognized configuration parameter "transaction_timeout"'
    return bool(faults) and all(known in line for line in faults)


async def compare(link: Link, manifest: Manifest) -> list[str]:
    """Count every table (and hash it, where the manifest has a hash); return what differs."""
    found = {(table.schema, table.name) for table in await postgres.tables(link)}
    problems = []
    for table in manifest.tables:
        if (table.schema, table.name) not in found:
            problems.append(f"table {table} is missing")
            continue
        digest = table.digest is not None
        there = await postgres.count(link, table.schema, table.name, digest=digest)
        if there.rows != table.rows:
            problems.append(f"table {table} has {there.rows} rows instead of {table.rows}")
        elif there.digest != table.digest:
            problems.append(f"table {table} has other rows than were backed up")
    return problems


async def apply_properties(
    link: Link, database: str, properties: Mapping[str, Any], roles: set[str]
) -> None:
    """Give a database its owner, comment, settings and privileges back, for roles that exist."""
    name = sql.Identifier(database)
    if properties.get("comment"):
        await link.rows(
            sql.SQL("comment on database {} is {}").format(name, sql.Literal(properties["comment"]))
        )
    for setting in properties.get("settings", []):
        await _set(link, name, setting, roles)
    grants = properties.get("grants", [])
    if grants:  # none means the usual ones
        await link.rows(sql.SQL("revoke all on database {} from public").format(name))
    for grant in grants:
        if grant["role"] == "" or grant["role"] in roles:
            await _grant(link, name, grant)
    if properties.get("connection_limit", -1) >= 0:
        limit = sql.Literal(properties["connection_limit"])
        await link.rows(sql.SQL("alter database {} connection limit {}").format(name, limit))
    if properties.get("owner") in roles:
        owner = sql.Identifier(properties["owner"])
        await link.rows(sql.SQL("alter database {} owner to {}").format(name, owner))


async def _set(
    link: Link, database: sql.Identifier, setting: Mapping[str, str], roles: set[str]
) -> None:
    if setting["role"] and setting["role"] not in roles:
        return
    whose = (
        sql.SQL("role {} in database {}").format(sql.Identifier(setting["role"]), database)
        if setting["role"]
        else sql.SQL("database {}").format(database)
    )
    name = sql.SQL(".").join(sql.Identifier(part) for part in setting["name"].split("."))
    # A list such as search_path is stored as it must be written; a quoted whole is another value.
    value = (
        sql.SQL(", ").join(
            sql.Literal(item.strip().strip('"')) for item in setting["value"].split(",")
        )
        if setting["name"] in _LISTS
        else sql.Literal(setting["value"])
    )
    await link.rows(sql.SQL("alter {} set {} = {}").format(whose, name, value))


_LISTS = {"search_path", "temp_tablespaces", "session_preload_libraries", "local_preload_libraries"}


async def _grant(link: Link, database: sql.Identifier, grant: Mapping[str, Any]) -> None:
    whom = sql.Identifier(grant["role"]) if grant["role"] else sql.SQL("public")
    options = sql.SQL(" with grant option" if grant["grantable"] else "")
    privilege = sql.SQL(_PRIVILEGES[grant["privilege"]])
    await link.rows(
        sql.SQL("grant {} on database {} to {}{}").format(privilege, database, whom, options)
    )


_PRIVILEGES = {"CREATE": "create", "CONNECT": "connect", "TEMPORARY": "temporary"}
