"""Uploads and analyses over HTTP."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Header, Path, Query, Request, Response

from insight_cloud.app import api, quotas
from insight_cloud.app.accounts import service as accounts
from insight_cloud.app.accounts.identify import InCaller
from insight_cloud.app.analyses import branches, receive, service, snapshots
from insight_cloud.app.analyses.models import (
    AnalysisDetail,
    AnalysisPage,
    BranchPage,
    BranchState,
    Submission,
    Upload,
)
from insight_cloud.app.gates.routes import PullRequest
from insight_cloud.app.privacy.schemas import COUNTS
from insight_cloud.app.projects import service as projects
from insight_cloud.app.projects.routes import Slug
from insight_cloud.app.sarif import codeclimate
from insight_cloud.core.errors import Invalid

__all__ = ["router"]

router = APIRouter(prefix="/api/v1", tags=["analyses"])

Name = Annotated[str, Query(max_length=255)]
Pull = Annotated[int, Path(ge=1, le=2**31 - 1, description="The number of the pull request.")]


@router.post(
    "/projects/{project}/analyses",
    operation_id="upload_analysis",
    status_code=201,
    response_model=Submission,
    responses=api.problems(400, 401, 403, 404, 409, 413, 415, 422, 503)
    | {200: {"model": Submission, "description": "Nothing has changed since"}},
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "A SARIF 2.1.0 log or a Code Climate report (an array, as GitLab "
            "reads it), plain or compressed (gzip, zstd).",
            "content": {
                "application/sarif+json": {"schema": {"type": "object"}},
                "application/json": {"schema": {"oneOf": [{"type": "object"}, {"type": "array"}]}},
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
    base: Annotated[
        str | None,
        Query(min_length=1, max_length=255, description="The branch that this one goes into."),
    ] = None,
    base_commit: Annotated[
        str, Query(max_length=255, description="Where it left the base: their merge base.")
    ] = "",
    pr: PullRequest = None,
    lines: Annotated[
        int | None, Query(ge=0, le=2**31 - 1, description="Lines of code, for the grade.")
    ] = None,
    content_encoding: Annotated[str, Header()] = "identity",
) -> Response:
    """Take a log in: match its findings with the branch's issues and count what changed.

    A project that does not exist is created when the token may do so. The same log twice in
    a row changes nothing and is answered with 200. A branch that names its `base`, and a pull
    request, hold only what they add to the base and take from it.
    """
    limits = context.settings.analyses
    accounts.require(caller, "ingest")
    body = await receive.body(
        request.stream(),
        content_encoding,
        upload_bytes=limits.upload_bytes,
        log_bytes=limits.log_bytes,
    )
    _refuse_mislabelled(request, body)
    upload = Upload(
        branch=branch,
        commit=commit,
        category=category,
        root=root,
        base=base,
        base_commit=base_commit,
        pr=pr,
        lines=lines,
    )
    # Who may not upload here must not use up what belongs to others, not even for a moment.
    await projects.level_of_uploads(context, caller, project)
    async with quotas.uploading(context, project) as taken:
        submission = await service.ingest(context, caller, project, upload, body)
    return await _counted(request, context, submission, taken)


async def _counted(
    request: Request, context: api.Context, submission: Submission, taken: quotas.Taken | None
) -> Response:
    """The answer to an upload; one that changed nothing is not counted."""
    response = api.reply(request, submission, status=200 if submission.repeated else 201)
    if taken is not None and submission.repeated:
        await quotas.refund(context, taken)
    elif taken is not None:
        taken.tell(response)
    return response


def _refuse_mislabelled(request: Request, body: bytes) -> None:
    """Refuse a Code Climate report that says it is SARIF: one of both is a mistake."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/sarif+json" and codeclimate.is_report(body):
        raise Invalid("the body is an array, and no SARIF log: send it as application/json")


@router.post(
    "/projects/{project}/snapshots",
    operation_id="upload_counts",
    status_code=201,
    response_model=Submission,
    responses=api.problems(400, 401, 403, 404, 409, 413, 422)
    | {200: {"model": Submission, "description": "Nothing has changed since"}},
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "Numbers, and nothing else about the code.",
            "content": {"application/json": {"schema": COUNTS}},
        }
    },
)
async def upload_counts(
    request: Request, context: api.InContext, caller: InCaller, project: Slug
) -> Response:
    """Take the counts of a branch in, from somebody who sends nothing else about the code.

    Whatever is no count is refused with its JSON pointer, whatever the project would take.
    """
    accounts.require(caller, "ingest")
    body = await request.body()
    await projects.level_of_uploads(context, caller, project)
    async with quotas.uploading(context, project) as taken:
        submission = await snapshots.ingest(context, caller, project, body)
    return await _counted(request, context, submission, taken)


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


@router.get(
    "/projects/{project}/branches",
    operation_id="list_branches",
    response_model=BranchPage,
    responses=api.problems(401, 403, 404, 422),
)
async def list_branches(
    request: Request,
    context: api.InContext,
    caller: InCaller,
    project: Slug,
    *,
    kind: Literal["long", "short", "pr"] | None = None,
    closed: Annotated[bool, Query(description="With closed pull requests.")] = False,
    cursor: api.InCursor = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:
    """List the branches and pull requests of a project, the newest first."""
    target = await projects.open(context, caller, project)
    page = await branches.listed(
        context, target, kind=kind, closed=closed, cursor=cursor, limit=limit
    )
    return api.reply(request, page)


@router.delete(
    "/projects/{project}/branches",
    status_code=204,
    response_class=Response,
    operation_id="delete_branch",
    responses=api.problems(401, 403, 404, 409, 422),
)
async def delete_branch(
    context: api.InContext,
    caller: InCaller,
    project: Slug,
    *,
    branch: Annotated[str, Query(min_length=1, max_length=255)],
) -> Response:
    """Delete a branch with its analyses and issues; for maintainers. Nothing brings it back."""
    target = await projects.open(context, caller, project, "manage")
    await branches.remove(context, caller, target, branch)
    return Response(status_code=204)


@router.get(
    "/projects/{project}/pulls/{pr}",
    operation_id="get_pull",
    response_model=BranchState,
    responses=api.problems(401, 403, 404, 422),
)
async def get_pull(
    request: Request, context: api.InContext, caller: InCaller, project: Slug, pr: Pull
) -> Response:
    """Return a pull request: what it adds to its base, what it fixes, how it did."""
    target = await projects.open(context, caller, project)
    return api.reply(request, await branches.pull(context, target, pr))


@router.post(
    "/projects/{project}/pulls/{pr}/close",
    status_code=204,
    response_class=Response,
    operation_id="close_pull",
    responses=api.problems(401, 403, 404, 422),
)
async def close_pull(context: api.InContext, caller: InCaller, project: Slug, pr: Pull) -> Response:
    """Say that a pull request was merged or given up; the next upload opens it again."""
    target = await projects.open(context, caller, project, "upload")
    await branches.close_pull(context, target, pr)
    return Response(status_code=204)
