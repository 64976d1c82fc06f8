"""Base backups: the whole cluster by pg_basebackup, streamed into every store like a dump.

With the log that the archive keeps (`archive`), one of these can be brought to any moment.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from datetime import datetime

import insight_cloud
from insight_cloud.backup import postgres
from insight_cloud.backup.archive import check_segments
from insight_cloud.backup.child import Child, access
from insight_cloud.backup.creation import packed, undone
from insight_cloud.backup.dump import Planned
from insight_cloud.backup.job import Job, Report
from insight_cloud.backup.manifest import Manifest, Part, new_id
from insight_cloud.backup.programs import Program
from insight_cloud.backup.staged import maintenance
from insight_cloud.backup.writer import Created, Writer
from insight_cloud.core.errors import Unavailable

__all__ = ["base"]

_START = re.compile(r"log start point: ([0-9A-F]+/[0-9A-F]+) on timeline (\d+)")
_END = re.compile(r"log end point: ([0-9A-F]+/[0-9A-F]+)")


async def base(job: Job, *, report: Report = lambda _: None) -> Created:
    """Copy the cluster into every store, and read it back from each.

    The role needs the right of replication. What the cluster changes meanwhile is in the
    archive, without which a base backup cannot be restored.

    Raises:
        as `create`; Refused also for a cluster with tablespaces, which one stream cannot hold.
    """
    async with maintenance(job.url) as link:
        server, _ = await postgres.server_of(link)
        await check_segments(link)
        size = int(await link.value("select sum(pg_database_size(oid)) from pg_database"))
    program = await job.programs.find("pg_basebackup", at_least=server.major, url=job.url)
    started = job.clock()
    writer = Writer(
        job,
        new_id(started, "base", secrets.token_hex(4)),
        kind="base",
        report=report,
        total_bytes=size,
    )
    try:
        await writer.begin()
        part, said = await _copy(job, writer, program, size)
        async with maintenance(job.url) as link:
            ended: datetime = await link.value("select clock_timestamp()")
        start, end = _found(_START, said), _found(_END, said)
        manifest = Manifest(
            id=writer.id,
            kind="base",
            snapshot_at=ended,
            started_at=started,
            finished_at=job.clock(),
            tool=f"insight-cloud {insight_cloud.__version__}",
            dumped_by=str(program),
            encryption=await asyncio.to_thread(writer.envelope),
            server=server,
            start_lsn=start[1],
            end_lsn=end[1],
            timeline=int(start[2]),
            parts=(part,),
        )
        await writer.publish(manifest)
    except BaseException:
        await undone(writer)
        raise
    await writer.tidy()
    return Created(manifest, writer.live, writer.failures, tuple(writer.cleaned))


async def _copy(job: Job, writer: Writer, program: Program, size: int) -> tuple[Part, str]:
    words = [
        "--pgdata=-",
        "--format=tar",
        "--wal-method=fetch",  # so that it can be started even without the archive
        "--checkpoint=fast",
        "--manifest-checksums=SHA256",
        "--no-password",
        "--verbose",
    ]
    packer = writer.packer("base")
    with access(job.url) as reach:
        words.append(f"--dbname={reach.argument}")
        async with Child(program.path, words, reach, stdout=True) as child:
            planned = Planned("base", "base", bytes=size)
            return await writer.part(planned, packed(child, packer), packer), child.said


def _found(pattern: re.Pattern[str], said: str) -> re.Match[str]:
    found = pattern.search(said)
    if found is None:
        raise Unavailable("pg_basebackup did not say where in the log its copy begins and ends")
    return found
