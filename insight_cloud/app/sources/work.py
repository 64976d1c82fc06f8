"""What a worker does with a source: fetch, analyse in the sandbox, take the findings in. Once.

The findings go the way of any upload. The transaction that stores them also ends the source and
its job, so whichever worker dies whenever: there is one analysis.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec

from insight_cloud.app import api, jobs
from insight_cloud.app.analyses import service as analyses
from insight_cloud.app.analyses.models import Upload
from insight_cloud.app.jobs import Job, Task
from insight_cloud.app.projects import service as projects
from insight_cloud.app.sources import clone, inside, service
from insight_cloud.app.sources.models import Step
from insight_cloud.core.errors import Conflict, InsightError, Invalid, Refused, Unavailable
from insight_cloud.database import Connection
from insight_cloud.database.statements import Statements
from insight_cloud.sandbox import Sandbox

__all__ = ["tasks", "working"]

log = logging.getLogger("insight.sources")

_STEPS_MOST = 60
_TOLD_MOST = 64 * 1024
_TELL_SECONDS = 0.5


def tasks(sandbox: Sandbox) -> Mapping[str, Task]:
    """What workers can do, by name."""

    async def analyse(context: api.Context, job: Job) -> None:
        await _analyse(context, job, sandbox)

    return {service.TASK: analyse}


@contextlib.asynccontextmanager
async def working(context: api.Context, sandbox: Sandbox, *, at_once: int) -> AsyncIterator[None]:
    """Analyse what is handed in until the block ends, and say of what was given up that it was."""
    ending = asyncio.create_task(_end_lost_for_ever(context))
    try:
        async with jobs.working(context, tasks(sandbox), at_once=at_once):
            yield
    finally:
        ending.cancel()
        await asyncio.gather(ending, return_exceptions=True)


async def _end_lost_for_ever(context: api.Context) -> None:
    while True:
        try:
            await service.end_lost(context)
        except InsightError as error:
            log.warning("sources.end_lost_failed: %s", error)
        await asyncio.sleep(context.settings.jobs.stalled_seconds)


@dataclass(frozen=True, slots=True)
class _Begun:
    """A source that is ours to do."""

    id: int
    slug: str
    kind: Literal["archive", "clone"]
    url: str
    ref: str
    strip: bool
    branch: str | None
    commit: str
    base: str | None
    base_commit: str
    pr: int | None
    author: str


async def _analyse(context: api.Context, job: Job, sandbox: Sandbox) -> None:
    begun = await context.pool.fetch_maybe(
        service.queries.begin,
        _Begun,
        id=job.arguments["source"],
        job_id=job.number,
        at=context.now(),
    )
    if begun is None:
        raise Conflict(f"source {job.arguments['source']} is not to be analysed any more")
    try:
        async with _telling(context, job, begun) as progress:
            await _done(context, job, begun, sandbox, progress)
    except Conflict:
        raise
    except Unavailable:
        if job.attempt + 1 < context.settings.jobs.tries:
            raise
        await _failed(context, job, begun, "the server was not able to; try again later")
    except InsightError as error:
        await _failed(context, job, begun, str(error))


async def _done(
    context: api.Context, job: Job, begun: _Begun, sandbox: Sandbox, progress: _Progress
) -> None:
    with tempfile.TemporaryDirectory(prefix="insight-source-") as folder:
        archive = Path(folder) / "archive"
        commit = await _brought(context, begun, sandbox, archive, progress)
        log, lines = await _analysed(context, begun, sandbox, archive, progress)
    project = await projects.of_work(context, begun.slug)
    upload = Upload(
        branch=begun.branch,
        commit=commit,
        base=begun.base,
        base_commit=begun.base_commit,
        pr=begun.pr,
        lines=lines,
    )

    async def also(db: Connection, number: int) -> None:
        await jobs.finish(db, job)
        await _write(db, job, begun, progress)
        await service.end(db, context, begun.id, "done", analysis=number, commit=commit)

    await analyses.ingest_for(context, begun.author, project, upload, log, also=also)


async def _failed(context: api.Context, job: Job, begun: _Begun, detail: str) -> None:
    async with context.pool.transaction() as db:
        await jobs.finish(db, job)
        await service.end(db, context, begun.id, "failed", detail, commit=begun.commit)


async def _brought(
    context: api.Context, begun: _Begun, sandbox: Sandbox, archive: Path, progress: _Progress
) -> str:
    """Put the archive there; return the commit that it holds."""
    if begun.kind == "archive":
        await _collect(context, begun, archive)
        return begun.commit
    wanted = context.settings.sources
    progress.hear(inside.Event("fetch", "running"))
    fetched = await clone.fetch(
        _smaller(sandbox, wanted.archive_bytes),
        begun.url,
        begun.ref,
        hosts=wanted.hosts,
        allow_private=wanted.allow_private,
        authorities=wanted.authorities,
    )
    await asyncio.to_thread(archive.write_bytes, fetched.archive)
    progress.hear(inside.Event("fetch", "ended", fetched.commit[:10]))
    return fetched.commit


async def _collect(context: api.Context, begun: _Begun, archive: Path) -> None:
    """Write the parts to a file, one at a time in memory."""
    with archive.open("xb") as stream:
        number = 0
        while True:
            data: bytes | None = await context.pool.fetch_value(
                service.queries.part, id=begun.id, number=number
            )
            if data is None:
                break
            await asyncio.to_thread(stream.write, data)
            number += 1
    if number == 0:
        raise Conflict("the archive is gone: the analysis was cancelled")


def _smaller(sandbox: Sandbox, output_bytes: int) -> Sandbox:
    """The same sandbox, with less to say."""
    return sandbox.within(output_bytes=output_bytes)


async def _analysed(
    context: api.Context, begun: _Begun, sandbox: Sandbox, archive: Path, progress: _Progress
) -> tuple[bytes, int | None]:
    """Run the detectors; return their log, and how many lines of code they saw."""
    wanted = context.settings.sources
    order = inside.Order(
        unpacked_bytes=wanted.unpacked_bytes,
        entries=wanted.entries,
        ratio=wanted.ratio,
        strip=begun.strip,
        detector_seconds=wanted.detector_seconds,
    )
    await asyncio.to_thread(archive.chmod, 0o444)  # for whoever runs in there, and owns nothing
    ended = await sandbox.run(
        [sys.executable, "-I", "-X", "utf8", "-m", "insight_cloud.app.sources.inside"],
        show={inside.ARCHIVE: archive},
        stdin=msgspec.json.encode(order),
        heard=progress.hear_bytes,
    )
    if progress.refused:
        raise Invalid(progress.refused)
    if ended.problem:
        raise Refused(f"the analysis was {ended.problem}"[:500])
    return ended.stdout, progress.lines


@dataclass(slots=True)
class _Progress:
    """What the program in the sandbox tells of itself: believed no further than it is shown."""

    steps: dict[str, Step] = field(default_factory=dict)
    refused: str = ""
    lines: int | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    _rest: bytes = b""
    _told: int = 0

    def hear_bytes(self, data: bytes) -> None:
        """Take what came on standard error: whole lines, and the beginning of one."""
        self._told += len(data)
        if self._told > _TOLD_MOST:
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            with contextlib.suppress(msgspec.DecodeError):
                self.hear(msgspec.json.decode(line, type=inside.Event))

    def hear(self, event: inside.Event) -> None:
        """Note one event."""
        if event.refused:
            self.refused = event.refused[:500]
        if 0 < event.lines < 2**31:
            self.lines = event.lines
        if event.state and (event.name in self.steps or len(self.steps) < _STEPS_MOST):
            name = event.name[:40]
            self.steps[name] = Step(name, event.state, event.detail[:300])
            self.changed.set()


@contextlib.asynccontextmanager
async def _telling(context: api.Context, job: Job, begun: _Begun) -> AsyncIterator[_Progress]:
    """Write the progress down while it changes, at most twice a second."""
    progress = _Progress()

    async def tell() -> None:
        while True:
            await progress.changed.wait()
            progress.changed.clear()
            with contextlib.suppress(InsightError):  # nobody's analysis fails for its display
                await _write(context.pool, job, begun, progress)
            await asyncio.sleep(_TELL_SECONDS)

    task = asyncio.create_task(tell())
    try:
        yield progress
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        with contextlib.suppress(InsightError):  # how far it came, when it failed
            await _write(context.pool, job, begun, progress)


async def _write(db: Statements, job: Job, begun: _Begun, progress: _Progress) -> None:
    await db.execute(
        service.queries.progress,
        id=begun.id,
        job_id=job.number,
        steps=msgspec.json.encode(list(progress.steps.values())).decode(),
    )
