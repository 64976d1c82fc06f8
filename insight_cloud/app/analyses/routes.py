"""Uploads and analyses over HTTP."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Query, Request, Response

from insight_cloud.app import api
from insight_cloud.app.accounts import service as accounts
from insight_cloud.app.accounts.identify import InCaller
from insight_cloud.app.analyses import receive, service
from insight_cloud.app.analyses.models import AnalysisDetail, AnalysisPage, Submission, Upload
from insight_cloud.app.projects import service as projects
from insight_cloud.app.projects.routes import Slug

__all__ = ["router"]

router = APIRouter(prefix="/api/v1", tags=["analyses"])

Name = Annotated[str, Query(max_length=255)]


@router.post(
    "/projects/{project}/analyses",
    operation_id="upload_analysis",
    status_code=201,
    response_model=Submission,
    responses=api.problems(400, 401, 403, 404, 413, 415, 422)
    | {200: {"model": Submission, "description": "Nothing has changed since"}},
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "A SARIF 2.1.0 log, plain or compressed (gzip, zstd).",
            "content": {
                "application/sarif+json": {"schema": {"type": "object"}},
                "application/json": {"schema": {"type": "object"}},
            },
        }
    },
)
async def upload_analysis(
    request: Request,
    context: api.InContext,
    caller: InCaller,
    project: Slug,
    *,
    branch: Annotated[str | None, Query(min_length=1, max_length=255)] = None,
    commit: Name = "",
    category: Name = "",
    root: Annotated[str | None, Query(max_length=4096)] = None,
    content_encoding: Annotated[str, Header()] = "identity",
) -> Response:
    """Take a log in: match its findings with the branch's issues and count what changed.

    A project that does not exist is created when the token may do so. The same log twice in
    a row changes nothing and is answered with 200.
    """
    limits = context.settings.analyses
    accounts.require(caller, "ingest")
    body = await receive.body(
        request.stream(),
        content_encoding,
        upload_bytes=limits.upload_bytes,
        log_bytes=limits.log_bytes,
    )
    upload = Upload(branch=branch, commit=commit, category=category, root=root)
    submission = await service.ingest(context, caller, project, upload, body)
    return api.reply(request, submission, status=200 if submission.repeated else 201)


@router.get(
    "/projects/{project}/analyses",
    operation_id="list_analyses",
    response_model=AnalysisPage,
    responses=api.problems(401, 403, 404, 422),
)
async def list_analyses(
    request: Request,
    context: api.InContext,
    caller: InCaller,
    project: Slug,
    *,
    branch: Annotated[str | None, Query(max_length=255)] = None,
    cursor: api.InCursor = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 20,
) -> Response:
    """List the analyses of a project, newest first."""
    target = await projects.open(context, caller, project)
    page = await service.newest_first(context, target, branch=branch, cursor=cursor, limit=limit)
    return api.reply(request, page)


@router.get(
    "/projects/{project}/analyses/{analysis}",
    operation_id="get_analysis",
    response_model=AnalysisDetail,
    responses=api.problems(401, 403, 404, 422),
)
async def get_analysis(
    request: Request, context: api.InContext, caller: InCaller, project: Slug, analysis: UUID
) -> Response:
    """Return an analysis with its tools and warnings."""
    target = await projects.open(context, caller, project)
    return api.reply(request, await service.one(context, target, analysis))
