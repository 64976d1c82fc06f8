"""What is kept for how long: issues that were fixed, short branches, closed pull requests.

In batches, each in a transaction of its own under the project's lock: an upload waits for one
batch at most, and never finds that an issue which it brings back has gone meanwhile. Every process
may do so at any time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from insight_cloud.app import api
from insight_cloud.app.issues.queries import named as issue_queries
from insight_cloud.database import Connection, sql

__all__ = ["BATCH", "Removed", "apply"]

queries = sql.load(Path(__file__).with_name("queries.sql"))

BATCH = 5_000


@dataclass(frozen=True, slots=True)
class Removed:
    """How much went."""

    issues: int = 0
    branches: int = 0


async def apply(context: api.Context) -> Removed:
    """Remove what is kept no longer; done twice in a row, the second time removes nothing."""
    issues = await _fixed_issues(context)
    branches = await _ended_branches(context)
    return Removed(issues, branches)


async def _fixed_issues(context: api.Context) -> int:
    before = context.now() - timedelta(days=context.settings.analyses.fixed_days)
    total = 0
    for project_id in await context.pool.fetch_all(queries.with_old_fixed, int, before=before):
        while True:
            deleted = await _batch(context, project_id, queries.drop_old_fixed, before=before)
            total += deleted
            if deleted < BATCH:
                break
    return total


async def _ended_branches(context: api.Context) -> int:
    settings, now = context.settings.analyses, context.now()
    rows = await context.pool.fetch_all(
        queries.ended_branches,
        _Branch,
        short_before=now - timedelta(days=settings.short_branch_days),
        closed_before=now - timedelta(days=settings.closed_pull_days),
    )
    for row in rows:
        # Its issues first, in batches: a branch that was long once may have many.
        while await _batch(context, row.project_id, queries.drop_some, number=row.number) == BATCH:
            pass
        await context.pool.run(row.drop)
    return len(rows)


async def _batch(
    context: api.Context, project_id: int, query: sql.Query, **parameters: datetime | int
) -> int:
    async def work(connection: Connection) -> int:
        await connection.execute(issue_queries.own_project, project_id=project_id)
        return await connection.execute(query, project_id=project_id, batch=BATCH, **parameters)

    return await context.pool.run(work)


@dataclass(frozen=True, slots=True)
class _Branch:
    number: int
    project_id: int

    async def drop(self, connection: Connection) -> None:
        await connection.execute(issue_queries.own_project, project_id=self.project_id)
        await connection.execute(queries.drop_issues, number=self.number)
        await connection.execute(queries.drop_branch, number=self.number)
        await connection.execute(queries.changed, project_id=self.project_id)
