"""What people decided about issues, brought to the findings of an upload.

A judgement (`triage`) is recognised on every branch as an issue is: by its keys, one to one. A
suppression is a rule about rules and paths. Either takes an issue out of every count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from insight_cloud.app.issues import globs, identity
from insight_cloud.app.issues.queries import named
from insight_cloud.database import Connection

__all__ = ["Judgements", "Suppression", "load", "suppressing"]


class _Judged(NamedTuple):
    """A judgement as the table holds it, in the column order of `judged_of_run`."""

    id: int
    code: str
    path: str | None
    line: int | None
    tool_key: int | None
    context_key: int | None
    line_key: int | None
    message_key: int


@dataclass(frozen=True, slots=True)
class Suppression:
    """Takes out what has this tool, this rule and such a path; None leaves a question open."""

    id: int
    tool: str | None
    rule: str | None
    path: str | None


@dataclass(frozen=True, slots=True)
class Judgements:
    """Everything decided about the issues of one tool in one category."""

    judged: tuple[_Judged, ...] = ()
    suppressions: tuple[Suppression, ...] = ()

    def triage(self, keys: Sequence[identity.Key], held: Mapping[int, int]) -> dict[int, int]:
        """Which judgement each finding has, by position in `keys`.

        `held` are the judgements of findings that are known issues; the others may be found
        to be one that this branch does not know yet.
        """
        taken = set(held.values())
        left = [row for row in self.judged if row.id not in taken]
        if not left:
            return dict(held)
        rules = {row.code for row in left}
        open_positions = [
            position
            for position, key in enumerate(keys)
            if position not in held and key.rule in rules
        ]
        matched = identity.match(
            [_key(row) for row in left], [keys[position] for position in open_positions]
        )
        found = {open_positions[new]: left[old].id for old, new in matched.pairs}
        return dict(held) | found

    def suppressor(self) -> Callable[[str, str | None], int | None]:
        """Return what names the suppression of a rule at a path, the oldest where many fit."""
        known: dict[tuple[str, str | None], int | None] = {}
        fits = [(one, suppressing(one)) for one in self.suppressions]

        def find(rule: str, path: str | None) -> int | None:
            if not fits:
                return None
            if (rule, path) not in known:
                known[rule, path] = next((one.id for one, fit in fits if fit(rule, path)), None)
            return known[rule, path]

        return find


def suppressing(one: Suppression) -> Callable[[str, str | None], bool]:
    """Return what says whether `one` takes out a rule at a path (None: the whole project)."""
    in_path = globs.matcher(one.path) if one.path is not None else None

    def fits(rule: str, path: str | None) -> bool:
        if one.rule is not None and one.rule != rule:
            return False
        return in_path is None or (path is not None and in_path(path))

    return fits


async def load(
    connection: Connection, *, project_id: int, tool: str, run_category: str
) -> Judgements:
    """Read what was decided about a tool's issues; two look-ups, mostly of nothing."""
    judged = await connection.fetch_all(
        named.judged_of_run,
        tuple,
        project_id=project_id,
        tool=tool,
        run_category=run_category,
    )
    suppressions = await connection.fetch_all(
        named.suppressions_of_tool, Suppression, project_id=project_id, tool=tool
    )
    return Judgements(tuple(_Judged._make(row) for row in judged), tuple(suppressions))


def _key(row: _Judged) -> identity.Key:
    return identity.Key(
        rule=row.code,
        path=row.path,
        line=row.line,
        tool=row.tool_key,
        context=row.context_key,
        own_line=row.line_key,
        message=row.message_key,
    )
