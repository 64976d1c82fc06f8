"""Take counts in: the numbers of a branch from somebody who sends nothing else about the code.

They go where the numbers of findings go, so that overview, trend, grade, gate and badge show
them as any others. There are no issues beneath them: what is new is what a number grew by.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from dataclasses import dataclass
from datetime import datetime

import msgspec

from insight_cloud.app import api, privacy
from insight_cloud.app.accounts.models import Caller
from insight_cloud.app.analyses import branches, service
from insight_cloud.app.analyses.branches import queries
from insight_cloud.app.analyses.models import Submission, Upload
from insight_cloud.app.detectors import tokens
from insight_cloud.app.gates import service as gates
from insight_cloud.app.issues import reconcile
from insight_cloud.app.issues.models import RANKS, Change
from insight_cloud.app.issues.queries import named as issue_queries
from insight_cloud.app.projects import service as projects
from insight_cloud.app.projects.models import Project
from insight_cloud.app.sarif.model import Category, RunState, Severity
from insight_cloud.core.errors import Conflict, Invalid
from insight_cloud.database import Connection

__all__ = ["ingest"]


_MOST = 10_000_000


class _Count(msgspec.Struct, frozen=True):
    tool: str
    severity: Severity
    category: Category
    open: int


class _Tool(msgspec.Struct, frozen=True):
    name: str
    state: RunState
    version: str = ""
    seconds: float = 0.0


class _Snapshot(msgspec.Struct, frozen=True):
    """What a body of counts says, as far as it is stored."""

    complete: bool
    counts: tuple[_Count, ...]
    tools: tuple[_Tool, ...]
    branch: str | None = None
    commit: str = ""
    files: int | None = None
    lines: int | None = None
    seconds: float = 0.0

    @property
    def is_complete(self) -> bool:
        return self.complete and all(tool.state in {"ok", "skipped"} for tool in self.tools)

    @property
    def digest(self) -> bytes:
        """The same for the same numbers, however long it took to count them."""
        told = (self.complete, sorted(map(repr, self.counts)), self.files, self.lines)
        states = sorted((tool.name, tool.version, tool.state) for tool in self.tools)
        return hashlib.blake2b(msgspec.json.encode((told, states)), digest_size=16).digest()

    @property
    def tally(self) -> Counter[tuple[int, str]]:
        found: Counter[tuple[int, str]] = Counter()
        for one in self.counts:
            found[RANKS[one.severity], one.category] += one.open
        return found


async def ingest(context: api.Context, caller: Caller, slug: str, body: bytes) -> Submission:
    """Store the numbers in `body` as the newest of a branch of the project `slug`.

    Where the project takes nothing but counts, what is stored about single issues of the branch
    is deleted with it. A body that says a tool failed changes no number.

    Raises:
        Invalid: it holds anything but counts; each place is named, and nothing was stored.
        Conflict: the branch holds findings, and the project takes more than counts.
        Missing, Refused: the caller may not upload to this project.
    """
    await projects.level_of_uploads(context, caller, slug)
    await asyncio.to_thread(privacy.require, body, "counts", tokens.find)
    snapshot = msgspec.json.decode(body, type=_Snapshot)
    if snapshot.tally.total() > _MOST:
        raise Invalid(
            f"these are more than {_MOST:,} issues",
            problems=(("/counts", f"more than {_MOST:,} together"),),
        )
    project = await projects.ensure(context, caller, slug)
    work = _Ingest(context.now(), caller, project, snapshot)
    number, repeated = await context.pool.run(work.store)
    return await service.submission(context, project, number, repeated=repeated)


@dataclass(frozen=True, slots=True)
class _Newest:
    number: int
    commit: str
    base_commit: str
    body_hash: bytes


@dataclass(frozen=True, slots=True)
class _Ingest:
    """One body of counts on its way into the database."""

    now: datetime
    caller: Caller
    project: Project
    snapshot: _Snapshot

    async def store(self, connection: Connection) -> tuple[int, bool]:
        """Return the number of the analysis, and whether it was there already."""
        given = self.snapshot
        # What is deleted here, judgements may refer to: nobody else writes meanwhile.
        await connection.execute(issue_queries.own_project, project_id=self.project.number)
        upload = Upload(branch=given.branch, commit=given.commit, lines=given.lines)
        locked = await branches.lock(connection, self.project, upload, counted=True)
        branch = locked.branch.number
        await self._forget_findings(connection, branch)
        newest = await connection.fetch_maybe(
            queries.newest, _Newest, branch_id=branch, category=""
        )
        if newest and (newest.commit, newest.body_hash) == (given.commit, given.digest):
            return newest.number, True
        number = await self._begin(connection, branch)
        ledger = await self._compared(connection, branch)
        await self._finish(connection, branch, number, ledger)
        return number, False

    async def _forget_findings(self, connection: Connection, branch: int) -> None:
        if not await connection.fetch_value(queries.has_issues, number=branch):
            return
        if self.project.privacy != "counts":
            raise Conflict(
                "this branch holds findings, which counts would contradict: send findings, or let "
                "the project take counts only, which deletes them"
            )
        await connection.execute(queries.drop_issues, number=branch)

    async def _begin(self, connection: Connection, branch: int) -> int:
        given = self.snapshot
        number: int = await connection.fetch_value(
            queries.begin,
            branch_id=branch,
            commit=given.commit,
            category="",
            body_hash=given.digest,
            complete=given.is_complete,
            warnings="[]",
            warnings_total=0,
            uploader=self.caller.name,
            created_at=self.now,
            base_analysis_id=None,
            base_commit="",
            lines=given.lines,
        )
        found: Counter[str] = Counter()
        for one in given.counts:
            found[one.tool] += one.open
        await connection.execute(
            queries.add_runs,
            analysis_id=number,
            tools=[tool.name for tool in given.tools],
            versions=[tool.version for tool in given.tools],
            categories=["" for _ in given.tools],
            states=[tool.state for tool in given.tools],
            details=["" for _ in given.tools],
            results=[found[tool.name] for tool in given.tools],
            seconds=[tool.seconds for tool in given.tools],
        )
        return number

    async def _compared(self, connection: Connection, branch: int) -> reconcile.Ledger:
        """What changed since the branch's numbers before; nothing when a tool did not finish."""
        ledger = reconcile.Ledger()
        if not self.snapshot.is_complete:
            return ledger
        rows = await connection.fetch_all(queries.counts_of, tuple, branch_id=branch)
        before = {(severity, category): open_ for severity, category, open_ in rows}
        tally = self.snapshot.tally
        for key in before.keys() | tally.keys():
            change = tally[key] - before.get(key, 0)
            ledger.open[key] += change
            ledger.new[key[0]] += max(change, 0)
            ledger.fixed[key[0]] += max(-change, 0)
        return ledger

    async def _finish(
        self, connection: Connection, branch: int, number: int, ledger: reconcile.Ledger
    ) -> None:
        changes = [[*key, by] for key, by in sorted(ledger.open.items()) if by]
        kept = msgspec.json.encode(changes).decode()
        await connection.execute(queries.keep_changes, number=number, changes=kept)
        await ledger.store(connection, branch_id=branch, day=self.now.date())
        change = Change(new=ledger.new.total(), fixed=ledger.fixed.total())
        await connection.execute(
            queries.finish,
            number=number,
            branch_id=branch,
            new=change.new,
            fixed=change.fixed,
            reopened=0,
            unchanged=max(self.snapshot.tally.total() - change.new, 0),
            suppressed=0,
            seconds=self.snapshot.seconds,
        )
        result = await gates.evaluate(connection, number, at=self.now)
        await service.tell(connection, self.project, number, result, at=self.now)
