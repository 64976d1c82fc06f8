"""A plan for people's eyes: as lines with signs, as Markdown for a review, as plain data."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from insight_cloud.core.plan import Change
from insight_cloud.edge.planning import EdgePlan

__all__ = ["as_dict", "lines", "markdown", "summary"]

_SIGNS = {"create": "+", "update": "~", "delete": "-", "move": ">", "run": "*"}
_MOST = 400
"""Characters of one value; the whole one is in the JSON form."""


def lines(plan: EdgePlan) -> Iterator[tuple[str, str]]:
    """Pairs of a sign (`+ ~ - >`, or a space for what belongs to the line before) and a text."""
    for change in plan.changes:
        place = plan.places.get(change.target, "")
        yield _SIGNS[change.verb], change.target + (f"  ({place})" if place else "")
        for detail in _details(change):
            yield " ", detail


def summary(plan: EdgePlan) -> str:
    """`2 to create, 1 to change`, or that there is nothing to do."""
    names = {"create": "create", "update": "change", "delete": "remove", "move": "move"}
    counts = {verb: sum(change.verb == verb for change in plan.changes) for verb in names}
    said = [f"{count} to {names[verb]}" for verb, count in counts.items() if count]
    return ", ".join(said) or "no changes: the zone is as the file says"


def markdown(plan: EdgePlan) -> str:
    """A comment for a review."""
    parts = [f"### Edge: {summary(plan)}", ""]
    if plan.changes:
        body = "\n".join(f"{sign} {text}" for sign, text in lines(plan))
        parts += ["```diff", body.replace("```", "'''"), "```", ""]
    for title, entries in (
        ("Cannot be applied", plan.unavailable),
        ("Rules of others, left alone", plan.unmanaged),
        ("To know", plan.notes),
    ):
        if entries:
            parts += [f"**{title}**", "", *(f"- {entry}" for entry in entries), ""]
    return "\n".join(parts).rstrip() + "\n"


def as_dict(plan: EdgePlan) -> dict[str, Any]:
    """The same as plain data."""
    return {
        "zone": plan.zone,
        "digest": plan.digest,
        "changes": [
            {
                "verb": change.verb,
                "target": change.target,
                "before": change.before,
                "after": change.after,
                "place": plan.places.get(change.target, ""),
            }
            for change in plan.changes
        ],
        "unavailable": list(plan.unavailable),
        "unmanaged": list(plan.unmanaged),
        "notes": list(plan.notes),
    }


def _details(change: Change) -> Iterator[str]:
    if change.verb == "move":
        yield f"from place {change.before} to {change.after} among the rules of the file"
    elif change.verb == "update" and isinstance(change.after, dict):
        for key, value in change.after.items():
            yield f"{key}: {_short((change.before or {}).get(key))} → {_short(value)}"
    elif change.verb == "update":
        yield f"{_short(change.before)} → {_short(change.after)}"
    elif change.verb == "create" and isinstance(change.after, dict):
        yield f"{change.after.get('action')} when {_short(change.after.get('expression'))}"
    elif change.verb == "delete" and isinstance(change.before, dict):
        yield f"{change.before.get('action')} when {_short(change.before.get('expression'))}"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MOST else text[:_MOST] + " …"
