"""Pages about pull requests: the list, and one with what it adds and what it fixes."""

from __future__ import annotations

import asyncio
from uuid import UUID

from fastapi import APIRouter, Response

from insight_cloud.app.analyses import branches
from insight_cloud.app.analyses import service as analyses
from insight_cloud.app.dashboard import present, queries, views
from insight_cloud.app.dashboard.frames import InMember
from insight_cloud.app.dashboard.heads import HOME, above, head_of
from insight_cloud.app.dashboard.queries import RunState
from insight_cloud.app.dashboard.views import Crumb
from insight_cloud.app.issues import service as issues
from insight_cloud.app.issues.models import Filter
from insight_cloud.app.projects import service as projects
from insight_cloud.core.errors import Missing

__all__ = ["router"]

router = APIRouter()

_SHOWN = 25
_ANALYSES = 10


@router.get("/projects/{slug}/pulls")
async def pulls_page(visit: InMember, slug: str, closed: str = "", cursor: str = "") -> Response:
    """List pull requests; closed ones on request."""
    context = visit.context
    project = await projects.open(context, visit.caller, slug)
    page = await branches.listed(
        context, project, kind="pr", closed=closed == "1", cursor=cursor or None
    )
    path = f"/projects/{slug}/pulls"
    view = views.PullsPage(
        project=await head_of(visit, project, tab="pulls"),
        pulls=tuple(present.pull_line(one, slug=slug) for one in page.items),
        server_url=context.settings.server.url,
        next_href=present.href(path, closed=closed, cursor=page.next) if page.next else "",
        with_closed=closed == "1",
    )
    title = f"Pull requests of {project.name}"
    return visit.show("pulls.html", view, title, crumbs=[HOME])


@router.get("/projects/{slug}/pulls/{pr}")
async def pull_page(visit: InMember, slug: str, pr: str) -> Response:
    """Show one pull request."""
    context = visit.context
    project = await projects.open(context, visit.caller, slug)
    if not pr.isascii() or not pr.isdecimal() or not 0 < int(pr) < 2**31:
        raise Missing("that address does not exist")
    pull = await branches.pull(context, project, int(pr))
    new = Filter(branch=pull.name)
    gone = Filter(branch=pull.name, gone=True)
    new_page, gone_page, recent = await asyncio.gather(
        issues.page(context, project, new, limit=_SHOWN),
        issues.page(context, project, gone, limit=_SHOWN),
        analyses.newest_first(context, project, branch=pull.name, limit=_ANALYSES),
    )
    runs: dict[UUID, list[RunState]] = {}
    for run in await queries.runs(context.pool, analyses=[one.id for one in recent.items]):
        runs.setdefault(run.analysis, []).append(run)
    gate = None
    if recent.items:
        detail = await analyses.one(context, project, recent.items[0].id)
        gate = present.gate(detail.gate)
    list_path = f"/projects/{slug}/issues"
    view = views.PullPage(
        project=present.head(project, branch=pull.name),
        pull=present.pull_line(pull, slug=slug),
        gate=gate,
        new_issues=tuple(present.issue_line(one, slug=slug) for one in new_page.items),
        fixed_issues=tuple(present.issue_line(one, slug=slug) for one in gone_page.items),
        new_href=present.href(list_path, branch=pull.name),
        fixed_href=present.href(list_path, branch=pull.name, gone="1"),
        analyses=tuple(present.analysis_line(one, slug=slug, runs=runs) for one in recent.items),
    )
    crumbs = [*above(project), Crumb("Pull requests", f"/projects/{slug}/pulls")]
    return visit.show("pull.html", view, f"Pull request {pr} of {project.name}", crumbs=crumbs)
