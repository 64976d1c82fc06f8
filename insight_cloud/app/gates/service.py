"""A project's gate: what it demands, and how each analysis did."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec

from insight_cloud.app.accounts import audit
from insight_cloud.app.accounts.models import Caller
from insight_cloud.app.api import Context
from insight_cloud.app.gates import judge
from insight_cloud.app.gates.models import DEFAULT, Condition, Gate, Result
from insight_cloud.app.issues import grade
from insight_cloud.app.issues.models import RANKS, Counts
from insight_cloud.app.projects import service as projects
from insight_cloud.app.projects.models import Project
from insight_cloud.app.webhooks import service as webhooks
from insight_cloud.core.errors import Invalid, Missing
from insight_cloud.database import Connection, sql
from insight_cloud.database.statements import Statements

__all__ = [
    "CONDITIONS_LIMIT",
    "Judged",
    "badge_of",
    "evaluate",
    "evaluate_newest",
    "of_analysis",
    "of_branch",
    "read",
    "set_conditions",
]

queries = sql.load(Path(__file__).with_name("queries.sql"))

CONDITIONS_LIMIT = 20


@dataclass(frozen=True, slots=True)
class Judged:
    """How the newest analysis of a branch did."""

    analysis: UUID
    branch: str
    commit: str
    created_at: datetime
    result: Result


async def read(context: Context, project: Project) -> Gate:
    """What the project demands."""
    return await _read(context.pool, project.number)


async def set_conditions(
    context: Context, caller: Caller, project: Project, conditions: Sequence[Condition] | None
) -> Gate:
    """Demand this from the next analysis on; None is the default again.

    Raises:
        Invalid: a condition lacks something, or there are too many.
    """
    _check(conditions or ())

    async def work(connection: Connection) -> None:
        if conditions is None:
            await connection.execute(queries.unset, project_id=project.number)
        else:
            await connection.execute(
                queries.set,
                project_id=project.number,
                conditions=msgspec.json.encode(list(conditions)).decode(),
                author=caller.name,
                at=context.now(),
            )
        words = "; ".join(judge.say(one) for one in (conditions or DEFAULT))
        await audit.record(
            connection, context, "gate changed", by=caller, project=project.slug, detail=words
        )

    await context.pool.run(work)
    return await read(context, project)


def _check(conditions: Sequence[Condition]) -> None:
    problems = []
    if len(conditions) > CONDITIONS_LIMIT:
        problems.append(("/body/conditions", f"more than {CONDITIONS_LIMIT}"))
    for index, one in enumerate(conditions):
        where = f"/body/conditions/{index}"
        if not 0 <= one.most < 2**31:
            problems.append((f"{where}/most", "not a number of issues"))
        if one.metric == "grade" and one.grade is None:
            problems.append((f"{where}/grade", "say which grade it must be"))
        if one.metric not in {"new", "open"} and (one.severity or one.category or one.most):
            problems.append((f"{where}/metric", f"{one.metric!r} counts no issues"))
    if problems:
        raise Invalid("these conditions cannot be used", problems=tuple(problems))


async def evaluate(connection: Connection, number: int, *, at: datetime) -> Result:
    """Judge an analysis in the transaction that stores it, and keep the result with it.

    A verdict that differs from the one before on its branch is told to webhooks.
    """
    row = await connection.fetch_one(queries.analysis, _Analysis, number=number)
    gate = await _read(connection, row.project_id)
    result = judge.judge(gate.conditions, await _found(connection, row))
    await connection.execute(queries.keep, number=number, gate=msgspec.json.encode(result).decode())
    if row.verdict_before not in {None, result.verdict}:
        data = {
            "project": row.project,
            "branch": row.branch,
            "commit": row.commit,
            "pull_request": row.pr,
            "before": row.verdict_before,
            "verdict": result.verdict,
            "analysis": str(row.public_id),
        }
        await webhooks.enqueue(connection, row.project_id, "gate.changed", data, at=at)
    return result


async def evaluate_newest(
    connection: Connection, branch_ids: Iterable[int], *, at: datetime
) -> None:
    """Judge the newest analysis of branches anew, because people decided about their issues."""
    wanted = sorted(branch_ids)
    numbers = await connection.fetch_all(queries.newest_of_branches, int, branch_ids=wanted)
    for number in sorted(numbers):
        await evaluate(connection, number, at=at)


async def of_analysis(context: Context, project: Project, id: UUID) -> Result | None:  # noqa: A002 - the API's word
    """How an analysis did; None for one that was taken before there were gates.

    Raises:
        Missing: the project has no such analysis.
    """
    rows = await context.pool.fetch_all(
        queries.of_analysis, tuple, id=id, project_id=project.number
    )
    if not rows:
        raise Missing(f"project {project.slug} has no analysis {id}")
    return _result(rows[0][0])


async def of_branch(
    context: Context,
    project: Project,
    *,
    branch: str | None = None,
    pr: int | None = None,
    commit: str | None = None,
) -> Judged:
    """How the newest analysis of a branch or pull request did, or of one of its commits.

    Raises:
        Missing: there is no such analysis, or it was taken before there were gates.
    """
    name = branch or project.default_branch
    row = await context.pool.fetch_maybe(
        queries.of_branch,
        _OfBranch,
        project_id=project.number,
        branch=name,
        pr=pr,
        commit=commit,
    )
    what = f"pull request {pr}" if pr is not None else f"branch {name!r}"
    of = f" of commit {commit}" if commit else ""
    result = None if row is None else _result(row.gate)
    if row is None or result is None:
        raise Missing(f"project {project.slug} has no judged analysis of {what}{of}")
    return Judged(row.analysis, row.branch, row.commit, row.created_at, result)


async def badge_of(context: Context, caller: Caller | None, slug: str, *, branch: str) -> str:
    """The verdict about a branch for its badge; `unknown` where none was judged yet.

    Raises:
        Missing: there is no such project, or its badge is not for this caller.
    """
    project = await projects.with_badge(context, caller, slug)
    row = await context.pool.fetch_maybe(
        queries.of_branch,
        _OfBranch,
        project_id=project.number,
        branch=branch,
        pr=None,
        commit=None,
    )
    result = None if row is None else _result(row.gate)
    return "unknown" if result is None else result.verdict


async def _read(db: Statements, project_id: int) -> Gate:
    row = await db.fetch_maybe(queries.read, _Row, project_id=project_id)
    if row is None:
        return Gate(DEFAULT, is_default=True)
    conditions = msgspec.convert(row.conditions, tuple[Condition, ...])
    return Gate(conditions, is_default=False, author=row.author, changed_at=row.changed_at)


async def _found(connection: Connection, row: _Analysis) -> judge.Found:
    place = {"branch_id": row.branch_id}
    commit = {"number": row.number, "commit": row.commit}
    unfinished = await connection.fetch_all(queries.unfinished, str, **place, **commit)
    open_now = _tally(await connection.fetch_all(queries.open, tuple, **place))
    is_long = row.kind == "long"
    unjudged, new = "", open_now
    if not is_long and row.base_analysis_id is None:
        unjudged = f"the branch {row.base} was not analysed yet, so nothing can be called new"
    elif is_long and row.is_first:
        unjudged = "the first analysis of a branch has nothing before it, so nothing is new"
    elif is_long:
        query = queries.grown if row.counted else queries.new
        new = _tally(await connection.fetch_all(query, tuple, **place, **commit))
    return judge.Found(
        complete=not unfinished,
        unfinished=tuple(unfinished),
        new=new,
        open=open_now,
        grade=grade.of(_counts(open_now), row.lines) if is_long else None,
        is_long=is_long,
        unjudged=unjudged,
        compared_with=_compared_with(row),
    )


def _compared_with(row: _Analysis) -> str:
    if row.kind == "long":
        return ""
    commit = row.compared_commit or ""
    return f"{row.base} at {commit[:12]}" if commit else row.base or ""


def _tally(rows: Iterable[tuple[int, str, int]]) -> dict[tuple[int, str], int]:
    return {(rank, category): number for rank, category, number in rows}


def _counts(tally: judge.Tally) -> Counts:
    return Counts(
        **{
            severity: sum(number for (of, _), number in tally.items() if of == rank)
            for severity, rank in RANKS.items()
        }
    )


def _result(kept: Any) -> Result | None:
    return None if kept is None else msgspec.convert(kept, Result)


@dataclass(frozen=True, slots=True)
class _Row:
    conditions: list[Any]
    author: str
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class _Analysis:
    number: int
    commit: str
    base_commit: str
    base_analysis_id: int | None
    branch_id: int
    kind: str
    base: str | None
    lines: int | None
    project_id: int
    compared_commit: str | None
    is_first: bool
    public_id: UUID
    branch: str
    pr: int | None
    project: str
    counted: bool
    verdict_before: str | None


@dataclass(frozen=True, slots=True)
class _OfBranch:
    analysis: UUID
    commit: str
    branch: str
    created_at: datetime
    gate: Any
