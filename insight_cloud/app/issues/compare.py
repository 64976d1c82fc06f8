"""Two results against each other, without a server: what is new, what is gone. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import msgspec

from insight_cloud.app.issues import identity
from insight_cloud.app.sarif.model import Finding, Run

__all__ = ["Difference", "difference"]

_KEY = b"insight"
"""Both sides are hashed here and now, so the key protects nothing and may be known."""


class Difference(msgspec.Struct, frozen=True):
    """What one tool found in a category that it had not found before, and the reverse.

    `unknown` says that the tool did not finish now, so nothing of it can be called fixed.
    """

    tool: str
    category: str
    new: tuple[Finding, ...]
    fixed: tuple[Finding, ...]
    unknown: bool = False


def difference(before: Sequence[Run], now: Sequence[Run]) -> list[Difference]:
    """Compare tool by tool, by the same identity as the server; suppressed findings left out."""
    old, new = _by_tool(before), _by_tool(now)
    return [
        _of_tool(name, old.get(name, []), new.get(name, [])) for name in dict.fromkeys([*new, *old])
    ]


def _of_tool(name: tuple[str, str], before: list[Run], now: list[Run]) -> Difference:
    known, found = _findings(before), _findings(now)
    match = identity.match(identity.keys(known, hash_key=_KEY), identity.keys(found, hash_key=_KEY))
    ended = bool(now) and all(run.state == "ok" for run in now)
    gone = [known[position] for position in match.unmatched_known] if ended else []
    return Difference(
        *name,
        new=_counted(found[position] for position in match.unmatched_found),
        fixed=_counted(one for one in gone if _looked_at(now, one)),
        unknown=not ended and bool(known),
    )


def _counted(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    return tuple(one for one in findings if not one.suppressed)


def _looked_at(runs: list[Run], finding: Finding) -> bool:
    if any(run.scope is None for run in runs):
        return True
    return finding.location is not None and any(
        finding.location.path in (run.scope or ()) for run in runs
    )


def _findings(runs: list[Run]) -> list[Finding]:
    return [finding for run in runs for finding in run.findings]


def _by_tool(runs: Sequence[Run]) -> dict[tuple[str, str], list[Run]]:
    found: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for run in runs:
        if run.state != "skipped":
            found[run.tool, run.category].append(run)
    return found
