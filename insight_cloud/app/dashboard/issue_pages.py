"""Pages about issues: the list, one of them, what people decide about them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from urllib.parse import parse_qsl

from fastapi import APIRouter, Response
from starlette.datastructures import QueryParams

from insight_cloud.app.analyses import service as analyses
from insight_cloud.app.dashboard import filters, markdown, present, queries, views
from insight_cloud.app.dashboard.filters import Wanted
from insight_cloud.app.dashboard.forms import Form, date_of, verdict_of, verdict_options
from insight_cloud.app.dashboard.frames import InMember, Member, faults, go, parse_id
from insight_cloud.app.dashboard.heads import HOME, above, head_of, may
from insight_cloud.app.dashboard.views import Crumb, Field
from insight_cloud.app.issues import service as issues
from insight_cloud.app.issues.models import Code
from insight_cloud.app.projects import service as projects
from insight_cloud.app.projects.models import Project
from insight_cloud.app.triage import service as triage
from insight_cloud.app.triage.models import Selection
from insight_cloud.app.triage.models import Suppression as Suppressed
from insight_cloud.core.errors import Conflict, Invalid

__all__ = ["router"]

router = APIRouter()

_LISTED = 50
_DOWNLOADS = {
    "csv": "CSV",
    "jsonl": "JSON lines",
    "sarif": "SARIF",
    "codeclimate.json": "Code Climate",
}


# -- the list --------------------------------------------------------------------------------


@router.get("/projects/{slug}/issues")
async def issues_page(visit: InMember, slug: str) -> Response:
    """List issues by the filters in the address."""
    wanted = filters.parse(visit.request.query_params)
    project = await projects.open(visit.context, visit.caller, slug)
    return await _issues_page(visit, project, wanted)


@router.post("/projects/{slug}/issues/triage")
async def judge_issues(visit: InMember, slug: str, form: Form) -> Response:
    """Judge the chosen issues, or all that fit the filters of the list."""
    context = visit.context
    project = await projects.open(context, visit.caller, slug, "triage")
    query = QueryParams(parse_qsl(form.text("query")))
    wanted = filters.parse(query)
    chosen = tuple(parse_id(text) for text in form.texts("ids")[: triage.IDS_LIMIT])
    everything = form.text("which") == "all"
    selection = Selection(filter=wanted.filter) if everything else Selection(ids=chosen)
    try:
        await triage.judge(context, visit.caller, project, selection, verdict_of(form))
    except Invalid as error:
        values = form.only("verdict", "reason", "until", "which")
        return await _issues_page(visit, project, wanted, form=faults(error, values), status=422)
    return go(wanted.address(f"/projects/{slug}/issues"), done="judged")


async def _issues_page(
    visit: Member,
    project: Project,
    wanted: Wanted,
    *,
    form: dict[str, Field] | None = None,
    status: int = 200,
) -> Response:
    context, path = visit.context, f"/projects/{project.slug}/issues"
    head = await head_of(visit, project, tab="issues", branch=wanted.branch, page="/issues")
    rows, tools, page, analysed = await asyncio.gather(
        queries.open_by_both(context.pool, project_id=project.number, branch=head.branch),
        queries.tools(context.pool, project_id=project.number),
        issues.page(context, project, wanted.filter, cursor=wanted.cursor or None, limit=_LISTED),
        analyses.newest_first(context, project, branch=head.branch, limit=1),
    )
    form = form or {}
    view = views.IssuesPage(
        project=head,
        filters=filters.form(wanted, path, rows=rows, tools=tools),
        issues=tuple(present.issue_line(one, slug=project.slug) for one in page.items),
        total=filters.total(wanted, rows),
        next_href=wanted.address(path, cursor=page.next) if page.next else "",
        first_href=wanted.address(path, cursor="") if wanted.cursor else "",
        analysed=bool(analysed.items),
        state=wanted.state,
        query=wanted.address("").removeprefix("?"),
        downloads=_downloads(project, wanted),
        may_triage=may(visit, project, "triage"),
        verdicts=verdict_options(form.get("verdict", Field()).value),
        form=form,
    )
    title = f"Issues of {project.name}"
    return visit.show(
        "issues.html", view, title, crumbs=[HOME], status=status, path=wanted.address(path)
    )


def _downloads(project: Project, wanted: Wanted) -> tuple[Crumb, ...]:
    """The list as a file, with the same filters."""
    base = f"/api/v1/projects/{project.slug}/issues"
    return tuple(
        Crumb(label, wanted.address(f"{base}.{extension}", cursor=""))
        for extension, label in _DOWNLOADS.items()
    )


# -- one of them -----------------------------------------------------------------------------


@router.get("/projects/{slug}/issues/{issue}")
async def issue_page(visit: InMember, slug: str, issue: str) -> Response:
    """Show one issue."""
    project = await projects.open(visit.context, visit.caller, slug)
    return await _issue_page(visit, project, issue)


@router.post("/projects/{slug}/issues/{issue}/triage")
async def judge_issue(visit: InMember, slug: str, issue: str, form: Form) -> Response:
    """Judge one issue."""
    project = await projects.open(visit.context, visit.caller, slug, "triage")
    selection = Selection(ids=(parse_id(issue),))
    try:
        await triage.judge(visit.context, visit.caller, project, selection, verdict_of(form))
    except Invalid as error:
        values = form.only("verdict", "reason", "until")
        return await _issue_page(visit, project, issue, form=faults(error, values), status=422)
    return go(f"/projects/{slug}/issues/{selection.ids[0]}", done="judged")


async def _issue_page(
    visit: Member,
    project: Project,
    issue: str,
    *,
    form: dict[str, Field] | None = None,
    status: int = 200,
) -> Response:
    context, id, slug = visit.context, parse_id(issue), project.slug  # noqa: A001 - the API's word
    detail, identity, last = await asyncio.gather(
        issues.one(context, project, id),
        queries.identity(context.pool, project_id=project.number, id=id),
        queries.last_seen(context.pool, project_id=project.number, id=id),
    )
    found = detail.issue
    base = f"/projects/{slug}"
    branch = "" if detail.branch == project.default_branch else detail.branch
    events = tuple(present.event_line(one, slug=slug) for one in detail.events)
    form = form or {}
    chosen = form["verdict"].value if "verdict" in form else found.triage or ""
    view = views.IssuePage(
        project=present.head(project, branch=detail.branch),
        href=f"{base}/issues/{id}",
        heading=present.headline(found.message),
        message=found.message,
        severity=found.severity,
        category=found.category,
        state=found.state,
        suppressed=found.suppressed,
        tool=found.tool,
        rule=found.rule,
        rule_name=detail.rule_name,
        rule_summary=detail.rule_summary,
        rule_help=markdown.render(_help(detail.rule_help, detail.rule_summary)),
        rule_uri=_web(detail.rule_help_uri),
        rule_href=present.href(f"{base}/issues", branch=branch, tool=found.tool, rule=found.rule),
        place=present.place(found.path, found.line),
        path_href=present.href(f"{base}/issues", branch=branch, path=found.path)
        if found.path
        else "",
        columns=present.extent(found.line, detail.end_line, detail.column, detail.end_column),
        since=events[0].at if events else found.created_at,
        last=views.EventLine(
            "new",
            "Last seen",
            last.created_at,
            present.commit(last.commit),
            f"{base}/analyses/{last.id}",
        )
        if last
        else None,
        events=events,
        related=present.places(detail.related),
        flow=present.places(detail.flow),
        code=_numbered(detail.code),
        tracked_by=present.tracked_by(identity, found.tool),
        in_source=detail.in_source,
        judgement=present.decision(
            present.VERDICTS[found.triage] if found.triage else "", detail.judgement
        ),
        suppression=present.decision("Suppressed by a rule", detail.suppression),
        may_triage=may(visit, project, "triage"),
        verdicts=verdict_options(chosen),
        suppress_href=present.href(
            f"{base}/suppressions", tool=found.tool, rule=found.rule, path=found.path
        )
        if may(visit, project, "manage")
        else "",
        form=form,
    )
    crumbs = [*above(project), Crumb("Issues", present.href(f"{base}/issues", branch=branch))]
    title = f"{found.rule}: {view.heading}"
    return visit.show("issue.html", view, title, crumbs=crumbs, status=status, path=view.href)


def _numbered(code: Code | None) -> tuple[tuple[int, str], ...]:
    return () if code is None else tuple(enumerate(code.text.split("\n"), code.line))


def _help(text: str, summary: str) -> str:
    """The help where it says more than the summary."""
    return "" if text.strip() == summary.strip() else text


def _web(uri: str) -> str:
    """A tool's link where it leads to the web; anything else could run a script."""
    return uri if uri.startswith(("https://", "http://")) else ""


# -- suppressions ----------------------------------------------------------------------------


@router.get("/projects/{slug}/suppressions")
async def suppressions_page(
    visit: InMember, slug: str, tool: str = "", rule: str = "", path: str = ""
) -> Response:
    """Show what is suppressed by rule and path, and the form for more, filled in by a link."""
    project = await projects.open(visit.context, visit.caller, slug)
    form = {"tool": Field(tool), "rule": Field(rule), "path": Field(path)}
    return await _suppressions_page(visit, project, form=form)


@router.post("/projects/{slug}/suppressions")
async def add_suppression(visit: InMember, slug: str, form: Form) -> Response:
    """Suppress by rule and path."""
    project = await projects.open(visit.context, visit.caller, slug, "manage")
    values = form.only("tool", "rule", "path", "reason", "until")
    try:
        await triage.add_suppression(
            visit.context,
            visit.caller,
            project,
            tool=values["tool"] or None,
            rule=values["rule"] or None,
            path=values["path"] or None,
            reason=values["reason"],
            until=date_of(values["until"]),
        )
    except (Invalid, Conflict) as error:
        return await _suppressions_page(visit, project, form=faults(error, values), status=422)
    return go(f"/projects/{slug}/suppressions", done="suppressed")


@router.post("/projects/{slug}/suppressions/{suppression}/remove")
async def remove_suppression(visit: InMember, slug: str, suppression: str) -> Response:
    """Let its issues count again."""
    project = await projects.open(visit.context, visit.caller, slug, "manage")
    await triage.remove_suppression(visit.context, visit.caller, project, parse_id(suppression))
    return go(f"/projects/{slug}/suppressions", done="unsuppressed")


async def _suppressions_page(
    visit: Member, project: Project, *, form: dict[str, Field], status: int = 200
) -> Response:
    found = await triage.suppressions(visit.context, project)
    base = f"/projects/{project.slug}"
    view = views.SuppressionsPage(
        project=replace(await head_of(visit, project, tab="issues"), branch="", branches=()),
        suppressions=tuple(_suppression_line(one) for one in found),
        held_href=present.href(f"{base}/issues", muted="rule"),
        may_manage=may(visit, project, "manage"),
        form=form,
    )
    title = f"Suppressions of {project.name}"
    crumbs = [*above(project), Crumb("Issues", f"{base}/issues")]
    path = f"{base}/suppressions"
    return visit.show("suppressions.html", view, title, crumbs=crumbs, status=status, path=path)


def _suppression_line(one: Suppressed) -> views.SuppressionLine:
    rule = " ".join(part for part in (one.tool, one.rule) if part)
    what = " in ".join(part for part in (rule, one.path) if part)
    return views.SuppressionLine(
        str(one.id), what, one.reason, one.author, one.created_at, one.issues, one.until
    )
