"""The rules of sources: what may be handed in, how it waits, how it is cancelled and forgotten."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, fields
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

import msgspec

from insight_cloud.app import api, jobs, privacy
from insight_cloud.app.accounts.models import Caller
from insight_cloud.app.projects.models import Project
from insight_cloud.app.sources import clone, unpack
from insight_cloud.app.sources.models import Place, Source, SourcePage, Step
from insight_cloud.core.errors import Conflict, Invalid, Missing, Refused, TooLarge
from insight_cloud.database import Connection, sql

__all__ = [
    "TASK",
    "add_archive",
    "add_clone",
    "cancel",
    "clean",
    "end",
    "end_lost",
    "listed",
    "one",
]

queries = sql.load(Path(__file__).with_name("queries.sql"))

TASK = "analyse"
"""What the queue calls this work."""

_PART_BYTES = 1024 * 1024
_MAGIC_BYTES = 4
_BATCH = 1_000
_LAST = 2**63 - 1
_MIB = 1024 * 1024


async def add_archive(
    context: api.Context,
    caller: Caller,
    project: Project,
    place: Place,
    stream: AsyncIterator[bytes],
    *,
    strip: bool = False,
) -> Source:
    """Take an archive in, as it streams, and queue its analysis; `strip` drops the first folders.

    Raises:
        TooLarge, Invalid: it is too large, or no archive; nothing stays of it.
        Refused: the project takes no code.
        Conflict: as many of the project's sources as may wait do, or nobody is there who could
            analyse it safely.
    """
    await _check_workers(context)
    limit = context.settings.sources.archive_bytes

    async def store(db: Connection, number: int) -> int:
        size, buffer, part = 0, bytearray(), 0
        async for chunk in stream:
            size += len(chunk)
            if size > limit:
                raise TooLarge(f"the archive is larger than {limit // _MIB} MiB")
            buffer += chunk
            while len(buffer) >= _PART_BYTES:
                if part == 0:
                    unpack.kind_of(bytes(buffer[:_MAGIC_BYTES]))
                data = bytes(buffer[:_PART_BYTES])
                await db.execute(queries.add_part, id=number, number=part, data=data)
                del buffer[:_PART_BYTES]
                part += 1
        if part == 0:
            unpack.kind_of(bytes(buffer[:_MAGIC_BYTES]))
        if buffer:
            await db.execute(queries.add_part, id=number, number=part, data=bytes(buffer))
        return size

    return await _added(context, caller, project, place, store, kind="archive", strip=strip)


async def add_clone(
    context: api.Context, caller: Caller, project: Project, place: Place, *, url: str, ref: str
) -> Source:
    """Queue the analysis of a repository that the server fetches itself.

    Raises:
        Invalid: the URL or the ref cannot be used, or the operator has not named the host.
        Refused: the project takes no code.
        Conflict: as many of the project's sources as may wait do, or nobody is there who could
            analyse it safely.
    """
    url = clone.check_url(url, context.settings.sources.hosts)
    ref = clone.check_ref(ref)
    await _check_workers(context)

    async def store(_: Connection, __: int) -> int:
        return 0

    return await _added(context, caller, project, place, store, kind="clone", url=url, ref=ref)


async def one(context: api.Context, project: Project, id: UUID) -> Source:  # noqa: A002 - the API's word
    """Return a source.

    Raises:
        Missing: the project has none with this id.
    """
    row = await context.pool.fetch_maybe(queries.by_id, _Row, project_id=project.number, id=id)
    if row is None:
        raise Missing(f"project {project.slug} has no source {id}")
    return row.source()


async def listed(
    context: api.Context, project: Project, *, cursor: str | None = None, limit: int = 20
) -> SourcePage:
    """List the sources of a project, newest first."""
    (before,) = api.position(cursor, int) or (_LAST,)
    rows = await context.pool.fetch_all(
        queries.recent, _Row, project_id=project.number, before=before, limit=limit + 1
    )
    more = len(rows) > limit
    return SourcePage(
        tuple(row.source() for row in rows[:limit]),
        api.cursor(rows[limit - 1].number) if more else None,
    )


async def cancel(context: api.Context, caller: Caller, project: Project, id: UUID) -> None:  # noqa: A002 - the API's word
    """Stop an analysis, or take it out of the queue.

    Raises:
        Missing: the project has no such source.
        Conflict: it has ended.
    """
    source = await one(context, project, id)

    async def work(db: Connection) -> bool:
        # The job first, as everybody locks the two: its worker ends it before the source.
        number = await db.fetch_value("select job_id from sources where public_id = %(id)s", id=id)
        if number is None or not await jobs.cancel(db, number):
            return False
        found = await db.fetch_maybe(
            queries.cancel,
            _Cancelled,
            project_id=project.number,
            id=id,
            at=context.now(),
            detail=f"cancelled by {caller.name}",
        )
        if found is None:
            return False
        await db.execute(queries.drop_parts, id=found.id)
        return True

    if not await context.pool.run(work):
        raise Conflict(f"the analysis {id} has ended already: {source.state}")


async def end_lost(context: api.Context) -> int:
    """End the sources whose job was given up, because every worker that had it died."""
    tries = context.settings.jobs.tries
    detail = f"given up: the worker died each time, in {tries} tries"

    async def work(db: Connection) -> int:
        numbers = await db.fetch_all(queries.given_up, int)
        for number in numbers:
            await end(db, context, number, "failed", detail)
        return len(numbers)

    return await context.pool.run(work)


async def clean(context: api.Context) -> int:
    """Forget sources that ended long ago; their analyses stay."""
    before = context.now() - timedelta(days=context.settings.sources.keep_days)
    total = 0
    while True:
        deleted = await context.pool.execute(queries.clean, before=before, batch=_BATCH)
        total += deleted
        if deleted < _BATCH:
            return total


async def end(
    db: Connection,
    context: api.Context,
    number: int,
    state: Literal["done", "failed"],
    detail: str = "",
    *,
    analysis: int | None = None,
    commit: str = "",
) -> None:
    """Note how it went, and drop the code: nothing of it is kept."""
    await db.execute(
        queries.end,
        id=number,
        state=state,
        detail=detail[:2000],
        analysis_id=analysis,
        commit=commit,
        at=context.now(),
    )
    await db.execute(queries.drop_parts, id=number)


async def _check_workers(context: api.Context) -> None:
    """Say no where nobody would do it: workers only work where they can isolate foreign code."""
    if (await jobs.counts(context)).workers == 0:
        raise Conflict(
            "the server cannot analyse code now: no worker is running that can isolate it "
            "(its health page says why); run `insight analyze` yourself instead"
        )


async def _added(
    context: api.Context,
    caller: Caller,
    project: Project,
    place: Place,
    store: Any,
    *,
    kind: Literal["archive", "clone"],
    url: str = "",
    ref: str = "",
    strip: bool = False,
) -> Source:
    _check_place(place)
    if not privacy.admits(project.privacy, "source"):
        raise Refused(
            f"{project.slug!r} takes no code: its privacy level is {project.privacy!r}; run "
            "`insight analyze` yourself, or let a maintainer choose the level 'source'"
        )

    async def work(db: Connection) -> UUID:
        await db.lock(f"sources {project.number}")
        most = context.settings.sources.waiting
        if await db.fetch_value(queries.count_alive, project_id=project.number) >= most:
            raise Conflict(f"{most} analyses of {project.slug!r} wait already; wait for one to end")
        number: int = await db.fetch_value(
            queries.add,
            project_id=project.number,
            kind=kind,
            url=url,
            ref=ref,
            strip=strip,
            branch=place.branch,
            commit=place.commit,
            base=place.base,
            base_commit=place.base_commit,
            pr=place.pr,
            author=caller.name,
            at=context.now(),
        )
        size = await store(db, number)
        job = await jobs.defer(db, TASK, source=number)
        made: UUID = await db.fetch_value(queries.queued, id=number, job_id=job, size_bytes=size)
        return made

    return await one(context, project, await context.pool.run(work))


def _check_place(place: Place) -> None:
    names = ("branch", "commit", "base", "base_commit")
    problems = tuple(
        (f"/query/{name}", "holds a control character")
        for name in names
        if (value := getattr(place, name)) and not value.isprintable()
    )
    if problems:
        raise Invalid("the parameters cannot be used", problems=problems)


@dataclass(frozen=True, slots=True)
class _Row(Source):
    """A source with its internal number, which does not leave the server."""

    number: int

    def source(self) -> Source:
        values = {field.name: getattr(self, field.name) for field in fields(Source)}
        return Source(**values | {"steps": msgspec.convert(self.steps, tuple[Step, ...])})


@dataclass(frozen=True, slots=True)
class _Cancelled:
    id: int
    job_id: int
