"""Findings for people and as JSON: what `insight analyze` prints."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import click
import msgspec

from insight_cloud.app.detectors import Tree
from insight_cloud.app.sarif.model import SEVERITIES, Finding, Run, Severity

__all__ = ["as_json", "as_text"]

_COLOURS: dict[Severity, dict[str, Any]] = {
    "critical": {"fg": "red", "bold": True},
    "high": {"fg": "red"},
    "medium": {"fg": "yellow"},
    "low": {"fg": "cyan"},
    "info": {"fg": "bright_black"},
}
_STATES = {"ok": "green", "skipped": "bright_black", "failed": "red", "timed_out": "red"}


def as_json(tree: Tree, runs: list[Run]) -> bytes:
    """The whole result, and in `left_out` the files that nobody looked at."""
    data = {
        "complete": all(run.state in {"ok", "skipped"} for run in runs),
        "files": len(tree.files),
        "counts": _counts(runs),
        "runs": runs,
        "left_out": [{"name": left.name, "reason": left.reason} for left in tree.left_out],
    }
    return msgspec.json.format(msgspec.json.encode(data), indent=2) + b"\n"


def as_text(tree: Tree, runs: list[Run], *, limit: int) -> str:
    """Findings by file, the worst first, at most `limit` (0: all); then what was run."""
    found = [
        (run.tool, finding) for run in runs for finding in run.findings if not finding.suppressed
    ]
    lines = [*_files(found, limit), *_table(runs), "", _summary(tree, runs)]
    return "\n".join(lines) + "\n"


def _files(found: list[tuple[str, Finding]], limit: int) -> list[str]:
    groups: dict[str, list[tuple[str, Finding]]] = defaultdict(list)
    for tool, finding in found:
        groups[finding.location.path if finding.location else ""].append((tool, finding))
    lines: list[str] = []
    shown = 0
    for path in sorted(groups, key=lambda path: (_weight(groups[path]), path)):
        room = len(groups[path]) if not limit else limit - shown
        if room <= 0:
            break
        part = sorted(groups[path], key=_rank)[:room]
        shown += len(part)
        lines += [click.style(_plain(path) or "(the whole project)", bold=True)]
        lines += [_line(tool, finding) for tool, finding in part]
        lines.append("")
    if shown < len(found):
        lines += [f"... and {len(found) - shown} more (--limit 0 shows all)", ""]
    return lines


def _weight(group: list[tuple[str, Finding]]) -> list[int]:
    counted = Counter(finding.severity for _, finding in group)
    return [-counted[severity] for severity in SEVERITIES]


def _rank(item: tuple[str, Finding]) -> tuple[int, int, int]:
    _, finding = item
    place = finding.location
    line = place.line or 0 if place else 0
    column = place.column or 0 if place else 0
    return SEVERITIES.index(finding.severity), line, column


def _line(tool: str, finding: Finding) -> str:
    place = finding.location
    where = "" if place is None or place.line is None else f"{place.line}:{place.column or 1}"
    severity = click.style(f"{finding.severity:<9}", **_COLOURS[finding.severity])
    rule = click.style(f"[{tool} {finding.rule}]", fg="bright_black")
    return f"  {where:>9}  {severity}{_plain(finding.message)} {rule}"


def _plain(text: str) -> str:
    """`text` on one line, without characters that would steer the terminal."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def _table(runs: list[Run]) -> list[str]:
    return [_row(run) for run in runs]


def _row(run: Run) -> str:
    state = click.style(f"{run.state.replace('_', ' '):<10}", fg=_STATES[run.state])
    found = f"{len(run.findings):>6} findings {run.seconds:7.2f} s"
    return f"{run.tool:<9}{state}{found}  {_plain(run.detail)}".rstrip()


def _counts(runs: list[Run]) -> dict[Severity, int]:
    counted = Counter(
        finding.severity for run in runs for finding in run.findings if not finding.suppressed
    )
    return {severity: counted[severity] for severity in SEVERITIES}


def _summary(tree: Tree, runs: list[Run]) -> str:
    counts = _counts(runs)
    parts = [
        click.style(f"{count} {severity}", **_COLOURS[severity])
        for severity, count in counts.items()
        if count
    ]
    text = f"{len(tree.files)} files: {', '.join(parts) or 'no findings'}"
    suppressed = sum(finding.suppressed for run in runs for finding in run.findings)
    if suppressed:
        text += f"; {suppressed} suppressed"
    if tree.left_out:
        reasons = Counter(left.reason for left in tree.left_out)
        text += f"; {len(tree.left_out)} left out ("
        text += ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items())) + ")"
    bad = [run.tool for run in runs if run.state in {"failed", "timed_out"}]
    if bad:
        text += click.style(f"\nincomplete: {', '.join(bad)} did not finish", fg="red")
    return text
