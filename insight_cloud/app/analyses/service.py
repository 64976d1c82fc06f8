"""Take an upload in: read it, match it with what was known, keep the counts; and list uploads."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec

from insight_cloud.app import api, privacy
from insight_cloud.app.accounts.models import Caller
from insight_cloud.app.analyses import branches
from insight_cloud.app.analyses.models import (
    Analysis,
    AnalysisDetail,
    AnalysisPage,
    PassedOver,
    Submission,
    ToolRun,
    Upload,
)
from insight_cloud.app.detectors import tokens
from insight_cloud.app.gates import service as gates
from insight_cloud.app.gates.models import Result
from insight_cloud.app.issues import reconcile
from insight_cloud.app.issues.models import Change
from insight_cloud.app.issues.queries import named as issue_queries
from insight_cloud.app.privacy import Level
from insight_cloud.app.projects import service as projects
from insight_cloud.app.projects.models import Project
from insight_cloud.app.sarif import codeclimate, read
from insight_cloud.app.sarif.model import Log, Rule, Run, RunState
from insight_cloud.app.triage import service as triage
from insight_cloud.app.webhooks import service as webhooks
from insight_cloud.core.errors import Invalid, Missing
from insight_cloud.core.report import Stopwatch, stopwatch
from insight_cloud.database import Connection, sql

__all__ = ["ingest", "ingest_for", "newest_first", "one", "submission", "tell"]

queries = sql.load(Path(__file__).with_name("queries.sql"))

_WARNINGS_KEPT = 200
_LAST = 2**63 - 1


async def ingest(
    context: api.Context, caller: Caller, slug: str, upload: Upload, body: bytes
) -> Submission:
    """Store what the log in `body` says about a branch of the project `slug`.

    All of it or nothing: one transaction, and one upload at a time for a branch. The project
    is made when there is none and the log can be read. A body that the branch's newest
    analysis of the same commit and category already holds changes nothing.

    Raises:
        Invalid, TooLarge: the log cannot be read, or holds more than the project takes; nothing
            was stored.
        Missing, Refused: the caller may not upload to this project.
        Unavailable: too many other uploads wait for their turn.
    """
    _check(upload)
    async with context.uploads.turn():
        project, number, repeated = await _ingest(context, caller, slug, upload, body)
    return await submission(context, project, number, repeated=repeated)


async def _ingest(
    context: api.Context, caller: Caller, slug: str, upload: Upload, body: bytes
) -> tuple[Project, int, bool]:
    """The project, the number of the analysis, and whether it was there already."""
    ceiling = await projects.level_of_uploads(context, caller, slug)
    await asyncio.to_thread(_check_privacy, ceiling, upload, body)
    with stopwatch() as watch:
        log, digest = await _read(context, upload, body)
        project = await projects.ensure(context, caller, slug)
        if project.privacy != ceiling:  # somebody has just changed it
            await asyncio.to_thread(_check_privacy, project.privacy, upload, body)
        await triage.expire(context, project)
        work = _Ingest(context.now(), caller.name, project, upload, log, digest, watch)
        number, repeated = await context.pool.run(work.store)
    return project, number, repeated


async def ingest_for(
    context: api.Context,
    author: str,
    project: Project,
    upload: Upload,
    body: bytes,
    *,
    also: Callable[[Connection, int], Awaitable[None]],
) -> None:
    """Store a log of our own making, for somebody who was admitted before.

    `also` gets the analysis' number inside the transaction: what it writes is stored with the
    analysis or not at all, and what it raises undoes both.

    Raises:
        Invalid, TooLarge: the log cannot be read; nothing was stored.
        Unavailable: too many uploads wait for their turn.
    """
    async with context.uploads.turn():
        with stopwatch() as watch:
            log, digest = await _read(context, upload, body)
            await triage.expire(context, project)
            work = _Ingest(context.now(), author, project, upload, log, digest, watch)

        async def both(connection: Connection) -> None:
            number, _ = await work.store(connection)
            await also(connection, number)

        await context.pool.run(both)


async def _read(context: api.Context, upload: Upload, body: bytes) -> tuple[Log, bytes]:
    """What the log in `body` says, without the credentials in it; and the hash of the body."""
    settings = context.settings.analyses
    limits = read.Limits(
        log_bytes=settings.log_bytes, runs=settings.runs, results_per_run=settings.results
    )
    reader = codeclimate.read if codeclimate.is_report(body) else read.log
    log = await asyncio.to_thread(reader, body, root=upload.root, limits=limits)
    runs = await asyncio.to_thread(privacy.without_credentials, log.runs, tokens.find)
    digest = await asyncio.to_thread(_digest, body)
    return msgspec.structs.replace(log, runs=runs), digest


async def one(context: api.Context, project: Project, id: UUID) -> AnalysisDetail:  # noqa: A002 - the API's word
    """Return an analysis of `project` with its runs and warnings.

    Raises:
        Missing: the project has no such analysis.
    """
    row = await context.pool.fetch_maybe(queries.by_id, _Row, id=id, project_id=project.number)
    if row is None:
        raise Missing(f"project {project.slug} has no analysis {id}")
    return await _detail(context, row)


async def newest_first(
    context: api.Context,
    project: Project,
    *,
    branch: str | None = None,
    cursor: str | None = None,
    limit: int = 20,
) -> AnalysisPage:
    """List the analyses of a project, or of one branch."""
    (before,) = api.position(cursor, int) or (_LAST,)
    rows = await context.pool.fetch_all(
        queries.recent,
        _Row,
        project_id=project.number,
        branch=branch,
        before=before,
        limit=limit + 1,
    )
    more = len(rows) > limit
    return AnalysisPage(
        tuple(row.analysis() for row in rows[:limit]),
        api.cursor(rows[limit - 1].number) if more else None,
    )


@dataclass(frozen=True, slots=True)
class _Ingest:
    """One upload on its way into the database."""

    now: datetime
    author: str
    project: Project
    upload: Upload
    log: Log
    digest: bytes
    watch: Stopwatch

    async def store(self, connection: Connection) -> tuple[int, bool]:
        """Return the number of the analysis, and whether it was there already."""
        await connection.execute(issue_queries.share_project, project_id=self.project.number)
        locked = await branches.lock(connection, self.project, self.upload)
        branch = locked.branch
        newest = await connection.fetch_maybe(
            queries.newest, _Newest, branch_id=branch.number, category=self.upload.category
        )
        if newest and newest.of == (self.upload.commit, self.upload.base_commit, self.digest):
            return newest.number, True
        number = await self._begin(connection, branch)
        stamp = reconcile.Stamp(number, self.now)
        ledger, change = reconcile.Ledger(), Change()
        for run in _merged(self.log.runs, self.upload.category):
            change += await reconcile.reconcile(connection, branch, stamp, run, ledger)
        await self._finish(connection, branch, number, ledger, change)
        return number, False

    async def _begin(self, connection: Connection, branch: reconcile.Branch) -> int:
        number: int = await connection.fetch_value(
            queries.begin,
            branch_id=branch.number,
            commit=self.upload.commit,
            category=self.upload.category,
            body_hash=self.digest,
            complete=all(run.state in {"ok", "skipped"} for run in self.log.runs),
            warnings=msgspec.json.encode(self.log.warnings[:_WARNINGS_KEPT]).decode(),
            warnings_total=len(self.log.warnings),
            uploader=self.author,
            created_at=self.now,
            base_analysis_id=branch.base and branch.base.analysis_id,
            base_commit=self.upload.base_commit,
            lines=self.upload.lines,
        )
        runs = self.log.runs
        await connection.execute(
            queries.add_runs,
            analysis_id=number,
            tools=[run.tool for run in runs],
            versions=[run.version for run in runs],
            categories=[run.category for run in runs],
            states=[run.state for run in runs],
            details=[run.detail for run in runs],
            results=[len(run.findings) for run in runs],
            seconds=[run.seconds for run in runs],
        )
        return number

    async def _finish(
        self,
        connection: Connection,
        branch: reconcile.Branch,
        number: int,
        ledger: reconcile.Ledger,
        change: Change,
    ) -> None:
        await connection.execute(
            issue_queries.record_new, analysis_id=number, branch_id=branch.number
        )
        await ledger.store(connection, branch_id=branch.number, day=self.now.date())
        await connection.execute(
            queries.finish,
            number=number,
            branch_id=branch.number,
            new=change.new,
            fixed=change.fixed,
            reopened=change.reopened,
            unchanged=change.unchanged,
            suppressed=change.suppressed,
            seconds=self.watch.seconds,
        )
        result = await gates.evaluate(connection, number, at=self.now)
        await tell(connection, self.project, number, result, at=self.now)


async def tell(
    connection: Connection, project: Project, number: int, result: Result, *, at: datetime
) -> None:
    """Put into the outbox that an analysis is finished."""
    row = await connection.fetch_one(queries.by_number, _Row, number=number)
    data = {
        "project": project.slug,
        "analysis": str(row.id),
        "branch": row.branch,
        "commit": row.commit,
        "pull_request": row.pr,
        "complete": row.complete,
        "new": row.new + row.reopened,
        "fixed": row.fixed,
        "open": row.open,
        "verdict": result.verdict,
    }
    await webhooks.enqueue(connection, project.number, "analysis.finished", data, at=at)


def _check(upload: Upload) -> None:
    names = ("branch", "commit", "category", "base", "base_commit")
    named = {name: getattr(upload, name) for name in names}
    problems = tuple(
        (f"/query/{name}", "holds a control character")
        for name, value in named.items()
        if value and not value.isprintable()
    )
    if problems:
        raise Invalid("the upload's parameters cannot be used", problems=problems)


def _check_privacy(ceiling: Level, upload: Upload, body: bytes) -> None:
    """Let pass what the project takes about its code.

    Raises:
        Invalid: it holds more; each place is named.
    """
    if ceiling == "source":
        return
    privacy.require(body, ceiling, tokens.find)
    if upload.root is not None:
        raise Invalid(
            f"the root is a path of a machine, which the privacy level {ceiling!r} does not allow",
            problems=(("/query/root", "leave it out; paths are relative to it"),),
        )


def _digest(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=16).digest()


def _merged(runs: Sequence[Run], category: str) -> list[Run]:
    """Join runs of one tool and category: together they say what that tool found.

    The upload's `category` stands in where a run names none. One failed part makes the whole
    failed, so that nothing is closed on half an answer.
    """
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.tool, run.category or category), []).append(run)
    return [
        _join(parts, tool_category)
        for (_, tool_category), parts in groups.items()
        if any(part.state != "skipped" for part in parts)
    ]


def _join(parts: Sequence[Run], category: str) -> Run:
    """One run that stands for `parts`."""
    rules: dict[str, Rule] = {rule.code: rule for part in parts for rule in part.rules}
    states: set[RunState] = {part.state for part in parts} - {"skipped"}
    return msgspec.structs.replace(
        parts[0],
        category=category,
        state="ok" if states == {"ok"} else "failed",
        rules=tuple(rules.values()),
        findings=tuple(finding for part in parts for finding in part.findings),
    )


@dataclass(frozen=True, slots=True)
class _Newest:
    number: int
    commit: str
    base_commit: str
    body_hash: bytes

    @property
    def of(self) -> tuple[str, str, bytes]:
        """What makes another upload the same one."""
        return self.commit, self.base_commit, self.body_hash


@dataclass(frozen=True, slots=True)
class _Row(Analysis):
    """An analysis with its internal number, which does not leave the server."""

    number: int

    def analysis(self) -> Analysis:
        return Analysis(*(getattr(self, field.name) for field in fields(Analysis)))


async def _detail(context: api.Context, row: _Row) -> AnalysisDetail:
    runs = await context.pool.fetch_all(queries.runs_of, ToolRun, number=row.number)
    kept = await context.pool.fetch_one(queries.kept_of, _Kept, number=row.number)
    return AnalysisDetail(
        row.analysis(),
        tuple(runs),
        msgspec.convert(kept.warnings, tuple[PassedOver, ...]),
        None if kept.gate is None else msgspec.convert(kept.gate, Result),
    )


@dataclass(frozen=True, slots=True)
class _Kept:
    """What was stored with an analysis as JSON."""

    warnings: list[Any]
    gate: dict[str, Any] | None


async def submission(
    context: api.Context, project: Project, number: int, *, repeated: bool
) -> Submission:
    """The answer to an upload, of the analysis that it made or repeated."""
    row = await context.pool.fetch_one(queries.by_number, _Row, number=number)
    detail = await _detail(context, row)
    analysis = detail.analysis
    if repeated:  # what this upload changed: nothing
        same = analysis.new + analysis.reopened + analysis.unchanged
        analysis = replace(analysis, new=0, fixed=0, reopened=0, unchanged=same)
    url = f"{context.settings.server.url}/projects/{project.slug}/analyses/{analysis.id}"
    return Submission(analysis, detail.runs, detail.warnings, url, repeated, detail.gate)
