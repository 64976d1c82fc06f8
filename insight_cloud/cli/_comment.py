"""What a pull request is told: a comment, a summary, annotations. Pure text."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from typing import Any

__all__ = ["ANNOTATIONS", "marker", "notices", "render"]

ANNOTATIONS = 10
"""What GitHub shows of one step, at most; more would hide the worst."""

_LISTED = 20
_SEVERITIES = ("critical", "high", "medium", "low", "info")
_LEVELS = {"critical": "error", "high": "error", "medium": "warning"}
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+!|~>@:-])")
_SIGNS = {"passed": "✅", "failed": "❌"}
_LONGEST = 300


def marker(project: str) -> str:
    """The line by which our own comment is known again; people do not see it."""
    return f"<!-- insight-cloud: {project} -->"


def render(
    project: str,
    pull: dict[str, Any],
    gate: dict[str, Any],
    issues: Sequence[dict[str, Any]],
    server: str,
) -> str:
    """The comment as Markdown: the verdict, what the pull request adds and fixes, the worst of it.

    `issues` are those that it adds. What comes from a log is escaped: it can mention nobody and
    become no markup.
    """
    counts = pull["open"]
    total = sum(counts[name] for name in _SEVERITIES)
    words = ", ".join(f"{counts[name]} {name}" for name in _SEVERITIES if counts[name])
    verdict = gate["result"]["verdict"]
    page = f"{server}/projects/{project}/pulls/{pull['pr']}"
    base = _plain(pull["base"] or "the default branch")
    against = f"against {base}, at `{_code(pull['commit'][:12])}`"
    lines = [
        marker(project),
        f"### {_SIGNS.get(verdict, '⚠️')} Quality gate {verdict}",
        "",
        f"**{total} new**{f' ({words})' if words else ''}, **{pull['fixed']} fixed** {against}",
        "",
        f"[All of it]({page})",
    ]
    failed = [one for one in gate["result"]["outcomes"] if one["passed"] is False]
    lines += ["", *(f"- {_condition(one)}" for one in failed)] if failed else []
    if issues:
        lines += ["", "| severity | what | where |", "|---|---|---|", *map(_row, issues[:_LISTED])]
    if total > min(len(issues), _LISTED):
        lines += ["", f"… and {total - min(len(issues), _LISTED)} more."]
    return "\n".join(lines) + "\n"


def notices(issues: Sequence[dict[str, Any]]) -> list[str]:
    """At most ten workflow commands of GitHub, the worst first."""
    placed = [one for one in issues if one["path"]]
    worst = sorted(placed, key=lambda one: _SEVERITIES.index(one["severity"]))
    return [_annotation(one) for one in worst[:ANNOTATIONS]]


def _annotation(issue: dict[str, Any]) -> str:
    level = _LEVELS.get(issue["severity"], "notice")
    title = _property(f"{issue['tool']} {issue['rule']}")
    place = f"file={_property(issue['path'])},line={issue['line'] or 1},title={title}"
    return f"::{level} {place}::{_data(issue['message'][:_LONGEST])}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _row(issue: dict[str, Any]) -> str:
    place = issue["path"] or "the project"
    where = f"`{_code(place)}`" + (f" line {issue['line']}" if issue["line"] else "")
    what = f"{_plain(issue['message'])} ({_plain(issue['tool'])} {_plain(issue['rule'])})"
    return f"| {issue['severity']} | {what} | {where} |"


def _condition(outcome: dict[str, Any]) -> str:
    import msgspec

    from insight_cloud.app.gates.judge import say
    from insight_cloud.app.gates.models import Condition

    words = say(msgspec.convert(outcome["condition"], Condition))
    return f"demanded: {_plain(words)}; found: {_plain(str(outcome['found']))}"


def _plain(text: str) -> str:
    """Text that is nothing but text, on one line."""
    flat = " ".join(text.split())[:_LONGEST]
    return _MARKDOWN.sub(r"\\\1", html.escape(flat, quote=False)).replace("\\@", "@\u200b")


def _code(text: str) -> str:
    """Text between backticks; what would end them, or the cell, is replaced."""
    return " ".join(text.split()).replace("`", "'").replace("|", "¦")
