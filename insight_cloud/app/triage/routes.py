"""Judgements and suppressions over HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import Field, StrictBool

from insight_cloud.app import api
from insight_cloud.app.accounts.identify import InCaller
from insight_cloud.app.issues import globs
from insight_cloud.app.issues.models import Filter, Muted, State
from insight_cloud.app.projects import service as projects
from insight_cloud.app.projects.routes import Slug
from insight_cloud.app.sarif.model import Category, Severity
from insight_cloud.app.triage import service
from insight_cloud.app.triage.models import Judged, Selection, Suppression, Verdict
from insight_cloud.core.errors import Invalid

__all__ = ["router"]

router = APIRouter(prefix="/api/v1", tags=["triage"])

_Text = Annotated[str | None, Field(default=None, max_length=500)]


class IssueFilter(api.Body):
    """The same questions as the list of issues asks; what is left out is open."""

    branch: Annotated[str | None, Field(default=None, max_length=255)]
    state: State | Literal["all"] = "open"
    severity: Annotated[list[Severity], Field(default_factory=list, max_length=5)]
    category: Category | None = None
    tool: _Text
    rule: _Text
    path: _Text
    q: _Text
    suppressed: StrictBool = False
    muted: Muted | None = None
    new_in: UUID | None = None
    fixed_in: UUID | None = None

    @property
    def filter(self) -> Filter:
        """The same, as the service understands it."""
        return Filter(
            branch=self.branch,
            state=None if self.state == "all" else self.state,
            severity=tuple(self.severity),
            category=self.category,
            tool=self.tool,
            rule=self.rule,
            path=self.path,
            text=self.q,
            suppressed=self.suppressed,
            muted=self.muted,
            new_in=self.new_in,
            fixed_in=self.fixed_in,
        )


class TriageRequest(api.Body):
    """What is decided about which issues: `ids`, or all that fit `filter`.

    `open` takes back what was decided before. `until` is the last day of `accepted`.
    """

    state: Literal["false_positive", "wont_fix", "accepted", "open"]
    ids: Annotated[
        list[UUID] | None, Field(default=None, min_length=1, max_length=service.IDS_LIMIT)
    ]
    filter: IssueFilter | None = None
    reason: str = Field(default="", max_length=service.REASON_LIMIT)
    until: date | None = None

    @property
    def selection(self) -> Selection:
        """Which issues are meant."""
        if (self.ids is None) == (self.filter is None):
            raise Invalid(
                "name the issues by `ids` or by `filter`",
                problems=(("/body/ids", "one of `ids` and `filter`, not both"),),
            )
        if self.filter is not None:
            return Selection(filter=self.filter.filter)
        return Selection(ids=tuple(self.ids or ()))

    @property
    def verdict(self) -> Verdict:
        """What is decided."""
        return Verdict(None if self.state == "open" else self.state, self.reason, self.until)


class NewSuppression(api.Body):
    """Which issues do not count: of a rule, at paths that fit a pattern, or both.

    In `path`, `*` is any text within a folder, `**` any folders, and a slash at the end means
    everything below.
    """

    tool: Annotated[str | None, Field(default=None, min_length=1, max_length=globs.LIMIT)]
    rule: Annotated[str | None, Field(default=None, min_length=1, max_length=globs.LIMIT)]
    path: Annotated[str | None, Field(default=None, min_length=1, max_length=globs.LIMIT)]
    reason: str = Field(min_length=1, max_length=service.REASON_LIMIT)
    until: date | None = None


@dataclass(frozen=True, slots=True)
class SuppressionList:
    """Every suppression of a project."""

    items: tuple[Suppression, ...]


@router.post(
    "/projects/{project}/issues/triage",
    operation_id="triage_issues",
    response_model=Judged,
    responses=api.problems(401, 403, 404, 422),
)
async def triage_issues(
    request: Request, context: api.InContext, caller: InCaller, project: Slug, body: TriageRequest
) -> Response:
    """Judge issues, one or many, for all branches of the project."""
    target = await projects.open(context, caller, project, "triage")
    judged = await service.judge(context, caller, target, body.selection, body.verdict)
    return api.reply(request, judged)


@router.get(
    "/projects/{project}/suppressions",
    operation_id="list_suppressions",
    response_model=SuppressionList,
    responses=api.problems(401, 403, 404, 422),
)
async def list_suppressions(
    request: Request, context: api.InContext, caller: InCaller, project: Slug
) -> Response:
    """List what is suppressed by rule and path (at most 200), the newest first."""
    target = await projects.open(context, caller, project)
    return api.reply(request, SuppressionList(await service.suppressions(context, target)))


@router.post(
    "/projects/{project}/suppressions",
    status_code=201,
    operation_id="add_suppression",
    response_model=Suppression,
    responses=api.problems(401, 403, 404, 409, 422),
)
async def add_suppression(
    request: Request, context: api.InContext, caller: InCaller, project: Slug, body: NewSuppression
) -> Response:
    """Take the issues of a rule or below a path out of all counts; for maintainers."""
    target = await projects.open(context, caller, project, "manage")
    made = await service.add_suppression(
        context,
        caller,
        target,
        tool=body.tool,
        rule=body.rule,
        path=body.path,
        reason=body.reason,
        until=body.until,
    )
    return api.reply(request, made, status=201)


@router.delete(
    "/projects/{project}/suppressions/{suppression}",
    status_code=204,
    response_class=Response,
    operation_id="remove_suppression",
    responses=api.problems(401, 403, 404, 422),
)
async def remove_suppression(
    context: api.InContext, caller: InCaller, project: Slug, suppression: UUID
) -> Response:
    """Let the issues count again; for maintainers."""
    target = await projects.open(context, caller, project, "manage")
    await service.remove_suppression(context, caller, target, suppression)
    return Response(status_code=204)
