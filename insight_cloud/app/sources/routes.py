"""Sources over HTTP: handed in, watched, cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated
from uuid import UUID

import msgspec
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import Field

from insight_cloud.app import api, quotas
from insight_cloud.app.accounts import service as accounts
from insight_cloud.app.accounts.identify import InCaller
from insight_cloud.app.gates.routes import PullRequest
from insight_cloud.app.projects import service as projects
from insight_cloud.app.projects.models import Project
from insight_cloud.app.projects.routes import Slug
from insight_cloud.app.sources import service
from insight_cloud.app.sources.models import Place, Source, SourcePage
from insight_cloud.core.errors import InsightError, Unavailable

__all__ = ["router"]

router = APIRouter(prefix="/api/v1", tags=["sources"])

Name = Annotated[str, Query(max_length=255)]
Branch = Annotated[str | None, Query(min_length=1, max_length=255)]

_EVENT = {
    "type": "object",
    "properties": {
        "event": {"type": "string"},
        "data": {"type": "string", "description": "The source, as JSON"},
    },
    "required": ["data"],
}
_WATCHED_SECONDS = 300
_LOOK_SECONDS = 1.0
_STILL_SECONDS = 15
_WATCHERS_MOST = 100
_watching: set[object] = set()


class Repository(api.Body):
    """A repository to fetch, on a host that the operator allows."""

    url: Annotated[str, Field(min_length=1, max_length=1000)]
    ref: Annotated[str, Field(max_length=200)] = ""
    branch: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    base: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    base_commit: Annotated[str, Field(max_length=255)] = ""


@router.post(
    "/projects/{project}/sources",
    operation_id="add_source",
    status_code=202,
    response_model=Source,
    responses=api.problems(401, 403, 404, 409, 413, 422, 429),
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "An archive of the code: zip, tar.gz or tar.zst.",
            "content": {
                "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}
            },
        }
    },
)
async def add_source(
    request: Request,
    context: api.InContext,
    caller: InCaller,
    project: Slug,
    *,
    branch: Branch = None,
    commit: Name = "",
    base: Branch = None,
    base_commit: Name = "",
    pr: PullRequest = None,
    strip: Annotated[
        bool, Query(description="Leave out the first folder of each path, as hosts' archives need.")
    ] = False,
) -> Response:
    """Take an archive and analyse it, in the sandbox; the code is not kept.

    Counts against the limit `analysis`. The project is made when there is none.
    """
    target = await _ensured(context, caller, project)
    place = Place(branch, commit, base, base_commit, pr)
    async with quotas.analysing(context, caller) as taken:
        source = await service.add_archive(
            context, caller, target, place, request.stream(), strip=strip
        )
    response = api.reply(request, source, status=202)
    taken.tell(response)
    return response


@router.post(
    "/projects/{project}/clones",
    operation_id="add_clone",
    status_code=202,
    response_model=Source,
    responses=api.problems(401, 403, 404, 409, 422, 429),
)
async def add_clone(
    request: Request, context: api.InContext, caller: InCaller, project: Slug, body: Repository
) -> Response:
    """Fetch a repository and analyse it. Counts against the limit `analysis`."""
    target = await _ensured(context, caller, project)
    place = Place(body.branch, "", body.base, body.base_commit)
    async with quotas.analysing(context, caller) as taken:
        source = await service.add_clone(context, caller, target, place, url=body.url, ref=body.ref)
    response = api.reply(request, source, status=202)
    taken.tell(response)
    return response


@router.get(
    "/projects/{project}/sources",
    operation_id="list_sources",
    response_model=SourcePage,
    responses=api.problems(401, 403, 404, 422),
)
async def list_sources(
    request: Request,
    context: api.InContext,
    caller: InCaller,
    project: Slug,
    *,
    cursor: api.InCursor = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 20,
) -> Response:
    """List what was handed in to be analysed here, newest first."""
    target = await projects.open(context, caller, project)
    return api.reply(request, await service.listed(context, target, cursor=cursor, limit=limit))


@router.get(
    "/projects/{project}/sources/{source}",
    operation_id="get_source",
    response_model=Source,
    responses=api.problems(401, 403, 404, 422),
)
async def get_source(
    request: Request, context: api.InContext, caller: InCaller, project: Slug, source: UUID
) -> Response:
    """Return how far an analysis is, and how it ended."""
    target = await projects.open(context, caller, project)
    return api.reply(request, await service.one(context, target, source))


@router.get(
    "/projects/{project}/sources/{source}/events",
    operation_id="watch_source",
    response_class=StreamingResponse,
    responses=api.problems(401, 403, 404, 422, 503)
    | {
        200: {
            "description": "Events (text/event-stream): the source, whenever it has changed",
            "content": {"text/event-stream": {"schema": _EVENT}},
        }
    },
)
async def watch_source(
    context: api.InContext, caller: InCaller, project: Slug, source: UUID
) -> Response:
    """Tell of the progress as it happens, until the end or for five minutes."""
    target = await projects.open(context, caller, project)
    first = await service.one(context, target, source)
    if len(_watching) >= _WATCHERS_MOST:
        raise Unavailable("too many are watching; ask for the source itself now and then")
    return StreamingResponse(
        _events(context, target, first),
        media_type="text/event-stream",
        headers={"cache-control": "no-store", "x-accel-buffering": "no"},
    )


@router.post(
    "/projects/{project}/sources/{source}/cancel",
    status_code=204,
    response_class=Response,
    operation_id="cancel_source",
    responses=api.problems(401, 403, 404, 409, 422),
)
async def cancel_source(
    context: api.InContext, caller: InCaller, project: Slug, source: UUID
) -> Response:
    """Stop an analysis, or take it out of the queue."""
    target = await projects.open(context, caller, project, "upload")
    await service.cancel(context, caller, target, source)
    return Response(status_code=204)


async def _ensured(context: api.Context, caller: InCaller, slug: str) -> Project:
    accounts.require(caller, "ingest")
    return await projects.ensure(context, caller, slug)


async def _events(context: api.Context, project: Project, source: Source) -> AsyncIterator[bytes]:
    """The source whenever it has changed, and a comment now and then, so that proxies wait."""
    mark = object()
    _watching.add(mark)
    try:
        told, still = b"", 0.0
        for _ in range(int(_WATCHED_SECONDS / _LOOK_SECONDS)):
            text = msgspec.json.encode(source)
            still += _LOOK_SECONDS
            if text != told:
                told, still = text, 0.0
                yield b"data: " + text + b"\n\n"
            elif still >= _STILL_SECONDS:
                still = 0.0
                yield b": still at it\n\n"
            if not source.is_alive:
                return
            await asyncio.sleep(_LOOK_SECONDS)
            source = await service.one(context, project, source.id)
    except InsightError:
        return  # the browser asks again by itself
    finally:
        _watching.discard(mark)
