"""What only pages read, beside what the services give: the statements of `queries.sql`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from insight_cloud.database import Pool, sql

__all__ = [
    "Identity",
    "Newest",
    "RuleText",
    "RunState",
    "Seen",
    "branches",
    "identity",
    "last_seen",
    "newest",
    "open_by_both",
    "rules",
    "runs",
    "tools",
    "weeks",
]

_SQL = sql.load(Path(__file__).with_suffix(".sql"))


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest analysis of a project's default branch."""

    slug: str
    branch: str
    id: UUID
    commit: str
    complete: bool
    new: int
    fixed: int
    open: int
    uploader: str
    created_at: datetime
    verdict: str
    grade: str


@dataclass(frozen=True, slots=True)
class RunState:
    """How one tool ended in one analysis."""

    analysis: UUID
    tool: str
    state: str
    detail: str


@dataclass(frozen=True, slots=True)
class RuleText:
    """What a top list says about a rule."""

    label: str
    tool: str
    code: str
    name: str
    summary: str


@dataclass(frozen=True, slots=True)
class Identity:
    """By which keys an issue is recognised."""

    by_tool: bool
    by_context: bool
    by_line: bool


@dataclass(frozen=True, slots=True)
class Seen:
    """The analysis that saw an issue last."""

    id: UUID
    commit: str
    created_at: datetime


async def branches(pool: Pool, *, project_id: int) -> list[str]:
    """The branches that were analysed, pull requests left out, at most 200."""
    return await pool.fetch_all(_SQL.branches, str, project_id=project_id)


async def tools(pool: Pool, *, project_id: int) -> list[str]:
    """The tools that have reported anything."""
    return await pool.fetch_all(_SQL.tools, str, project_id=project_id)


async def open_by_both(pool: Pool, *, project_id: int, branch: str) -> list[tuple[str, int, int]]:
    """Category, severity (5 is the worst) and open issues, where there are any."""
    rows: list[Any] = await pool.fetch_all(
        _SQL.open_by_both, tuple, project_id=project_id, branch=branch
    )
    return rows


async def weeks(
    pool: Pool, *, projects: Sequence[int], today: date
) -> list[tuple[str, int, int, int]]:
    """Slug, severity, new and fixed of the seven days up to `today`."""
    rows: list[Any] = await pool.fetch_all(_SQL.weeks, tuple, projects=list(projects), today=today)
    return rows


async def newest(pool: Pool, *, projects: Sequence[int]) -> list[Newest]:
    """The newest analysis of each project that has one."""
    return await pool.fetch_all(_SQL.newest, Newest, projects=list(projects))


async def runs(pool: Pool, *, analyses: Sequence[UUID]) -> list[RunState]:
    """How the tools of `analyses` ended."""
    return await pool.fetch_all(_SQL.runs, RunState, analyses=list(analyses))


async def rules(pool: Pool, *, project_id: int, labels: Sequence[str]) -> list[RuleText]:
    """The texts of rules, named "tool code"."""
    return await pool.fetch_all(_SQL.rules, RuleText, project_id=project_id, labels=list(labels))


async def identity(pool: Pool, *, project_id: int, id: UUID) -> Identity:  # noqa: A002 - the API's word
    """By what the issue is recognised."""
    return await pool.fetch_one(_SQL.identity, Identity, project_id=project_id, id=id)


async def last_seen(pool: Pool, *, project_id: int, id: UUID) -> Seen | None:  # noqa: A002 - the API's word
    """Where the issue was seen last; None when it is not open."""
    return await pool.fetch_maybe(_SQL.last_seen, Seen, project_id=project_id, id=id)
