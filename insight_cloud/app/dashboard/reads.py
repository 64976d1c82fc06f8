"""What the busiest pages read, gathered once for each state of a project.

The key of a value holds the version of its projects, which the database changes with every
change (`0002_project_versions.sql`), and the day, as weeks end today. So nothing here is ever
out of date, whoever changed it and wherever, and nothing has to be invalidated. Who may see a
project is asked anew by every request.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from insight_cloud.app import api
from insight_cloud.app.analyses import service as analyses
from insight_cloud.app.analyses.models import AnalysisPage
from insight_cloud.app.dashboard import queries
from insight_cloud.app.dashboard.queries import Newest, RuleText, RunState
from insight_cloud.app.gates import service as gates
from insight_cloud.app.gates.models import Result
from insight_cloud.app.issues import service as issues
from insight_cloud.app.issues.models import Day, ProjectState, Top
from insight_cloud.app.projects.models import Project
from insight_cloud.cache import Key
from insight_cloud.core.errors import Missing

__all__ = ["Overview", "Summary", "branches", "overview", "summary"]

_RECENT = 6
_TOP = 8
_DAYS = 91


@dataclass(frozen=True, slots=True)
class Overview:
    """The state of some projects, their week, and their newest analyses with its tools."""

    states: Sequence[ProjectState]
    weeks: Sequence[tuple[str, int, int, int]]
    newest: Sequence[Newest]
    runs: Sequence[RunState]


@dataclass(frozen=True, slots=True)
class Summary:
    """The state of one branch: what is open, the trend, the top lists, the newest analyses."""

    open: Sequence[tuple[str, int, int]]
    days: Sequence[Day]
    rules: Sequence[Top]
    paths: Sequence[Top]
    recent: AnalysisPage
    runs: Sequence[RunState]
    texts: Sequence[RuleText]
    gate: Result | None


async def overview(context: api.Context, projects: Sequence[Project]) -> Overview:
    """Read what the overview shows of `projects`."""
    numbers = [project.number for project in projects]
    today = context.now().date()

    async def read() -> Overview:
        states, weeks, newest = await asyncio.gather(
            issues.overview(context, projects),
            queries.weeks(context.pool, projects=numbers, today=today),
            queries.newest(context.pool, projects=numbers),
        )
        runs = await queries.runs(context.pool, analyses=[one.id for one in newest])
        return Overview(states, weeks, newest, runs)

    which = ",".join(f"{project.number}.{project.version}" for project in projects)
    digest = hashlib.blake2b(which.encode(), digest_size=16).hexdigest()
    return await context.cache.get_or_set(Key(f"overview:{today}:{digest}", Overview), read)


async def branches(context: api.Context, project: Project) -> list[str]:
    """The branches of a project that were analysed."""

    async def read() -> list[str]:
        return await queries.branches(context.pool, project_id=project.number)

    return await context.cache.get_or_set(Key(f"{_of(project)}:branches", list[str]), read)


async def summary(context: api.Context, project: Project, branch: str) -> Summary:
    """Read what the page of a project shows of `branch`, which exists."""

    async def read() -> Summary:
        pool, number = context.pool, project.number
        rows, days, rules, paths, recent = await asyncio.gather(
            queries.open_by_both(pool, project_id=number, branch=branch),
            issues.trend(context, project, days=_DAYS, branch=branch),
            issues.top(context, project, by="rule", branch=branch, limit=_TOP),
            issues.top(context, project, by="path", branch=branch, limit=_TOP),
            analyses.newest_first(context, project, branch=branch, limit=_RECENT),
        )
        runs, texts = await asyncio.gather(
            queries.runs(pool, analyses=[one.id for one in recent.items]),
            queries.rules(pool, project_id=number, labels=[rule.name for rule in rules]),
        )
        gate = await _gate(context, project, branch)
        return Summary(rows, days, rules, paths, recent, runs, texts, gate)

    key = Key(f"{_of(project)}:summary:{context.now().date()}:{branch}", Summary)
    return await context.cache.get_or_set(key, read)


async def _gate(context: api.Context, project: Project, branch: str) -> Result | None:
    """How the newest analysis of a branch did; None where there is none to say it of."""
    try:
        return (await gates.of_branch(context, project, branch=branch)).result
    except Missing:
        return None


def _of(project: Project) -> str:
    return f"project:{project.number}:{project.version}"
