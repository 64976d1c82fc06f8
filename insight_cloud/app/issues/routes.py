"""Issues and their counts over HTTP."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse

from insight_cloud.app import api
from insight_cloud.app.accounts.identify import InCaller
from insight_cloud.app.issues import export, service
from insight_cloud.app.issues.models import (
    Counts,
    Day,
    Filter,
    IssueDetail,
    IssuePage,
    Muted,
    ProjectState,
    State,
    Top,
)
from insight_cloud.app.projects import service as projects
from insight_cloud.app.projects.routes import Slug
from insight_cloud.app.sarif.model import Category, Severity

__all__ = ["router"]

router = APIRouter(prefix="/api/v1", tags=["issues"])

Text = Annotated[str | None, Query(max_length=500)]
Branch = Annotated[str | None, Query(max_length=255)]


@dataclass(frozen=True, slots=True)
class Overview:
    """Every project that the caller may see."""

    projects: tuple[ProjectState, ...]


@dataclass(frozen=True, slots=True)
class Trend:
    """A branch, day by day."""

    days: tuple[Day, ...]


@dataclass(frozen=True, slots=True)
class TopList:
    """Where the most open issues are."""

    items: tuple[Top, ...]


@dataclass(frozen=True, slots=True)
class Summary:
    """What is open on a branch."""

    open: Counts
    categories: tuple[Top, ...]


@router.get(
    "/overview",
    operation_id="get_overview",
    response_model=Overview,
    responses=api.problems(401, 403, 422),
)
async def get_overview(request: Request, context: api.InContext, caller: InCaller) -> Response:
    """Return the state of every project, those that got worse this week first."""
    visible = await projects.visible(context, caller)
    return api.reply(request, Overview(await service.overview(context, visible)))


def _filter(
    *,
    branch: Branch = None,
    pr: Annotated[
        int | None, Query(ge=1, le=2**31 - 1, description="A pull request instead of a branch.")
    ] = None,
    gone: Annotated[
        bool, Query(description="What the base of the branch has, and the branch no longer.")
    ] = False,
    state: State | Literal["all"] = "open",
    severity: Annotated[list[Severity] | None, Query(max_length=5)] = None,
    category: Category | None = None,
    tool: Text = None,
    rule: Text = None,
    path: Annotated[Text, Query(description="The beginning of the path.")] = None,
    q: Annotated[Text, Query(description="Words of the message.")] = None,
    suppressed: bool = False,
    muted: Annotated[
        Muted | None, Query(description="Only those that this keeps from counting.")
    ] = None,
    new_in: Annotated[UUID | None, Query(description="First seen by this analysis.")] = None,
    fixed_in: Annotated[UUID | None, Query(description="Fixed by this analysis.")] = None,
) -> Filter:
    """The filters of a list, as its address asks them."""
    return Filter(
        branch=branch if pr is None else f"pull/{pr}",
        gone=gone,
        state=None if state == "all" else state,
        severity=tuple(severity or ()),
        category=category,
        tool=tool,
        rule=rule,
        path=path,
        text=q,
        suppressed=suppressed,
        muted=muted,
        new_in=new_in,
        fixed_in=fixed_in,
    )


InFilter = Annotated[Filter, Depends(_filter)]
Extension = Literal["sarif", "csv", "jsonl", "codeclimate.json"]


@router.get(
    "/projects/{project}/issues",
    operation_id="list_issues",
    response_model=IssuePage,
    responses=api.problems(401, 403, 404, 422),
)
async def list_issues(
    request: Request,
    context: api.InContext,
    caller: InCaller,
    project: Slug,
    wanted: InFilter,
    *,
    cursor: api.InCursor = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:
    """List issues, worst and newest first."""
    target = await projects.open(context, caller, project)
    page = await service.page(context, target, wanted, cursor=cursor, limit=limit)
    return api.reply(request, page)


@router.get(
    "/projects/{project}/issues.{extension}",
    operation_id="export_issues",
    response_class=Response,
    responses=api.problems(401, 403, 404, 422)
    | {
        200: {
            "description": "Every issue that fits, in the format of the extension",
            "content": {kind: {} for kind in sorted(set(export.FORMATS.values()))},
        }
    },
)
async def export_issues(
    request: Request,
    context: api.InContext,
    caller: InCaller,
    project: Slug,
    *,
    extension: Extension,
    wanted: InFilter,
) -> Response:
    """Write out every issue that fits: SARIF, Code Climate, CSV, or one JSON object a line."""
    target = await projects.open(context, caller, project)
    form: export.Format = "codeclimate" if extension == "codeclimate.json" else extension
    # Any change of the project makes another version of it, so nothing need be read to know.
    state = f"{target.number}.{target.version}.{request.url.query}.{extension}"
    digest = hashlib.blake2b(state.encode(), digest_size=16).hexdigest()
    headers = {
        "cache-control": "private, no-cache",
        "etag": f'W/"{digest}"',
        "content-disposition": f'attachment; filename="{target.slug}-issues.{extension}"',
    }
    if digest in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    parts = export.stream(context, target, wanted, form)
    return StreamingResponse(parts, 200, headers, media_type=export.media_type(form))


@router.get(
    "/projects/{project}/issues/{issue}",
    operation_id="get_issue",
    response_model=IssueDetail,
    responses=api.problems(401, 403, 404, 422),
)
async def get_issue(
    request: Request, context: api.InContext, caller: InCaller, project: Slug, issue: UUID
) -> Response:
    """Return everything about an issue: its rule, its places, its history."""
    target = await projects.open(context, caller, project)
    return api.reply(request, await service.one(context, target, issue))


@router.get(
    "/projects/{project}/summary",
    operation_id="get_summary",
    response_model=Summary,
    responses=api.problems(401, 403, 404, 422),
)
async def get_summary(
    request: Request,
    context: api.InContext,
    caller: InCaller,
    project: Slug,
    *,
    branch: Branch = None,
) -> Response:
    """Count what is open on a branch by severity and category."""
    target = await projects.open(context, caller, project)
    return api.reply(request, Summary(*await service.counts(context, target, branch)))


@router.get(
    "/projects/{project}/trends",
    operation_id="get_trend",
    response_model=Trend,
    responses=api.problems(401, 403, 404, 422),
)
async def get_trend(
    request: Request,
    context: api.InContext,
    caller: InCaller,
    project: Slug,
    *,
    branch: Branch = None,
    days: Annotated[int, Query(ge=1, le=365)] = 90,
) -> Response:
    """Return what was open, new and fixed on each of the last days."""
    target = await projects.open(context, caller, project)
    trend = await service.trend(context, target, days=days, branch=branch)
    return api.reply(request, Trend(trend))


@router.get(
    "/projects/{project}/top",
    operation_id="get_top",
    response_model=TopList,
    responses=api.problems(401, 403, 404, 422),
)
async def get_top(
    request: Request,
    context: api.InContext,
    caller: InCaller,
    project: Slug,
    *,
    by: Literal["rule", "path"] = "rule",
    branch: Branch = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 10,
) -> Response:
    """Name the rules or paths with the most open issues."""
    target = await projects.open(context, caller, project)
    return api.reply(
        request,
        TopList(await service.top(context, target, by=by, branch=branch, limit=limit)),
    )
