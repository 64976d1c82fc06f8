"""Decide about issues, and put every count right in the same transaction.

Each change happens under the project's lock: no upload of the project runs meanwhile, so what
is read is what is written.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

from insight_cloud.app.accounts import audit, rules
from insight_cloud.app.accounts.models import Caller
from insight_cloud.app.api import Context
from insight_cloud.app.gates import service as gates
from insight_cloud.app.issues import globs, identity
from insight_cloud.app.issues import service as issues
from insight_cloud.app.issues.queries import named as issue_queries
from insight_cloud.app.issues.reconcile import Ledger
from insight_cloud.app.projects.models import Project
from insight_cloud.app.triage.models import Judged, Selection, Suppression, Verdict
from insight_cloud.app.webhooks import service as webhooks
from insight_cloud.core.errors import Conflict, Invalid, Missing
from insight_cloud.database import Connection, sql

__all__ = [
    "IDS_LIMIT",
    "ISSUES_LIMIT",
    "REASON_LIMIT",
    "add_suppression",
    "expire",
    "judge",
    "remove_suppression",
    "suppressions",
]

queries = sql.load(Path(__file__).with_name("queries.sql"))

IDS_LIMIT = 1_000
"""Issues named one by one in one request."""

ISSUES_LIMIT = 10_000
"""Issues judged at a time by a filter."""

REASON_LIMIT = 1_000
SUPPRESSIONS_LIMIT = 200


# -- single issues ---------------------------------------------------------------------------


async def judge(
    context: Context, caller: Caller, project: Project, selection: Selection, verdict: Verdict
) -> Judged:
    """Say what `selection` is worth, on this branch and wherever else the same issues are.

    An issue that was judged before gets the new verdict; a verdict without a state takes the
    old one back. `projects.open` has let the caller in with the right `triage`.

    Raises:
        Invalid: the verdict lacks what it needs, or more issues fit than may at a time.
        Missing: the project has no such issue.
    """
    if not selection.ids and selection.filter is None:
        raise Invalid("choose at least one issue", problems=(("/body/ids", "is empty"),))
    _check(verdict, context.now().date())
    act = _Act(project.number, caller.name, context.now())

    async def work(connection: Connection) -> Judged:
        await connection.execute(issue_queries.own_project, project_id=project.number)
        ids = await _chosen(connection, project, selection)
        if not ids:
            return Judged(0, 0)
        kin = await _kin(connection, project, ids)
        if verdict.state is None:
            touched = await _take_back(connection, act, kin, ids)
        else:
            touched = await _decide(connection, act, kin, ids, verdict)
        await audit.record(
            connection,
            context,
            "issues judged",
            by=caller,
            project=project.slug,
            target=f"issues: {len(ids)}, on all branches: {touched}",
            detail=f"{verdict.state or 'open'}: {verdict.reason.strip()}",
        )
        data = {
            "project": project.slug,
            "state": verdict.state or "open",
            "reason": verdict.reason.strip(),
            "author": caller.name,
            "issues": len(ids),
            "on_all_branches": touched,
        }
        await webhooks.enqueue(connection, project.number, "issues.judged", data, at=act.at)
        return Judged(len(ids), touched)

    return await context.pool.run(work)


def _check(verdict: Verdict, today: date) -> None:
    _check_words(verdict.reason, verdict.until, today)
    if verdict.state == "accepted" and verdict.until is None:
        raise Invalid(
            "say until when the issue is accepted",
            problems=(("/body/until", "needed for `accepted`"),),
        )
    if verdict.state is not None and not verdict.reason.strip():
        raise Invalid("say why", problems=(("/body/reason", "is needed"),))
    if verdict.state != "accepted" and verdict.until is not None:
        raise Invalid(
            "only an accepted issue comes back on a date",
            problems=(("/body/until", "only for `accepted`"),),
        )


def _check_words(reason: str, until: date | None, today: date) -> None:
    problems = []
    if len(reason) > REASON_LIMIT:
        problems.append(("/body/reason", f"longer than {REASON_LIMIT} characters"))
    if not rules.plain(reason.replace("\n", " ").replace("\r", " ").replace("\t", " ")):
        problems.append(("/body/reason", "has control characters"))
    if until is not None and until < today:
        problems.append(("/body/until", "is in the past"))
    if problems:
        raise Invalid("this cannot be decided so", problems=tuple(problems))


@dataclass(frozen=True, slots=True)
class _Act:
    """Who does something to a project's issues, and when; the calendar has no name."""

    project_id: int
    actor: str
    at: datetime

    async def record(
        self, connection: Connection, event: str, ids: Iterable[int], verdict: Verdict
    ) -> None:
        """Write it into the history of the issues."""
        await connection.execute(
            queries.record,
            ids=sorted(ids),
            event=event,
            actor=self.actor,
            state=verdict.state,
            reason=verdict.reason.strip(),
            until=verdict.until,
            at=self.at,
        )


class _Kin(NamedTuple):
    """An issue that is meant or may be the same one elsewhere, in the column order of `kin`."""

    id: int
    branch_id: int
    rule_id: int
    run_category: str
    path: str | None
    line: int | None
    tool_key: int | None
    context_key: int | None
    line_key: int | None
    message_key: int
    triage_id: int | None


class _Changed(NamedTuple):
    """An issue whose suppression may have changed, in the order of the statements."""

    id: int
    branch_id: int
    severity: int
    category: str
    is_open: bool
    before: bool
    after: bool


async def _chosen(connection: Connection, project: Project, selection: Selection) -> list[int]:
    if selection.filter is None:
        wanted = set(selection.ids)
        ids = await connection.fetch_all(
            queries.chosen_by_id, int, project_id=project.number, ids=list(wanted)
        )
        if len(ids) < len(wanted):
            raise Missing(f"project {project.slug} does not have all of these issues")
        return ids
    ids = await issues.numbers(connection, project, selection.filter, limit=ISSUES_LIMIT + 1)
    if len(ids) > ISSUES_LIMIT:
        raise Invalid(
            f"more than {ISSUES_LIMIT:,} issues fit; narrow the filter, or suppress a rule"
        )
    return ids


async def _kin(connection: Connection, project: Project, ids: Sequence[int]) -> list[_Kin]:
    rows = await connection.fetch_all(queries.kin, tuple, project_id=project.number, ids=list(ids))
    return [_Kin._make(row) for row in rows]


async def _take_back(
    connection: Connection, act: _Act, kin: Sequence[_Kin], ids: Sequence[int]
) -> int:
    meant = set(ids)
    judged = {row.triage_id for row in kin if row.id in meant and row.triage_id is not None}
    changed = await _changed(connection, queries.release, triage_ids=sorted(judged))
    await connection.execute(queries.drop, triage_ids=sorted(judged))
    await act.record(connection, "reset", [row.id for row in changed], Verdict(None))
    await _count(connection, act, changed)
    return len(changed)


async def _decide(
    connection: Connection, act: _Act, kin: Sequence[_Kin], ids: Sequence[int], verdict: Verdict
) -> int:
    meant = set(ids)
    old = sorted({row.triage_id for row in kin if row.id in meant and row.triage_id is not None})
    words = {
        "state": verdict.state,
        "reason": verdict.reason.strip(),
        "until": verdict.until,
        "author": act.actor,
        "at": act.at,
    }
    await connection.execute(queries.change, triage_ids=old, **words)
    again = await connection.fetch_all(queries.held, int, triage_ids=old)

    families = await asyncio.to_thread(_families, kin, meant)
    drawn = await connection.fetch_all(
        queries.add, tuple, ids=sorted(families), project_id=act.project_id, **words
    )
    pairs = [(member, number) for head, number in drawn for member in families[head]]
    changed = await _changed(
        connection,
        queries.hold,
        ids=[member for member, _ in pairs],
        triage_ids=[number for _, number in pairs],
    )
    touched = {*again, *(row.id for row in changed)}
    await act.record(connection, "triaged", touched, verdict)
    await _count(connection, act, changed)
    return len(touched)


def _families(kin: Sequence[_Kin], meant: set[int]) -> dict[int, list[int]]:
    """The issues that are one and the same: by the meant one, its row on each branch.

    Branch by branch, all candidates of a rule are paired at once and one to one, so that of
    two equal findings in a file each meets its own counterpart.
    """
    groups: dict[tuple[int, str], dict[int, list[_Kin]]] = defaultdict(lambda: defaultdict(list))
    for row in kin:
        groups[row.rule_id, row.run_category][row.branch_id].append(row)
    families: dict[int, list[int]] = {}
    taken = {row.id for row in kin if row.triage_id is not None}
    for branches in groups.values():
        for home, rows in branches.items():
            heads = {row.id for row in rows if row.id in meant and row.id not in taken}
            if not heads:
                continue
            for head in heads:
                families[head] = [head]
            taken |= heads
            for other, there in branches.items():
                if other == home:
                    continue
                match = identity.match([_key(row) for row in rows], [_key(row) for row in there])
                for old, new in match.pairs:
                    if rows[old].id in heads and there[new].id not in taken:
                        families[rows[old].id].append(there[new].id)
                        taken.add(there[new].id)
    return families


def _key(row: _Kin) -> identity.Key:
    return identity.Key(
        rule=row.rule_id,
        path=row.path,
        line=row.line,
        tool=row.tool_key,
        context=row.context_key,
        own_line=row.line_key,
        message=row.message_key,
    )


async def _changed(connection: Connection, query: Any, **parameters: Any) -> list[_Changed]:
    rows = await connection.fetch_all(query, tuple, **parameters)
    return [_Changed._make(row) for row in rows]


async def _count(connection: Connection, act: _Act, rows: Iterable[_Changed]) -> None:
    """Move the counts of every branch by what counts no longer, or again."""
    ledgers: dict[int, Ledger] = defaultdict(Ledger)
    for row in rows:
        if row.is_open and row.before != row.after:
            ledgers[row.branch_id].open[row.severity, row.category] += -1 if row.after else 1
    for branch_id, ledger in sorted(ledgers.items()):
        await ledger.store(connection, branch_id=branch_id, day=act.at.date())
    # The verdict follows: a false positive that failed a gate does so no longer.
    await gates.evaluate_newest(connection, ledgers, at=act.at)


# -- suppressions ----------------------------------------------------------------------------


async def suppressions(context: Context, project: Project) -> tuple[Suppression, ...]:
    """What the project suppresses, the newest first."""
    found = await context.pool.fetch_all(
        queries.suppressions, Suppression, project_id=project.number, limit=SUPPRESSIONS_LIMIT
    )
    return tuple(found)


async def add_suppression(
    context: Context,
    caller: Caller,
    project: Project,
    *,
    tool: str | None = None,
    rule: str | None = None,
    path: str | None = None,
    reason: str,
    until: date | None = None,
) -> Suppression:
    """Take every issue of a rule, at some paths or both, out of the counts of all branches.

    Raises:
        Invalid: neither a rule nor a path is named, or one cannot be used.
        Conflict: the project has as many suppressions as it may.
    """
    _check_words(reason, until, context.now().date())
    _check_suppression(tool, rule, path, reason)
    act = _Act(project.number, caller.name, context.now())

    async def work(connection: Connection) -> Suppression:
        await connection.execute(issue_queries.own_project, project_id=project.number)
        there = await connection.fetch_value(queries.count_suppressions, project_id=project.number)
        if there >= SUPPRESSIONS_LIMIT:
            raise Conflict(f"{project.slug!r} has {SUPPRESSIONS_LIMIT} suppressions; remove one")
        number = await connection.fetch_value(
            queries.add_suppression,
            project_id=project.number,
            tool=tool,
            rule=rule,
            path=path,
            reason=reason.strip(),
            until=until,
            author=act.actor,
            at=act.at,
        )
        await _count(connection, act, await _suppress(connection, act))
        await audit.record(
            connection,
            context,
            "suppression added",
            by=caller,
            project=project.slug,
            target=" ".join(part for part in (tool, rule, path) if part),
            detail=reason.strip(),
        )
        return await connection.fetch_one(queries.suppression, Suppression, number=number)

    return await context.pool.run(work)


def _check_suppression(tool: str | None, rule: str | None, path: str | None, reason: str) -> None:
    problems = [
        (f"/body/{name}", "must have 1 to 500 printable characters")
        for name, text in {"tool": tool, "rule": rule, "path": path}.items()
        if text is not None and not (1 <= len(text) <= globs.LIMIT and text.isprintable())
    ]
    if rule is None and path is None:
        problems.append(("/body/rule", "name a rule, a path or both"))
    if path is not None and path.startswith("/"):
        problems.append(("/body/path", "begins at the root of the code, without a slash"))
    if not reason.strip():
        problems.append(("/body/reason", "is needed"))
    if problems:
        raise Invalid("this cannot be suppressed so", problems=tuple(problems))


async def remove_suppression(context: Context, caller: Caller, project: Project, id: UUID) -> None:  # noqa: A002 - the API's word
    """Let the issues count again, unless something else holds them back.

    Raises:
        Missing: the project has no such suppression.
    """
    act = _Act(project.number, caller.name, context.now())

    async def work(connection: Connection) -> None:
        await connection.execute(issue_queries.own_project, project_id=project.number)
        number = await connection.fetch_value(
            queries.find_suppression, project_id=project.number, id=id
        )
        if number is None:
            raise Missing(f"project {project.slug} has no suppression {id}")
        await _count(connection, act, await _unsuppress(connection, act, [number]))
        await audit.record(
            connection,
            context,
            "suppression removed",
            by=caller,
            project=project.slug,
            target=str(id),
        )

    await context.pool.run(work)


async def _suppress(connection: Connection, act: _Act) -> list[_Changed]:
    """Apply every suppression of the project to what none holds yet."""
    changed: list[_Changed] = []
    rows = await connection.fetch_all(queries.every_suppression, tuple, project_id=act.project_id)
    paths: list[Any] = []
    if any(path is not None for *_, path in rows):
        paths = await connection.fetch_all(queries.paths_of, tuple, project_id=act.project_id)
    for number, tool, rule, path in rows:
        path_ids = None
        if path is not None:
            path_ids = await asyncio.to_thread(_fitting, path, paths)
        changed += await _changed(
            connection,
            queries.suppress,
            suppression_id=number,
            project_id=act.project_id,
            tool=tool,
            rule=rule,
            path_ids=path_ids,
        )
    await act.record(connection, "suppressed", {row.id for row in changed}, Verdict(None))
    return changed


def _fitting(pattern: str, paths: Iterable[tuple[int, str]]) -> list[int]:
    fits = globs.matcher(pattern)
    return [number for number, path in paths if fits(path)]


async def _unsuppress(connection: Connection, act: _Act, numbers: Sequence[int]) -> list[_Changed]:
    changed = await _changed(connection, queries.unsuppress, suppression_ids=list(numbers))
    await connection.execute(queries.drop_suppressions, suppression_ids=list(numbers))
    await act.record(connection, "unsuppressed", [row.id for row in changed], Verdict(None))
    # Another suppression may fit what this one held.
    return changed + await _suppress(connection, act)


# -- what ends by itself ---------------------------------------------------------------------


async def expire(context: Context, project: Project | None = None) -> int:
    """End what held until yesterday, in one project or all; return how many projects changed."""
    now = context.now()
    due = await context.pool.fetch_all(
        queries.due_projects,
        int,
        today=now.date(),
        project_id=None if project is None else project.number,
    )
    for number in due:
        act = _Act(number, "", now)
        await context.pool.run(partial(_expire, act))
    return len(due)


async def _expire(act: _Act, connection: Connection) -> None:
    place = {"project_id": act.project_id}
    await connection.execute(issue_queries.own_project, **place)
    today = act.at.date()
    judged = await connection.fetch_all(queries.due_triage, int, today=today, **place)
    changed = await _changed(connection, queries.release, triage_ids=judged)
    await connection.execute(queries.drop, triage_ids=judged)
    await act.record(connection, "expired", [row.id for row in changed], Verdict(None))
    numbers = await connection.fetch_all(queries.due_suppressions, int, today=today, **place)
    if numbers:
        changed += await _unsuppress(connection, act, numbers)
    await _count(connection, act, changed)
