"""The branches of a project: which kind each is, what it is compared with, when it ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from insight_cloud.app import api
from insight_cloud.app.accounts import audit
from insight_cloud.app.accounts.models import Caller
from insight_cloud.app.analyses.models import BranchPage, BranchState, Upload
from insight_cloud.app.gates.models import Verdict
from insight_cloud.app.issues import reconcile
from insight_cloud.app.issues.models import Counts
from insight_cloud.app.issues.queries import named as issue_queries
from insight_cloud.app.projects.models import Project
from insight_cloud.core.errors import Conflict, Invalid, Missing
from insight_cloud.database import Connection, sql

__all__ = ["Locked", "close_pull", "known", "listed", "lock", "pull", "pull_name", "remove"]

queries = sql.load(Path(__file__).with_name("queries.sql"))

Kind = Literal["long", "short", "pr"]
_LAST = 2**63 - 1


def pull_name(pr: int) -> str:
    """The branch that stands for a pull request."""
    return f"pull/{pr}"


@dataclass(frozen=True, slots=True)
class Locked:
    """The branch of an upload, held to the end of its transaction."""

    branch: reconcile.Branch
    is_long: bool


async def lock(
    connection: Connection, project: Project, upload: Upload, *, counted: bool = False
) -> Locked:
    """Hold the branch of an upload, made where it is new, and find what it is compared with.

    A branch that was known by its counts only begins anew with the first findings.

    Raises:
        Invalid: the default branch cannot be compared with another one.
        Conflict: the branch holds its full state since it was first uploaded without a base.
    """
    wanted = _wanted(project, upload)
    place = {"project_id": project.number, "name": wanted.name}
    await connection.execute(
        queries.ensure_branch,
        kind=wanted.kind,
        base=wanted.base,
        pr=upload.pr,
        head=wanted.head,
        **place,
    )
    row = await connection.fetch_one(queries.lock_branch, _Row, **place)
    if row.kind == "long" and wanted.kind != "long":
        raise Conflict(
            f"the branch {row.name!r} holds its full state, because it was first uploaded without "
            "a base; delete it, then upload it with one"
        )
    if row.counted and not counted:
        await connection.execute(queries.forget_counts, number=row.id)
    base = wanted.base or row.base
    await connection.execute(
        queries.change_branch,
        number=row.id,
        base=base,
        head=wanted.head,
        lines=upload.lines,
        counted=counted,
    )
    branch = reconcile.Branch(
        row.id,
        project.number,
        project.hash_key,
        is_default=row.name == project.default_branch,
        base=None if row.kind == "long" else await _base(connection, project, upload, base),
    )
    return Locked(branch, row.kind == "long")


@dataclass(frozen=True, slots=True)
class _Wanted:
    name: str
    kind: Kind
    base: str | None
    head: str


def _wanted(project: Project, upload: Upload) -> _Wanted:
    """What the upload says of its branch."""
    name = upload.branch or project.default_branch
    if upload.pr is not None:
        base = upload.base or project.default_branch
        return _Wanted(pull_name(upload.pr), "pr", base, upload.branch or "")
    if upload.base is None:
        return _Wanted(name, "long", None, "")
    if name in {project.default_branch, upload.base}:
        raise Invalid(
            f"the branch {name!r} cannot be compared with {upload.base!r}; leave out the base",
            problems=(("/query/base", "not for this branch"),),
        )
    return _Wanted(name, "short", upload.base, "")


async def _base(
    connection: Connection, project: Project, upload: Upload, base: str | None
) -> reconcile.Base | None:
    row = await connection.fetch_maybe(
        queries.base,
        _Base,
        project_id=project.number,
        base=base or project.default_branch,
        default_branch=project.default_branch,
        base_commit=upload.base_commit,
    )
    return None if row is None else reconcile.Base(row.number, row.analysis_id)


async def listed(
    context: api.Context,
    project: Project,
    *,
    kind: Kind | None = None,
    closed: bool = False,
    cursor: str | None = None,
    limit: int = 50,
) -> BranchPage:
    """List branches, the newest first; closed pull requests only on request."""
    (before,) = api.position(cursor, int) or (_LAST,)
    rows = await _rows(context, project, kind=kind, closed=closed, before=before, limit=limit + 1)
    more = len(rows) > limit
    return BranchPage(
        tuple(row.state() for row in rows[:limit]),
        api.cursor(rows[limit - 1].number) if more else None,
    )


async def pull(context: api.Context, project: Project, pr: int) -> BranchState:
    """Return a pull request as it stands.

    Raises:
        Missing: it was never analysed.
    """
    rows = await _rows(context, project, pr=pr, closed=True, before=_LAST, limit=1)
    if not rows:
        raise Missing(f"project {project.slug} has no analysis of pull request {pr}")
    return rows[0].state()


async def known(context: api.Context, project: Project, name: str) -> None:
    """Let pass the name of a branch or pull request that was analysed.

    Raises:
        Missing: it never was.
    """
    if not await context.pool.fetch_value(
        queries.knows_branch, project_id=project.number, name=name
    ):
        raise Missing(f"project {project.slug} has no analysis of a branch {name!r}")


async def close_pull(context: api.Context, project: Project, pr: int) -> None:
    """Say that a pull request was merged or given up; its issues are kept for some days.

    Raises:
        Missing: it was never analysed.
    """
    closed = await context.pool.execute(
        queries.close_pull, project_id=project.number, pr=pr, at=context.now()
    )
    if not closed:
        raise Missing(f"project {project.slug} has no analysis of pull request {pr}")


async def remove(context: api.Context, caller: Caller, project: Project, name: str) -> None:
    """Delete a branch with its analyses and issues; nothing brings it back.

    Raises:
        Missing: the project has no such branch.
        Conflict: it is the default branch.
    """
    if name == project.default_branch:
        raise Conflict(f"{name!r} is the default branch; choose another one first")

    async def work(connection: Connection) -> None:
        await connection.execute(issue_queries.own_project, project_id=project.number)
        number = await connection.fetch_value(
            queries.find_branch, project_id=project.number, name=name
        )
        if number is None:
            raise Missing(f"project {project.slug} has no branch {name!r}")
        await connection.execute(queries.drop_issues, number=number)
        await connection.execute(queries.drop_branch, number=number)
        await connection.execute(queries.changed, project_id=project.number)
        await audit.record(
            connection, context, "branch deleted", by=caller, project=project.slug, target=name
        )

    await context.pool.run(work)


async def _rows(
    context: api.Context,
    project: Project,
    *,
    kind: Kind | None = None,
    pr: int | None = None,
    closed: bool,
    before: int,
    limit: int,
) -> Sequence[_StateRow]:
    return await context.pool.fetch_all(
        queries.branches,
        _StateRow,
        project_id=project.number,
        kind=kind,
        pr=pr,
        closed=closed,
        before=before,
        limit=limit,
    )


@dataclass(frozen=True, slots=True)
class _Row:
    id: int
    name: str
    kind: Kind
    base: str | None
    pr: int | None
    counted: bool


@dataclass(frozen=True, slots=True)
class _Base:
    number: int
    analysis_id: int
    name: str
    commit: str


@dataclass(frozen=True, slots=True)
class _StateRow:
    name: str
    kind: Kind
    base: str | None
    pr: int | None
    head: str
    closed_at: datetime | None
    open: list[int]
    fixed: int
    commit: str
    analysed_at: datetime | None
    verdict: Verdict | None
    number: int

    def state(self) -> BranchState:
        return BranchState(
            name=self.name,
            kind=self.kind,
            base=self.base,
            pr=self.pr,
            head=self.head,
            open=Counts(*self.open),
            fixed=self.fixed,
            commit=self.commit,
            analysed_at=self.analysed_at,
            verdict=self.verdict,
            closed_at=self.closed_at,
        )
