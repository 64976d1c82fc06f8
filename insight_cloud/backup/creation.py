"""Making a backup: one snapshot of the database, dumped in parts side by side."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator

import msgspec

import insight_cloud
from insight_cloud.backup import dump
from insight_cloud.backup.child import Access, Child, access, output
from insight_cloud.backup.dump import Planned
from insight_cloud.backup.job import Job, Report
from insight_cloud.backup.manifest import Kind, Manifest, Part, Table, Type, new_id
from insight_cloud.backup.packing import Packer
from insight_cloud.backup.postgres import Snapshot, alone, frozen
from insight_cloud.backup.programs import Program
from insight_cloud.backup.tasks import both, together
from insight_cloud.backup.writer import Created, Writer
from insight_cloud.core.errors import Conflict

__all__ = ["create", "packed", "undone"]

_ATTEMPTS = 3


async def create(
    job: Job,
    type_: Type = "manual",
    *,
    plain: bool = False,
    digests: bool = False,
    wait_seconds: float = 0.0,
    report: Report = lambda _: None,
) -> Created:
    """Back the database up into every store, and return when it was read back from each.

    `plain` makes one file of SQL, `gzip -9`. `digests` adds a hash of every table's rows to the
    manifest, which costs about as much as the dump. When the definition of a table changes
    under the dump, it begins anew with a new snapshot, twice at most.

    Raises:
        Conflict: another backup of this database runs, and has not ended after `wait_seconds`;
            or its tables keep changing.
        Unavailable, Refused, Corrupt: the database, or every one of the stores; nothing is
            listed then. When only some stores fail, they are in the result.
    """
    kind: Kind = "plain" if plain else "logical"
    async with alone(job.url, wait_seconds=wait_seconds):
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return await _attempt(job, type_, kind, digests=digests, report=report)
            except Conflict:
                if attempt == _ATTEMPTS:
                    raise
    raise AssertionError  # the loop returns or raises


async def _attempt(job: Job, type_: Type, kind: Kind, *, digests: bool, report: Report) -> Created:
    async with frozen(job.url, lock_seconds=job.lock_seconds) as snapshot:
        program = await job.programs.find(
            "pg_dump", at_least=snapshot.facts.server.major, url=job.url
        )
        started = job.clock()
        writer = Writer(
            job,
            new_id(started, type_, secrets.token_hex(4)),
            kind=kind,
            report=report,
            total_bytes=sum(table.bytes for table in snapshot.facts.tables),
        )
        try:
            await writer.begin()
            parts, tables = await both(
                _dump(job, writer, snapshot, program),
                _count(snapshot, digests=digests),
            )
            facts = snapshot.facts
            manifest = Manifest(
                id=writer.id,
                kind=kind,
                type=type_,
                snapshot_at=facts.at,
                started_at=started,
                finished_at=job.clock(),
                tool=f"insight-cloud {insight_cloud.__version__}",
                dumped_by=str(program),
                compression=writer.compression,
                encryption=await asyncio.to_thread(writer.envelope),
                server=facts.server,
                start_lsn=facts.lsn,
                parts=tuple(parts),
                tables=tuple(tables),
                extensions=facts.extensions,
                roles=facts.roles,
                tablespaces=facts.tablespaces,
                large_objects=facts.large_objects,
            )
            await writer.publish(manifest)
        except BaseException:
            await undone(writer)
            raise
        await writer.tidy()
        return Created(manifest, writer.live, writer.failures, tuple(writer.cleaned))


async def undone(writer: Writer) -> None:
    """Remove what was written, also when the person who waits presses Ctrl-C once more."""
    undoing = asyncio.ensure_future(writer.abandon())
    while not undoing.done():
        try:
            await asyncio.shield(undoing)
        except asyncio.CancelledError:
            continue


async def _count(snapshot: Snapshot, *, digests: bool) -> list[Table]:
    """In the snapshot's own connection, while the dump goes on beside it."""
    facts = snapshot.facts
    own = [table for table in facts.tables if not table.extension]
    return [await snapshot.count(table, digest=digests) for table in own]


async def _dump(job: Job, writer: Writer, snapshot: Snapshot, program: Program) -> list[Part]:
    tables = snapshot.facts.tables
    planned = (
        dump.plan_plain(tables)
        if writer.kind == "plain"
        else dump.plan(tables, own_bytes=job.shard_bytes)
    )
    gate = asyncio.Semaphore(job.parallel)
    with access(job.url) as reach:

        async def one(part: Planned) -> Part:
            words = dump.arguments(
                part,
                program=program,
                connection=reach.argument,
                snapshot=snapshot.id,
                lock_seconds=job.lock_seconds,
            )
            async with gate:
                return await _part(writer, part, program, words, reach)

        # The largest are started first: nothing long is left alone at the end.
        order = sorted(planned, key=lambda part: -part.bytes)
        made = {part.name: part for part in await together(*(one(part) for part in order))}
    properties = await _properties(writer, snapshot)
    return [properties, *(made[part.name] for part in planned)]


async def _part(
    writer: Writer, part: Planned, program: Program, words: list[str], reach: Access
) -> Part:
    packer = writer.packer(part.name)
    async with Child(program.path, words, reach, stdout=True) as child:
        return await writer.part(part, packed(child, packer), packer)


async def packed(child: Child, packer: Packer) -> AsyncIterator[bytes]:
    """The packed output; it ends well only if the program did."""
    async for piece in output(child, packer.update):
        yield piece
    status = await child.finish()
    if status != 0:
        raise child.failure(status)
    yield packer.finish()


async def _properties(writer: Writer, snapshot: Snapshot) -> Part:
    """What belongs to the database itself, as a small part: it may hold people's secrets."""
    packer = writer.packer("database")
    body = msgspec.json.encode(snapshot.facts.properties)

    async def source() -> AsyncIterator[bytes]:
        yield packer.update(body) + packer.finish()

    return await writer.part(Planned("database", "database"), source(), packer)
