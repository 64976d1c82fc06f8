"""One run of a tool against what its branch knew: new, fixed, reopened, unchanged.

Everything here happens in the upload's transaction, under the branch's lock.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, NamedTuple

import msgspec

from insight_cloud.app.issues import identity
from insight_cloud.app.issues.judgements import load
from insight_cloud.app.issues.models import RANKS, Change
from insight_cloud.app.issues.queries import named
from insight_cloud.app.sarif.model import Finding, Location, Run
from insight_cloud.database import Connection

__all__ = ["Base", "Branch", "Ledger", "Stamp", "reconcile"]


@dataclass(frozen=True, slots=True)
class Base:
    """What a short branch is compared with: another branch, as one of its analyses left it."""

    number: int
    analysis_id: int


@dataclass(frozen=True, slots=True)
class Branch:
    """The branch that an upload is for; `hash_key` keys the fingerprints of its project.

    With a `base` it holds only its difference to that.
    """

    number: int
    project_id: int
    hash_key: bytes
    is_default: bool = False
    base: Base | None = None


@dataclass(frozen=True, slots=True)
class Stamp:
    """Which analysis writes, and when it came in."""

    analysis_id: int
    at: datetime


class Ledger:
    """What an upload changes in the kept counts, by severity and category."""

    def __init__(self) -> None:
        self.open: Counter[tuple[int, str]] = Counter()
        self.new: Counter[int] = Counter()
        self.fixed: Counter[int] = Counter()

    def move(self, row: _Counted, by: int) -> None:
        """Count `row` in (+1) or out (-1); a suppressed issue never counts."""
        if not row.suppressed:
            self.open[row.severity, row.category] += by

    async def store(self, connection: Connection, *, branch_id: int, day: date) -> None:
        """Bring the branch's counts up to date, in the transaction that changed its issues."""
        changes = [(key, by) for key, by in self.open.items() if by]
        await connection.execute(
            named.add_to_branch,
            branch_id=branch_id,
            severities=[severity for (severity, _), _ in changes],
            categories=[category for (_, category), _ in changes],
            changes=[by for _, by in changes],
        )
        await connection.execute(
            named.set_day,
            branch_id=branch_id,
            day=day,
            new=[self.new[severity] for severity in range(1, 6)],
            fixed=[self.fixed[severity] for severity in range(1, 6)],
        )


class _Counted(NamedTuple):
    severity: int
    category: str
    suppressed: bool


class _Known(NamedTuple):
    """An issue as the table holds it, in the column order of `open_of_run`."""

    id: int
    rule_id: int
    code: str
    path_id: int | None
    path: str | None
    line: int | None
    tool_key: int | None
    context_key: int | None
    line_key: int | None
    message_key: int
    end_line: int | None
    col: int | None
    end_col: int | None
    severity: int
    category: str
    suppressed: bool
    in_source: bool
    triage_id: int | None
    suppression_id: int | None


class _Found(NamedTuple):
    """A finding as the table would hold it; the columns of `issues` that a log decides."""

    rule_id: int
    path_id: int | None
    line: int | None
    end_line: int | None
    col: int | None
    end_col: int | None
    severity: int
    category: str
    suppressed: bool
    tool_key: int | None
    context_key: int | None
    line_key: int | None
    message_key: int
    message: str
    details: dict[str, Any] | None
    in_source: bool
    triage_id: int | None = None
    suppression_id: int | None = None

    def same_as(self, known: _Known) -> bool:
        """Whether the table already says all of this; texts are compared by their keys."""
        return (
            self.line == known.line
            and self.context_key == known.context_key
            and self.message_key == known.message_key
            and self.path_id == known.path_id
            and self.rule_id == known.rule_id
            and self.severity == known.severity
            and self.suppressed == known.suppressed
            and self.end_line == known.end_line
            and self.col == known.col
            and self.end_col == known.end_col
            and self.category == known.category
            and self.line_key == known.line_key
            and self.tool_key == known.tool_key
            and self.in_source == known.in_source
            and self.triage_id == known.triage_id
            and self.suppression_id == known.suppression_id
        )


_NOWHERE = Location(path="")
_SHARED = ("branch_id", "run_category", "state", "first_analysis_id", "created_at")


async def reconcile(
    connection: Connection,
    branch: Branch,
    stamp: Stamp,
    run: Run,
    ledger: Ledger,
) -> Change:
    """Match the findings of `run` with the branch's issues and write only what differs.

    Issues that the run no longer reports are closed, but only by a run that ended well and
    only where it looked: a tool that crashed says nothing about what is fixed.

    On a branch with a base, what the base has too is passed over first, so the rest is what
    the branch adds: its new issues however often it was pushed, rebased or rewritten.
    """
    rules = await _rules(connection, branch, run)
    paths = await _paths(connection, branch, run.findings)
    # The database looks for what it knows while we hash what is new.
    (keys, found), known = await asyncio.gather(
        asyncio.to_thread(_prepare, branch, run.findings, rules, paths),
        _known(connection, named.open_of_run, branch, run),
    )
    in_base = await _in_base(connection, branch, run, keys)
    mine = in_base.left if in_base else list(range(len(keys)))
    matched = await asyncio.to_thread(
        identity.match, _keys_of(known), [keys[position] for position in mine]
    )
    closed = [known[old] for old in matched.unmatched_known if _looked_at(run, known[old])]

    left = [mine[new] for new in matched.unmatched_found]
    gone = await _fixed_before(connection, branch, run, [found[new] for new in left])
    returned = await asyncio.to_thread(identity.match, _keys_of(gone), [keys[new] for new in left])
    again = [(known[old], mine[new]) for old, new in matched.pairs]
    again_back = [(gone[old], left[new]) for old, new in returned.pairs]
    await _judge(connection, branch, run, keys, found, again=again + again_back)

    kept = [(old, found[new]) for old, new in again]
    back = [(old, found[new]) for old, new in again_back]
    fresh = [found[left[new]] for new in returned.unmatched_found]
    await _insert(connection, branch, stamp, run, fresh)
    changed = [(old, new) for old, new in kept if not new.same_as(old)]
    await _rewrite(connection, changed + back)
    if branch.is_default:
        await _move_triage(connection, changed + back)
    await _close(connection, stamp, closed)
    await _record(connection, stamp, [old.id for old, _ in back], "reopened")

    _count(ledger, fresh, changed, closed, back)
    if in_base is not None:
        return Change(
            new=sum(not found[position].suppressed for position in mine),
            fixed=in_base.fixed,
            unchanged=in_base.unchanged,
            suppressed=in_base.suppressed + sum(found[position].suppressed for position in mine),
        )
    return Change(
        new=sum(not row.suppressed for row in fresh),
        fixed=sum(not row.suppressed for row in closed),
        reopened=sum(not new.suppressed for _, new in back),
        unchanged=sum(not new.suppressed for _, new in kept),
        suppressed=sum(row.suppressed for row in found),
    )


async def _rules(connection: Connection, branch: Branch, run: Run) -> dict[str, int]:
    rules = {rule.code: rule for rule in run.rules}
    codes = sorted({*rules, *(finding.rule for finding in run.findings)})
    texts = [rules.get(code) for code in codes]
    await connection.execute(
        named.upsert_rules,
        project_id=branch.project_id,
        tool=run.tool,
        codes=codes,
        names=[rule.name if rule else "" for rule in texts],
        summaries=[rule.summary if rule else "" for rule in texts],
        helps=[rule.help if rule else "" for rule in texts],
        help_uris=[rule.help_uri if rule else "" for rule in texts],
    )
    rows = await connection.fetch_all(
        named.rule_ids, tuple, project_id=branch.project_id, tool=run.tool, codes=codes
    )
    return dict(rows)


async def _paths(
    connection: Connection, branch: Branch, findings: Iterable[Finding]
) -> dict[str, int]:
    paths = sorted({finding.location.path for finding in findings if finding.location})
    if not paths:
        return {}
    await connection.execute(named.insert_paths, project_id=branch.project_id, paths=paths)
    rows = await connection.fetch_all(
        named.path_ids, tuple, project_id=branch.project_id, paths=paths
    )
    return dict(rows)


def _prepare(
    branch: Branch, findings: Sequence[Finding], rules: dict[str, int], paths: dict[str, int]
) -> tuple[list[identity.Key], list[_Found]]:
    keys = identity.keys(findings, hash_key=branch.hash_key)
    return keys, [
        _row(finding, key, rules, paths) for finding, key in zip(findings, keys, strict=True)
    ]


def _row(
    finding: Finding, key: identity.Key, rules: dict[str, int], paths: dict[str, int]
) -> _Found:
    place = finding.location or _NOWHERE
    # By position, in the order of the fields: by name it takes twice as long.
    return _Found(
        rules[finding.rule],
        paths[place.path] if place is not _NOWHERE else None,
        place.line,
        place.end_line,
        place.column,
        place.end_column,
        RANKS[finding.severity],
        finding.category,
        finding.suppressed,
        key.tool,
        key.context,
        key.own_line,
        key.message,
        finding.message,
        _details(finding),
        finding.suppressed,
    )


def _details(finding: Finding) -> dict[str, Any] | None:
    if not (finding.related or finding.flow or finding.snippet):
        return None
    told: dict[str, Any] = {"related": finding.related, "flow": finding.flow}
    if finding.snippet is not None:
        told["snippet"] = finding.snippet
    details: dict[str, Any] = msgspec.to_builtins(told)
    return details


async def _known(
    connection: Connection, query: Any, branch: Branch, run: Run, **parameters: Any
) -> list[_Known]:
    rows = await connection.fetch_all(
        query,
        tuple,
        branch_id=branch.number,
        project_id=branch.project_id,
        tool=run.tool,
        run_category=run.category,
        **parameters,
    )
    return [_Known._make(row) for row in rows]


def _keys_of(rows: Iterable[_Known]) -> list[identity.Key]:
    return [
        identity.Key(
            rule=row.code,
            path=row.path,
            line=row.line,
            tool=row.tool_key,
            context=row.context_key,
            own_line=row.line_key,
            message=row.message_key,
        )
        for row in rows
    ]


def _looked_at(run: Run, row: _Known) -> bool:
    """Whether the run's silence about an issue means that it is gone."""
    if run.state != "ok":
        return False
    return run.scope is None or (row.path is not None and row.path in run.scope)


@dataclass(frozen=True, slots=True)
class _InBase:
    """How a run compares with the base; `left` are the positions of what only the branch has."""

    left: list[int]
    unchanged: int
    suppressed: int
    fixed: int


async def _in_base(
    connection: Connection, branch: Branch, run: Run, keys: Sequence[identity.Key]
) -> _InBase | None:
    """Compare a run with the base of its branch, and keep what is fixed; None without a base."""
    if branch.base is None:
        return None
    rows = await connection.fetch_all(
        named.open_at,
        tuple,
        branch_id=branch.base.number,
        analysis_id=branch.base.analysis_id,
        project_id=branch.project_id,
        tool=run.tool,
        run_category=run.category,
    )
    there = [_Known._make(row) for row in rows]
    matched = await asyncio.to_thread(identity.match, _keys_of(there), keys)
    both = [there[old] for old, _ in matched.pairs]
    gone = [there[old] for old in matched.unmatched_known if _looked_at(run, there[old])]
    if run.state == "ok":
        await connection.execute(
            named.forget_fixed,
            branch_id=branch.number,
            project_id=branch.project_id,
            tool=run.tool,
            run_category=run.category,
        )
        await connection.execute(
            named.keep_fixed, branch_id=branch.number, ids=[row.id for row in gone]
        )
    return _InBase(
        left=matched.unmatched_found,
        unchanged=sum(not row.suppressed for row in both),
        suppressed=sum(row.suppressed for row in both),
        fixed=sum(not row.suppressed for row in gone),
    )


async def _judge(
    connection: Connection,
    branch: Branch,
    run: Run,
    keys: Sequence[identity.Key],
    found: list[_Found],
    *,
    again: Sequence[tuple[_Known, int]],
) -> None:
    """Give the rows of `found` what people decided about them; most runs have nothing of it."""
    judgements = await load(
        connection, project_id=branch.project_id, tool=run.tool, run_category=run.category
    )
    if not judgements.judged and not judgements.suppressions:
        return
    held = {new: old.triage_id for old, new in again if old.triage_id is not None}
    triage = await asyncio.to_thread(judgements.triage, keys, held)
    suppressor = judgements.suppressor()
    for position, key in enumerate(keys):
        triage_id, suppression_id = triage.get(position), suppressor(str(key.rule), key.path)
        if triage_id is not None or suppression_id is not None:
            found[position] = found[position]._replace(
                suppressed=True, triage_id=triage_id, suppression_id=suppression_id
            )


async def _move_triage(connection: Connection, pairs: Sequence[tuple[_Known, _Found]]) -> None:
    rows = {new.triage_id: new for _, new in pairs if new.triage_id is not None}
    if rows:
        columns = ("path_id", "line", "tool_key", "context_key", "line_key", "message_key")
        values = {name: [getattr(row, name) for row in rows.values()] for name in columns}
        await connection.execute(named.move_triage, id=list(rows), **values)


async def _fixed_before(
    connection: Connection, branch: Branch, run: Run, rows: Sequence[_Found]
) -> list[_Known]:
    """Fixed issues that `rows` may be: looked for only where anything was ever fixed."""
    if not rows or not await connection.fetch_value(named.has_fixed, branch_id=branch.number):
        return []
    return await _known(
        connection,
        named.fixed_of_run,
        branch,
        run,
        rule_ids=sorted({row.rule_id for row in rows}),
        context_keys=sorted({row.context_key for row in rows if row.context_key is not None}),
        message_keys=sorted({row.message_key for row in rows}),
    )


async def _insert(
    connection: Connection, branch: Branch, stamp: Stamp, run: Run, rows: Sequence[_Found]
) -> None:
    if not rows:
        return
    shared = (branch.number, run.category, "open", stamp.analysis_id, stamp.at)
    await connection.insert_many("issues", _SHARED + _Found._fields, (shared + row for row in rows))


async def _rewrite(connection: Connection, pairs: Sequence[tuple[_Known, _Found]]) -> None:
    if not pairs:
        return
    columns = zip(*(found for _, found in pairs), strict=True)
    values = dict(zip(_Found._fields, map(list, columns), strict=True))
    values["details"] = [_as_json(found.details) for _, found in pairs]
    await connection.execute(named.rewrite, id=[known.id for known, _ in pairs], **values)


def _as_json(details: dict[str, Any] | None) -> str | None:
    return msgspec.json.encode(details).decode() if details else None


async def _close(connection: Connection, stamp: Stamp, rows: Sequence[_Known]) -> None:
    ids = [row.id for row in rows]
    if not ids:
        return
    await connection.execute(named.close, analysis_id=stamp.analysis_id, ids=ids)
    await _record(connection, stamp, ids, "fixed")


async def _record(connection: Connection, stamp: Stamp, ids: Sequence[int], event: str) -> None:
    if ids:
        await connection.execute(
            named.record, analysis_id=stamp.analysis_id, at=stamp.at, ids=ids, event=event
        )


def _count(
    ledger: Ledger,
    fresh: Sequence[_Found],
    changed: Sequence[tuple[_Known, _Found]],
    closed: Sequence[_Known],
    back: Sequence[tuple[_Known, _Found]],
) -> None:
    for row in [*fresh, *(new for _, new in back)]:
        ledger.move(_counted(row), +1)
        ledger.new[row.severity] += not row.suppressed
    for gone in closed:
        ledger.move(_counted(gone), -1)
        ledger.fixed[gone.severity] += not gone.suppressed
    for old, new in changed:
        ledger.move(_counted(old), -1)
        ledger.move(_counted(new), +1)


def _counted(row: _Known | _Found) -> _Counted:
    return _Counted(row.severity, row.category, row.suppressed)
