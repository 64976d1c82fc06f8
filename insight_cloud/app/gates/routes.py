"""Gates, their results and badges over HTTP."""

from __future__ import annotations

import hashlib
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field, StrictInt

from insight_cloud.app import api
from insight_cloud.app.accounts.identify import InCaller, caller_of
from insight_cloud.app.gates import badge, service
from insight_cloud.app.gates.models import Condition, Gate, Metric, Result
from insight_cloud.app.gates.service import Judged
from insight_cloud.app.issues.grade import Letter
from insight_cloud.app.projects import service as projects
from insight_cloud.app.projects.routes import Slug
from insight_cloud.app.sarif.model import Category, Severity
from insight_cloud.core.errors import Missing

__all__ = ["badges", "router"]

router = APIRouter(prefix="/api/v1", tags=["gates"])
badges = APIRouter(include_in_schema=False)

PullRequest = Annotated[int | None, Query(ge=1, le=2**31 - 1, description="A pull request.")]


class NewCondition(api.Body):
    """One demand.

    `new` and `open` admit `most` issues of any of `severity` (empty: all severities) in
    `category` (null: all). `grade` demands at least `grade`. `complete` demands that every tool
    finished.
    """

    metric: Metric
    severity: list[Severity] = Field(default_factory=list, max_length=5)
    category: Category | None = None
    most: StrictInt = Field(default=0, ge=0, le=2**31 - 1)
    grade: Letter | None = None

    @property
    def condition(self) -> Condition:
        """The same, as the service understands it."""
        return Condition(self.metric, tuple(self.severity), self.category, self.most, self.grade)


class GateRequest(api.Body):
    """What a project demands; null is the default again."""

    conditions: Annotated[list[NewCondition] | None, Field(max_length=service.CONDITIONS_LIMIT)]


@router.get(
    "/projects/{project}/gate",
    operation_id="get_gate",
    response_model=Gate,
    responses=api.problems(401, 403, 404, 422),
)
async def get_gate(
    request: Request, context: api.InContext, caller: InCaller, project: Slug
) -> Response:
    """Return what the project demands of an analysis."""
    target = await projects.open(context, caller, project)
    return api.reply(request, await service.read(context, target))


@router.put(
    "/projects/{project}/gate",
    operation_id="set_gate",
    response_model=Gate,
    responses=api.problems(401, 403, 404, 422),
)
async def set_gate(
    request: Request, context: api.InContext, caller: InCaller, project: Slug, body: GateRequest
) -> Response:
    """Demand something else from the next analysis on; for maintainers."""
    target = await projects.open(context, caller, project, "manage")
    conditions = None if body.conditions is None else [one.condition for one in body.conditions]
    return api.reply(request, await service.set_conditions(context, caller, target, conditions))


@router.get(
    "/projects/{project}/gate/result",
    operation_id="get_gate_result",
    response_model=Judged,
    responses=api.problems(401, 403, 404, 422),
)
async def get_gate_result(
    request: Request,
    context: api.InContext,
    caller: InCaller,
    project: Slug,
    *,
    branch: Annotated[str | None, Query(max_length=255)] = None,
    pr: PullRequest = None,
    commit: Annotated[str | None, Query(max_length=255)] = None,
) -> Response:
    """Say how the newest analysis of a branch or pull request did, or of one of its commits."""
    target = await projects.open(context, caller, project)
    found = await service.of_branch(context, target, branch=branch, pr=pr, commit=commit)
    return api.reply(request, found)


@router.get(
    "/projects/{project}/analyses/{analysis}/gate",
    operation_id="get_analysis_gate",
    response_model=Result,
    responses=api.problems(401, 403, 404, 422),
)
async def get_analysis_gate(
    request: Request, context: api.InContext, caller: InCaller, project: Slug, analysis: UUID
) -> Response:
    """Say how an analysis did."""
    target = await projects.open(context, caller, project)
    result = await service.of_analysis(context, target, analysis)
    if result is None:
        raise Missing(f"analysis {analysis} was taken before there were gates")
    return api.reply(request, result)


@badges.get("/badge/{project}/{branch:path}.svg")
async def get_badge(
    request: Request, context: api.InContext, project: str, branch: str
) -> Response:
    """Draw the verdict about a branch: for everybody where the project allows it.

    A project whose badge is not public looks like one that does not exist.
    """
    verdict = await service.badge_of(
        context, await caller_of(request, context), project, branch=branch
    )
    body = badge.draw("insight", verdict)
    headers = {
        "cache-control": "no-cache",
        "etag": f'"{hashlib.blake2b(body, digest_size=16).hexdigest()}"',
        "cross-origin-resource-policy": "cross-origin",
    }
    if headers["etag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(body, 200, headers, media_type="image/svg+xml")
