"""What the services know, as the views that pages show: pure, no clock, no I/O."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from insight_cloud.app.accounts.models import ApiToken, Caller
from insight_cloud.app.analyses.models import Analysis, BranchState
from insight_cloud.app.dashboard import charts
from insight_cloud.app.dashboard.queries import Identity, RuleText, RunState
from insight_cloud.app.dashboard.views import (
    AnalysisLine,
    Branch,
    CategoryLine,
    Change,
    Chart,
    Counts,
    Day,
    Decision,
    EventLine,
    GateLine,
    GateView,
    GradeView,
    IssueLine,
    Place,
    ProjectHead,
    PullLine,
    Ranked,
    TokenLine,
    Week,
)
from insight_cloud.app.gates.judge import say
from insight_cloud.app.gates.models import Result
from insight_cloud.app.issues.models import RANKS, Event, Issue, Top, TriageState
from insight_cloud.app.issues.models import Counts as OpenCounts
from insight_cloud.app.issues.models import Day as TrendDay
from insight_cloud.app.issues.models import Decision as IssueDecision
from insight_cloud.app.issues.models import Place as IssuePlace
from insight_cloud.app.projects.models import Project

__all__ = [
    "VERDICTS",
    "agent",
    "analysis_line",
    "categories",
    "changes",
    "clipped",
    "commit",
    "counts",
    "days",
    "decision",
    "event_line",
    "extent",
    "first_line",
    "gate",
    "head",
    "headline",
    "href",
    "issue_line",
    "not_green",
    "place",
    "places",
    "pull_line",
    "ranked_paths",
    "ranked_rules",
    "token_line",
    "tracked_by",
    "trend",
    "weekly",
]

VERDICTS: dict[TriageState, str] = {
    "false_positive": "False positive",
    "wont_fix": "Won't fix",
    "accepted": "Accepted",
}
"""Judgements in the words of the pages."""

_EVENTS = {
    "new": ("First reported", "new"),
    "fixed": ("Fixed", "fixed"),
    "reopened": ("Came back", "reopened"),
    "triaged": ("Judged", "judged"),
    "reset": ("Judgement taken back", "reopened"),
    "expired": ("Judgement expired", "clock"),
    "suppressed": ("Suppressed by a rule", "skip"),
    "unsuppressed": ("No longer suppressed", "reopened"),
}

_SEVERITIES = {rank: name for name, rank in RANKS.items()}
_HEADING_CHARACTERS = 160
_ENDED = {"failed": "failed", "timed_out": "timed out"}
_DETAIL_CHARACTERS = 200


def href(path: str, /, **parameters: object) -> str:
    """The address of `path` with the parameters that say something."""
    used = {
        name: str(value) if not isinstance(value, tuple) else value
        for name, value in parameters.items()
        if value not in {None, "", (), False}
    }
    return f"{path}?{urlencode(used, doseq=True)}" if used else path


# -- numbers ---------------------------------------------------------------------------------


def counts(rows: Iterable[tuple[int, int]]) -> Counts:
    """Pairs of rank and number as counts; what occurs twice adds up."""
    found: dict[str, int] = defaultdict(int)
    for rank, number in rows:
        found[_SEVERITIES[rank]] += number
    return Counts(**found)


def changes(rows: Iterable[tuple[str, int, int, int]]) -> dict[str, Change]:
    """Slug, rank, new and fixed as one change for each slug."""
    new, fixed = defaultdict(list), defaultdict(list)
    for slug, rank, came, went in rows:
        new[slug].append((rank, came))
        fixed[slug].append((rank, went))
    return {slug: Change(counts(new[slug]), counts(fixed[slug])) for slug in new}


def days(trend: Sequence[TrendDay]) -> list[Day]:
    """The open issues of a trend, as charts draw them."""
    return [Day(one.day, _drawn(one.open)) for one in trend]


def trend(known: Sequence[TrendDay]) -> Chart | None:
    """The chart of open issues; None until there are two days to compare."""
    return charts.trend(days(known), key="trend-chart") if len(known) > 1 else None


def weekly(known: Sequence[TrendDay], *, today: date, weeks: int = 13) -> Chart | None:
    """The chart of new and fixed issues; None until there are two days to compare."""
    if len(known) < 2:
        return None
    first = today - timedelta(days=7 * weeks - 1)
    new, fixed = [0] * weeks, [0] * weeks
    for one in known:
        index = (one.day - first).days // 7
        if index >= 0:
            new[index] += one.new
            fixed[index] += one.fixed
    found = [
        Week(first + timedelta(days=7 * index), new[index], fixed[index]) for index in range(weeks)
    ]
    return charts.weekly(found, key="weekly-chart")


def _drawn(open_counts: OpenCounts) -> Counts:
    return Counts(
        open_counts.critical,
        open_counts.high,
        open_counts.medium,
        open_counts.low,
        open_counts.info,
    )


def categories(
    rows: Iterable[tuple[str, int, int]], *, project: Project, branch: str
) -> tuple[CategoryLine, ...]:
    """Category, rank and number as one line for each category, the worst first."""
    found: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for category, rank, number in rows:
        found[category].append((rank, number))
    lines = [(name, counts(parts)) for name, parts in found.items()]
    lines.sort(key=lambda line: (tuple(-count for _, count in line[1]), line[0]))
    return tuple(
        CategoryLine(
            name,
            open_counts,
            charts.bar(open_counts),
            _issues(project, branch, category=name),
        )
        for name, open_counts in lines
    )


def ranked_rules(
    rows: Sequence[Top], texts: Iterable[RuleText], *, project: Project, branch: str
) -> tuple[Ranked, ...]:
    """The rules with the most open issues, with what they are about."""
    known = {text.label: text for text in texts}
    most = max((row.open for row in rows), default=0)
    lines = []
    for row in rows:
        text = known.get(row.name) or RuleText(row.name, "", row.name, "", "")
        about = text.summary or (text.name if text.name != text.code else "")
        lines.append(
            Ranked(
                text.code,
                " · ".join(part for part in (text.tool, clipped(about, 90)) if part),
                row.open,
                _issues(project, branch, tool=text.tool, rule=text.code),
                charts.share(row.open, most),
            )
        )
    return tuple(lines)


def ranked_paths(rows: Sequence[Top], *, project: Project, branch: str) -> tuple[Ranked, ...]:
    """The files with the most open issues."""
    most = max((row.open for row in rows), default=0)
    return tuple(
        Ranked(
            row.name,
            "",
            row.open,
            _issues(project, branch, path=row.name),
            charts.share(row.open, most),
        )
        for row in rows
    )


# -- projects and analyses -------------------------------------------------------------------


def head(
    project: Project,
    *,
    tab: Any = "",
    branch: str = "",
    branches: Sequence[str] = (),
    may_manage: bool = False,
    page: str = "",
) -> ProjectHead:
    """The head of a project's pages. `page` is what follows the project in this one's address."""
    current = branch or project.default_branch
    base = f"/projects/{project.slug}"
    default = project.default_branch
    names = sorted({*branches, default}, key=lambda name: (name != default, name))
    query = "" if current == default else href("", branch=current)
    return ProjectHead(
        slug=project.slug,
        name=project.name,
        branch=current,
        tab=tab,
        may_manage=may_manage,
        branch_query=query,
        counts_only=project.privacy == "counts",
        branches=tuple(
            Branch(
                name,
                href(base + page, branch="" if name == default else name),
                current=name == current,
            )
            for name in names
        ),
    )


def not_green(runs: Iterable[RunState]) -> str:
    """Why an analysis is incomplete: the tools that did not finish, and what they said."""
    return "; ".join(
        f"{run.tool} {_ENDED[run.state]}" + (f": {first_line(run.detail)}" if run.detail else "")
        for run in runs
        if run.state in _ENDED
    )


def analysis_line(
    analysis: Analysis, *, slug: str, runs: Mapping[UUID, Sequence[RunState]]
) -> AnalysisLine:
    """One analysis of a list."""
    mine = runs.get(analysis.id, ())
    why = not_green(mine) or "a tool did not finish"
    return AnalysisLine(
        href=f"/projects/{slug}/analyses/{analysis.id}",
        commit=commit(analysis.commit),
        branch=analysis.branch,
        created_at=analysis.created_at,
        uploader=analysis.uploader,
        tools=tuple(dict.fromkeys(run.tool for run in mine)),
        new=analysis.new + analysis.reopened,
        fixed=analysis.fixed,
        open=analysis.open,
        not_green="" if analysis.complete else why,
        verdict=analysis.verdict or "",
    )


def gate(result: Result | None) -> GateView | None:
    """How an analysis did; None for one that was taken before there were gates."""
    if result is None:
        return None
    grade = result.grade
    return GateView(
        verdict=result.verdict,
        lines=tuple(
            GateLine(_sentence(say(one.condition)), one.passed, one.found, one.skipped)
            for one in result.outcomes
        ),
        grade=GradeView(grade.letter, grade.score, grade.lines, grade.formula) if grade else None,
        compared_with=result.compared_with,
    )


def pull_line(pull: BranchState, *, slug: str) -> PullLine:
    """One pull request."""
    return PullLine(
        number=pull.pr or 0,
        href=f"/projects/{slug}/pulls/{pull.pr}",
        head=pull.head,
        base=pull.base or "",
        new=_drawn(pull.open),
        fixed=pull.fixed,
        commit=commit(pull.commit),
        at=pull.analysed_at,
        verdict=pull.verdict or "",
        closed=pull.closed_at is not None,
    )


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def commit(text: str) -> str:
    """A commit as it is shown; an upload need not name one."""
    return text or "no commit"


# -- issues ----------------------------------------------------------------------------------


def issue_line(issue: Issue, *, slug: str) -> IssueLine:
    """One issue of a list."""
    return IssueLine(
        href=f"/projects/{slug}/issues/{issue.id}",
        message=issue.message,
        severity=issue.severity,
        category=issue.category,
        rule=issue.rule,
        tool=issue.tool,
        place=place(issue.path, issue.line),
        since=issue.created_at,
        id=str(issue.id),
        state=issue.state,
        suppressed=issue.suppressed,
        verdict=VERDICTS[issue.triage].lower() if issue.triage else "",
    )


def event_line(event: Event, *, slug: str) -> EventLine:
    """One step of an issue's history."""
    title, icon = _EVENTS[event.event]
    if event.triage is not None:
        title = VERDICTS[event.triage]
    return EventLine(
        icon,
        title,
        event.created_at,
        commit(event.commit) if event.analysis else "",
        f"/projects/{slug}/analyses/{event.analysis}" if event.analysis else "",
        event.actor,
        event.reason,
        event.until,
    )


def decision(title: str, one: IssueDecision | None) -> Decision | None:
    """Why an issue does not count; None where nobody decided so."""
    if one is None:
        return None
    return Decision(title, one.reason, one.author, one.created_at, one.until)


def place(path: str | None, line: int | None) -> str:
    """Where it is, as editors understand it: path:line."""
    if path is None:
        return "the project as a whole"
    return path if line is None else f"{path}:{line}"


def places(locations: Iterable[IssuePlace]) -> tuple[Place, ...]:
    """Locations with what the tool says about each."""
    return tuple(Place(place(one.path, one.line), one.message) for one in locations)


def extent(
    line: int | None, end_line: int | None, column: int | None, end_column: int | None
) -> str:
    """How far it reaches, in words; empty when only the line is known."""
    if line is None or (column is None and end_line in {None, line}):
        return ""
    if end_line not in {None, line}:
        start = f"line {line}" + (f", column {column}" if column else "")
        end = f"line {end_line}" + (f", column {end_column}" if end_column else "")
        return f"{start} to {end}"
    if end_column is not None and column is not None and end_column > column + 1:
        return f"line {line}, columns {column} to {end_column - 1}"
    return f"line {line}, column {column}"


def headline(message: str) -> str:
    """The first line of a message, clipped to what fits a heading."""
    return clipped(first_line(message), _HEADING_CHARACTERS)


def first_line(text: str) -> str:
    """The first line of a text that may have many, clipped."""
    return clipped(text.strip().partition("\n")[0].strip(), _DETAIL_CHARACTERS)


def clipped(text: str, limit: int) -> str:
    """At most `limit` characters, ending in an ellipsis where something is missing."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def tracked_by(identity: Identity, tool: str) -> str:
    """Why tomorrow's finding will be the same issue."""
    if identity.by_tool:
        return f"Recognised by the fingerprint that {tool} gives it, then by the code around it."
    if identity.by_context:
        return (
            "Recognised by the code on its line and around it: it stays the same issue when the "
            "line moves, and when the file is moved or renamed."
        )
    if identity.by_line:
        return "Recognised by the code on its line: it stays the same issue when the line moves."
    return (
        "Recognised by its rule, file, line and message, because the upload held no fingerprint "
        "of the code. `insight analyze` and `insight upload` add one."
    )


# -- accounts --------------------------------------------------------------------------------

_BROWSERS = (
    ("Edg/", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)
_SYSTEMS = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("Linux", "Linux"),
)


def agent(text: str) -> str:
    """The browser and the system in a User-Agent, or the beginning of what it says instead."""
    browser = next((name for mark, name in _BROWSERS if mark in text), "")
    system = next((name for mark, name in _SYSTEMS if mark in text), "")
    if browser and system:
        return f"{browser} on {system}"
    return clipped(text, 60)


def token_line(token: ApiToken, caller: Caller) -> TokenLine:
    """An API token without its secret; the owner is named where it is not the viewer."""
    return TokenLine(
        id=str(token.id),
        name=token.name,
        prefix=token.prefix,
        scopes=tuple(token.scopes),
        created_at=token.created_at,
        expires_at=token.expires_at,
        last_used_at=token.last_used_at,
        project=token.project or "",
        owner="" if token.user == caller.email else token.user or "operator",
    )


def _issues(project: Project, branch: str, **parameters: object) -> str:
    named = "" if branch == project.default_branch else branch
    return href(f"/projects/{project.slug}/issues", branch=named, **parameters)
