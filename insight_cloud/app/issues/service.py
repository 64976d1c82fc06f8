"""Read issues: one, a filtered list, and the counts that uploads keep."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from insight_cloud.app import api
from insight_cloud.app.issues import queries
from insight_cloud.app.issues.models import (
    Code,
    Counts,
    Day,
    Decision,
    Event,
    Filter,
    Issue,
    IssueDetail,
    IssuePage,
    Place,
    ProjectState,
    Top,
)
from insight_cloud.app.projects.models import Project
from insight_cloud.app.sarif.model import SEVERITIES, Severity
from insight_cloud.core.errors import Missing
from insight_cloud.database.statements import Statements

__all__ = ["branch_number", "counts", "numbers", "one", "overview", "page", "top", "trend"]


async def page(
    context: api.Context,
    project: Project,
    wanted: Filter,
    *,
    cursor: str | None = None,
    limit: int = 50,
) -> IssuePage:
    """List issues of one branch, worst and newest first, `limit` at a time.

    Raises:
        Invalid: the cursor is not one of this list.
    """
    after = api.position(cursor, int, int)
    branch_id = await branch_number(context, project, wanted.branch)
    if branch_id is None:
        return IssuePage((), None)
    query, parameters = queries.select(
        wanted,
        project_id=project.number,
        branch_id=branch_id,
        after=(after[0], after[1]) if after else None,
        limit=limit + 1,
    )
    rows = await context.pool.fetch_all(query, _Row, **parameters)
    more = len(rows) > limit
    last = rows[limit - 1] if more else None
    return IssuePage(
        tuple(map(_bare, rows[:limit])),
        api.cursor(last.rank, last.number) if last else None,
    )


async def numbers(db: Statements, project: Project, wanted: Filter, *, limit: int) -> list[int]:
    """The internal numbers of the issues that fit, at most `limit`."""
    branch_id: int | None = await db.fetch_value(
        queries.named.branch_id,
        project_id=project.number,
        branch=wanted.branch or project.default_branch,
    )
    if branch_id is None:
        return []
    query, parameters = queries.select(
        wanted,
        project_id=project.number,
        branch_id=branch_id,
        after=None,
        limit=limit,
        shape="ids",
    )
    return await db.fetch_all(query, int, **parameters)


async def one(context: api.Context, project: Project, id: UUID) -> IssueDetail:  # noqa: A002 - the API's word
    """Return everything about an issue of `project`.

    Raises:
        Missing: the project has no such issue.
    """
    row = await context.pool.fetch_maybe(
        queries.named.one, _DetailRow, id=id, project_id=project.number
    )
    if row is None:
        raise Missing(f"project {project.slug} has no issue {id}")
    events = await context.pool.fetch_all(queries.named.events, Event, number=row.number)
    return row.detail(tuple(events))


async def counts(
    context: api.Context, project: Project, branch: str | None = None
) -> tuple[Counts, tuple[Top, ...]]:
    """Count what is open on a branch: by severity, and by category."""
    branch_id = await branch_number(context, project, branch)
    if branch_id is None:
        return Counts(), ()
    severities = await context.pool.fetch_all(
        queries.named.open_by_severity, tuple, branch_id=branch_id
    )
    categories = await context.pool.fetch_all(
        queries.named.open_by_category, tuple, branch_id=branch_id
    )
    return _counts(severities), tuple(Top(n, c, _severity(worst)) for n, c, worst in categories)


async def trend(
    context: api.Context, project: Project, *, days: int = 90, branch: str | None = None
) -> tuple[Day, ...]:
    """Return the last `days` days, today included, a day without an analysis as the one before.

    The days before the first analysis are left out.
    """
    branch_id = await branch_number(context, project, branch)
    if branch_id is None:
        return ()
    today = context.now().date()
    since = today - timedelta(days=days)
    before = await context.pool.fetch_all(
        queries.named.last_day_before, tuple, branch_id=branch_id, since=since
    )
    rows = await context.pool.fetch_all(
        queries.named.trend, tuple, branch_id=branch_id, since=since
    )
    by_day: dict[date, list[Sequence[int]]] = {}
    for day, *numbers in rows:
        by_day.setdefault(day, []).append(numbers)
    return _fill(by_day, _counts(before) if before else None, since + timedelta(days=1), today)


def _fill(
    by_day: dict[date, list[Sequence[int]]], current: Counts | None, first: date, last: date
) -> tuple[Day, ...]:
    filled = []
    for offset in range((last - first).days + 1):
        day = first + timedelta(days=offset)
        rows = by_day.get(day, [])
        if rows:
            current = _counts((severity, count) for severity, count, _, _ in rows)
        if current is not None:
            new, fixed = sum(row[2] for row in rows), sum(row[3] for row in rows)
            filled.append(Day(day, current, new, fixed))
    return tuple(filled)


async def top(
    context: api.Context,
    project: Project,
    *,
    by: str,
    branch: str | None = None,
    limit: int = 10,
) -> tuple[Top, ...]:
    """Name the rules or the paths (`by`: "rule" or "path") with the most open issues."""
    branch_id = await branch_number(context, project, branch)
    if branch_id is None:
        return ()
    query = queries.named.top_rules if by == "rule" else queries.named.top_paths
    rows = await context.pool.fetch_all(query, tuple, branch_id=branch_id, limit=limit)
    return tuple(Top(name, number, _severity(worst)) for name, number, worst in rows)


async def overview(context: api.Context, projects: Iterable[Project]) -> tuple[ProjectState, ...]:
    """Return the state of `projects`, those with the most new issues this week first."""
    rows = await context.pool.fetch_all(
        queries.named.overview,
        _OverviewRow,
        projects=[project.number for project in projects],
        today=context.now().date(),
    )
    return tuple(row.state() for row in rows)


async def branch_number(context: api.Context, project: Project, branch: str | None) -> int | None:
    """The internal number of a branch (None: the default one); None when it was never analysed."""
    branch_id: int | None = await context.pool.fetch_value(
        queries.named.branch_id,
        project_id=project.number,
        branch=branch or project.default_branch,
    )
    return branch_id


def _counts(rows: Iterable[Sequence[int]]) -> Counts:
    return Counts(**{_severity(rank): number for rank, number in rows})


def _severity(rank: int) -> Severity:
    return SEVERITIES[5 - rank]


@dataclass(frozen=True, slots=True)
class _Row(Issue):
    """A row of the list with what its cursor needs."""

    number: int
    rank: int


_ISSUE_FIELDS = tuple(field.name for field in fields(Issue))


def _bare(row: Issue) -> Issue:
    """The issue alone, without what only we need of its row."""
    return Issue(*(getattr(row, name) for name in _ISSUE_FIELDS))


@dataclass(frozen=True, slots=True)
class _DetailRow(Issue):
    """An issue with everything that stands in its own row and its rule's."""

    number: int
    branch: str
    end_line: int | None
    col: int | None
    end_col: int | None
    rule_name: str
    rule_summary: str
    rule_help: str
    rule_help_uri: str
    first_analysis: UUID
    in_source: bool
    triage_reason: str | None
    triage_until: date | None
    triage_author: str | None
    triage_created_at: datetime | None
    suppression_id: UUID | None
    suppression_reason: str | None
    suppression_until: date | None
    suppression_author: str | None
    suppression_created_at: datetime | None
    details: dict[str, Any] | None

    def detail(self, events: tuple[Event, ...]) -> IssueDetail:
        details = self.details or {}
        return IssueDetail(
            issue=_bare(self),
            branch=self.branch,
            end_line=self.end_line,
            column=self.col,
            end_column=self.end_col,
            rule_name=self.rule_name,
            rule_summary=self.rule_summary,
            rule_help=self.rule_help,
            rule_help_uri=self.rule_help_uri,
            first_analysis=self.first_analysis,
            in_source=self.in_source,
            judgement=_decision(
                self.triage_reason, self.triage_until, self.triage_author, self.triage_created_at
            ),
            suppression=_decision(
                self.suppression_reason,
                self.suppression_until,
                self.suppression_author,
                self.suppression_created_at,
            ),
            related=_places(details.get("related", ())),
            flow=_places(details.get("flow", ())),
            events=events,
            code=msgspec.convert(details.get("snippet"), Code | None),
        )


def _decision(
    reason: str | None, until: date | None, author: str | None, created_at: datetime | None
) -> Decision | None:
    """The decision of an outer join; None where there was no row."""
    if reason is None or author is None or created_at is None:
        return None
    return Decision(reason, until, author, created_at)


def _places(stored: Sequence[dict[str, Any]]) -> tuple[Place, ...]:
    return msgspec.convert(stored, tuple[Place, ...])


@dataclass(frozen=True, slots=True)
class _OverviewRow:
    slug: str
    name: str
    branch: str
    open: list[int]
    new_7_days: int
    fixed_7_days: int
    days: list[tuple[int, int]]
    before: int | None
    analysed_at: datetime | None
    complete: bool | None

    def state(self) -> ProjectState:
        return ProjectState(
            slug=self.slug,
            name=self.name,
            branch=self.branch,
            open=Counts(*self.open),
            new_7_days=self.new_7_days,
            fixed_7_days=self.fixed_7_days,
            trend_30_days=_carry(dict(self.days), self.before),
            analysed_at=self.analysed_at,
            complete=self.complete,
        )


def _carry(by_offset: dict[int, int], current: int | None) -> tuple[int, ...]:
    """Fill 30 days that end today (offset 0); a day without an analysis repeats the one before."""
    filled = []
    for offset in range(-29, 1):
        current = by_offset.get(offset, current)
        if current is not None:
            filled.append(current)
    return tuple(filled)
