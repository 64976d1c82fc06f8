"""Pages about projects: the overview, a project, its issues, its analyses, its settings."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from uuid import UUID

from fastapi import APIRouter, Response

from insight_cloud.app.accounts import service as accounts
from insight_cloud.app.analyses import service as analyses
from insight_cloud.app.dashboard import charts, present, queries, reads, views
from insight_cloud.app.dashboard.forms import (
    Form,
    condition_of,
    days_of,
    level_of,
    role_of,
    scope_options,
    scopes_of,
)
from insight_cloud.app.dashboard.frames import InMember, Member, faults, go, parse_id
from insight_cloud.app.dashboard.heads import HOME, above, head_of
from insight_cloud.app.dashboard.queries import RunState
from insight_cloud.app.dashboard.views import Change, Counts, Field, Option
from insight_cloud.app.gates import service as gates
from insight_cloud.app.gates.judge import say
from insight_cloud.app.issues import service as issues
from insight_cloud.app.issues.grade import LETTERS
from insight_cloud.app.issues.models import Filter, ProjectState
from insight_cloud.app.privacy import LEVELS, MEANINGS
from insight_cloud.app.projects import service as projects
from insight_cloud.app.projects.models import Project
from insight_cloud.app.sarif.model import CATEGORIES, SEVERITIES
from insight_cloud.core.errors import Conflict, Invalid, Missing, Refused

__all__ = ["router"]

router = APIRouter()

_OF_ANALYSIS = 25


# -- overview --------------------------------------------------------------------------------


@router.get("/")
async def overview(visit: InMember) -> Response:
    """Show every project that the viewer sees, what got worse first."""
    context = visit.context
    known = await reads.overview(context, await projects.visible(context, visit.caller))
    runs = _by_analysis(known.runs)
    last = {one.slug: _newest_line(one, runs) for one in known.newest}
    changes = present.changes(known.weeks)
    lines = [
        _project_line(state, changes.get(state.slug, Change()), last.get(state.slug))
        for state in known.states
    ]
    lines.sort(key=lambda line: (tuple(-net for net in line.week.worse), line.name.lower()))
    view = views.Overview(
        projects=tuple(lines),
        server_url=context.settings.server.url,
        may_create=visit.caller.project_id is None,
        open=sum((line.open for line in lines), Counts()),
        week=Change(
            sum((line.week.new for line in lines), Counts()),
            sum((line.week.fixed for line in lines), Counts()),
        ),
        incomplete=sum(bool(line.last and line.last.not_green) for line in lines),
    )
    return visit.show("overview.html", view, "Overview")


def _project_line(
    state: ProjectState, week: Change, last: views.AnalysisLine | None
) -> views.ProjectLine:
    known = Counts(
        state.open.critical, state.open.high, state.open.medium, state.open.low, state.open.info
    )
    values: list[int | None] = [None] * (30 - len(state.trend_30_days))
    return views.ProjectLine(
        slug=state.slug,
        name=state.name,
        branch=state.branch,
        open=known,
        week=week,
        spark=charts.sparkline(
            [*values, *state.trend_30_days],
            key=f"spark-{state.slug}",
            label=f"Open issues of {state.name} in 30 days",
        ),
        bar=charts.bar(known),
        last=last,
    )


def _newest_line(one: queries.Newest, runs: dict[UUID, list[RunState]]) -> views.AnalysisLine:
    mine = runs.get(one.id, [])
    why = present.not_green(mine) or "a tool did not finish"
    return views.AnalysisLine(
        href=f"/projects/{one.slug}/analyses/{one.id}",
        commit=present.commit(one.commit),
        branch=one.branch,
        created_at=one.created_at,
        uploader=one.uploader,
        tools=tuple(dict.fromkeys(run.tool for run in mine)),
        new=one.new,
        fixed=one.fixed,
        open=one.open,
        not_green="" if one.complete else why,
        verdict=one.verdict,
        grade=one.grade,
    )


def _by_analysis(runs: Iterable[RunState]) -> dict[UUID, list[RunState]]:
    """How the tools of each analysis ended."""
    found: dict[UUID, list[RunState]] = defaultdict(list)
    for run in runs:
        found[run.analysis].append(run)
    return found


# -- a new project ---------------------------------------------------------------------------


@router.get("/new")
async def new_project(visit: InMember) -> Response:
    """Show the form for a new project."""
    return visit.show("new_project.html", views.NewProject(), "New project", crumbs=[HOME])


@router.post("/new")
async def create_project(visit: InMember, form: Form) -> Response:
    """Make a project and go there."""
    values = form.only("name", "slug", "default_branch")
    try:
        created = await projects.create(
            visit.context, visit.caller, slug=values["slug"], name=values["name"]
        )
    except (Invalid, Conflict) as error:
        view = views.NewProject(form=faults(error, values))
        return visit.show(
            "new_project.html", view, "New project", crumbs=[HOME], status=422, path="/new"
        )
    if values["default_branch"] not in {"", created.default_branch}:
        try:
            await projects.change(
                visit.context,
                visit.caller,
                created.slug,
                default_branch=values["default_branch"],
            )
        except Invalid as error:
            # The project is there; its settings are the place to correct the branch.
            project = await projects.open(visit.context, visit.caller, created.slug)
            return await _settings_page(visit, project, form=faults(error, values), status=422)
    return go(f"/projects/{created.slug}", done="created")


# -- a project -------------------------------------------------------------------------------


@router.get("/projects/{slug}")
async def project_page(visit: InMember, slug: str, branch: str = "") -> Response:
    """Show the state and the trend of a branch."""
    context = visit.context
    project = await projects.open(context, visit.caller, slug)
    head = await head_of(visit, project, tab="summary", branch=branch)
    known = await reads.summary(context, project, head.branch)
    today, runs = context.now().date(), _by_analysis(known.runs)
    week = [day for day in known.days if (today - day.day).days < 7]
    open_counts = present.counts((rank, number) for _, rank, number in known.open)
    view = views.ProjectPage(
        project=head,
        open=open_counts,
        new_this_week=sum(day.new for day in week),
        fixed_this_week=sum(day.fixed for day in week),
        categories=present.categories(known.open, project=project, branch=head.branch),
        trend=present.trend(known.days[-90:]),
        weeks=present.weekly(known.days, today=today),
        top_rules=present.ranked_rules(
            known.rules, known.texts, project=project, branch=head.branch
        ),
        top_paths=present.ranked_paths(known.paths, project=project, branch=head.branch),
        analyses=tuple(
            present.analysis_line(one, slug=slug, runs=runs) for one in known.recent.items
        ),
        server_url=context.settings.server.url,
        gate=present.gate(known.gate),
    )
    return visit.show("project.html", view, project.name, crumbs=[HOME])


# -- analyses --------------------------------------------------------------------------------


@router.get("/projects/{slug}/analyses/{analysis}")
async def analysis_page(visit: InMember, slug: str, analysis: str) -> Response:
    """Show one analysis: its tools, and what it changed."""
    context, id = visit.context, parse_id(analysis)  # noqa: A001 - the API's word
    project = await projects.open(context, visit.caller, slug)
    detail = await analyses.one(context, project, id)
    found = detail.analysis
    new = Filter(branch=found.branch, state=None, new_in=id)
    fixed = Filter(branch=found.branch, state="fixed", fixed_in=id)
    new_page, fixed_page = await asyncio.gather(
        issues.page(context, project, new, limit=_OF_ANALYSIS),
        issues.page(context, project, fixed, limit=_OF_ANALYSIS),
    )
    states = [RunState(id, run.tool, run.state, run.detail) for run in detail.runs]
    list_path = f"/projects/{slug}/issues"
    branch = "" if found.branch == project.default_branch else found.branch
    view = views.AnalysisPage(
        project=present.head(project, branch=found.branch),
        id=str(id),
        commit=present.commit(found.commit),
        branch=found.branch,
        category=found.category,
        uploader=found.uploader,
        created_at=found.created_at,
        seconds=found.seconds,
        complete=found.complete,
        not_green="" if found.complete else present.not_green(states) or "a tool did not finish",
        new=found.new,
        fixed=found.fixed,
        reopened=found.reopened,
        unchanged=found.unchanged,
        open=found.open,
        suppressed=found.suppressed,
        runs=tuple(
            views.RunLine(
                run.tool, run.version, run.category, run.state, run.detail, run.results, run.seconds
            )
            for run in detail.runs
        ),
        warnings=tuple(views.WarningLine(one.pointer, one.detail) for one in detail.warnings),
        warnings_total=found.warnings_total,
        new_href=present.href(list_path, branch=branch, state="all", new_in=id),
        fixed_href=present.href(list_path, branch=branch, state="fixed", fixed_in=id),
        new_issues=tuple(present.issue_line(one, slug=slug) for one in new_page.items),
        fixed_issues=tuple(present.issue_line(one, slug=slug) for one in fixed_page.items),
        gate=present.gate(detail.gate),
    )
    title = f"Analysis of {view.commit[:10]}"
    return visit.show("analysis.html", view, title, crumbs=above(project))


# -- settings --------------------------------------------------------------------------------


@router.get("/projects/{slug}/settings")
async def project_settings(visit: InMember, slug: str) -> Response:
    """Show a project's settings to those who may change them."""
    return await _settings_page(visit, await _managed(visit, slug))


@router.post("/projects/{slug}/settings")
async def change_project(visit: InMember, slug: str, form: Form) -> Response:
    """Rename a project, or choose its default branch."""
    project = await _managed(visit, slug)
    values = form.only("name", "default_branch")
    try:
        await projects.change(
            visit.context,
            visit.caller,
            slug,
            name=values["name"],
            default_branch=values["default_branch"],
            public_badge=bool(form.text("public_badge")),
            privacy=level_of(form.text("privacy")),
        )
    except Invalid as error:
        return await _settings_page(visit, project, form=faults(error, values), status=422)
    return go(f"/projects/{slug}/settings", done="saved")


@router.post("/projects/{slug}/settings/members")
async def put_member(visit: InMember, slug: str, form: Form) -> Response:
    """Add a member, or give one another role."""
    project = await _managed(visit, slug)
    values = form.only("email")
    try:
        role = role_of(form.text("role"))
        await projects.put_member(
            visit.context, visit.caller, slug, email=values["email"], role=role
        )
    except (Invalid, Missing, Conflict) as error:
        return await _settings_page(visit, project, form=faults(error, values), status=422)
    return go(f"/projects/{slug}/settings", done="member-saved")


@router.post("/projects/{slug}/settings/members/remove")
async def remove_member(visit: InMember, slug: str, form: Form) -> Response:
    """Make somebody no member any more; who leaves goes back to the overview."""
    project = await _managed(visit, slug)
    email = form.text("email")
    try:
        await projects.remove_member(visit.context, visit.caller, slug, email=email)
    except (Missing, Conflict) as error:
        return await _settings_page(visit, project, form=faults(error, {}), status=422)
    if email == visit.caller.email and not visit.caller.sees_all:
        return go("/", done="left")
    return go(f"/projects/{slug}/settings", done="member-removed")


@router.post("/projects/{slug}/settings/tokens")
async def add_token(visit: InMember, slug: str, form: Form) -> Response:
    """Make a token for this project alone, and show it this one time."""
    project = await _managed(visit, slug)
    try:
        made = await accounts.add_token(
            visit.context,
            visit.caller,
            name=form.text("token_name"),
            scopes=scopes_of(form.texts("token_scopes")),
            project=slug,
            days=days_of(form.text("token_days")),
        )
    except (Invalid, Conflict, Refused) as error:
        return await _settings_page(visit, project, form=form.token_faults(error), status=422)
    return await _settings_page(visit, project, new_token=made.token)


@router.post("/projects/{slug}/settings/tokens/{token}/revoke")
async def revoke_token(visit: InMember, slug: str, token: str) -> Response:
    """Revoke a token."""
    await projects.revoke_token(visit.context, visit.caller, slug, parse_id(token))
    return go(f"/projects/{slug}/settings", done="token-revoked")


@router.post("/projects/{slug}/settings/delete")
async def delete_project(visit: InMember, slug: str, form: Form) -> Response:
    """Delete a project whose short name was typed."""
    project = await _managed(visit, slug)
    typed = form.text("confirm")
    if typed != slug:
        wrong = {"confirm": Field(typed, f"This is not {slug}; nothing was deleted.")}
        return await _settings_page(visit, project, form=wrong, status=422)
    await projects.delete(visit.context, visit.caller, slug)
    return go("/", done="deleted")


async def _managed(visit: Member, slug: str) -> Project:
    return await projects.open(visit.context, visit.caller, slug, "manage")


@router.post("/projects/{slug}/settings/gate")
async def add_condition(visit: InMember, slug: str, form: Form) -> Response:
    """Demand one thing more."""
    project = await _managed(visit, slug)
    gate = await gates.read(visit.context, project)
    try:
        await gates.set_conditions(
            visit.context, visit.caller, project, (*gate.conditions, condition_of(form))
        )
    except Invalid as error:
        values = form.only("metric", "most", "grade")
        return await _settings_page(visit, project, form=faults(error, values), status=422)
    return go(f"/projects/{slug}/settings", done="gate-saved")


@router.post("/projects/{slug}/settings/gate/remove")
async def remove_condition(visit: InMember, slug: str, form: Form) -> Response:
    """Demand one thing less; by its words, so that two at once remove no other."""
    project = await _managed(visit, slug)
    gate = await gates.read(visit.context, project)
    words = form.text("words")
    left = [one for one in gate.conditions if say(one) != words]
    await gates.set_conditions(visit.context, visit.caller, project, left)
    return go(f"/projects/{slug}/settings", done="gate-saved")


@router.post("/projects/{slug}/settings/gate/reset")
async def reset_gate(visit: InMember, slug: str) -> Response:
    """Demand what a new project does."""
    project = await _managed(visit, slug)
    await gates.set_conditions(visit.context, visit.caller, project, None)
    return go(f"/projects/{slug}/settings", done="gate-saved")


async def _settings_page(
    visit: Member,
    project: Project,
    *,
    form: dict[str, Field] | None = None,
    status: int = 200,
    new_token: str = "",
) -> Response:
    members, tokens, gate = await asyncio.gather(
        projects.list_members(visit.context, visit.caller, project.slug),
        projects.list_tokens(visit.context, visit.caller, project.slug),
        gates.read(visit.context, project),
    )
    shown = {"name": Field(project.name), "default_branch": Field(project.default_branch)}
    view = views.ProjectSettings(
        project=present.head(project, tab="settings", may_manage=True),
        members=tuple(
            views.MemberLine(
                one.name, one.email, one.role, is_viewer=one.id == visit.caller.public_id
            )
            for one in members
        ),
        roles=("viewer", "triager", "maintainer"),
        tokens=tuple(replace(present.token_line(one, visit.caller), project="") for one in tokens),
        scopes=scope_options(chosen=("ingest",)),
        server_url=visit.context.settings.server.url,
        form=shown | (form or {}),
        new_token=new_token,
        gate=tuple(say(one) for one in gate.conditions),
        gate_is_default=gate.is_default,
        severities=tuple(Option(one, one.capitalize()) for one in SEVERITIES),
        categories=tuple(Option(one, one.capitalize()) for one in CATEGORIES),
        grades=LETTERS,
        public_badge=project.public_badge,
        privacy=tuple(Option(level, MEANINGS[level], level == project.privacy) for level in LEVELS),
    )
    return visit.show(
        "project_settings.html",
        view,
        f"Settings of {project.name}",
        crumbs=[HOME],
        status=status,
        path=f"/projects/{project.slug}/settings",
        secret=bool(new_token),
    )
