"""Reports on disk: JSON and one HTML file a run, kept for a while, each compared with the last.

A report is a document with `checks`, `findings`, `metrics` and `changes`. It knows nothing of
what was looked at, so that databases, caches, images, bundles and memory share it.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from insight_cloud.core import files
from insight_cloud.core.errors import Refused
from insight_cloud.core.html import Html
from insight_cloud.core.report import Report
from insight_cloud.tuning.finding import Finding

__all__ = ["Comparison", "Document", "history", "save"]

_NAME = re.compile(r"^(?P<kind>[a-z]+)-(?P<at>\d{8}T\d{6}\d{6}Z)\.json$")
_STAMP = "%Y%m%dT%H%M%S%fZ"
_MOST_BYTES = 16 * 1024 * 1024
_SHOWN_RUNS = 20


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """One run. `subject` is what was looked at, without a secret."""

    kind: str
    subject: str
    at: datetime
    status: str
    seconds: float = 0.0
    checks: list[dict[str, Any]] = []
    findings: list[dict[str, Any]] = []
    metrics: dict[str, float | None] = {}
    changes: list[dict[str, Any]] = []
    """What was planned, or with `applied` done."""
    applied: bool = False
    details: dict[str, Any] = {}
    version: int = 1


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is different since the run before on the same subject."""

    previous: datetime | None = None
    new: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    metrics: Mapping[str, tuple[float | None, float | None]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The same data for `--json`."""
        return {
            "previous": self.previous,
            "new": self.new,
            "gone": self.gone,
            "metrics": {name: {"before": b, "now": n} for name, (b, n) in self.metrics.items()},
        }


def document(
    kind: str,
    subject: str,
    at: datetime,
    report: Report,
    findings: Iterable[Finding],
    **others: Any,
) -> Document:
    """Put the results of one run together."""
    data = report.as_dict()
    return Document(
        kind=kind,
        subject=subject,
        at=at.astimezone(UTC),
        status=data["status"],
        checks=data["checks"],
        findings=[finding.as_dict() for finding in findings],
        **others,
    )


def compare(now: Document, before: Document | None) -> Comparison:
    """Return what has come, gone and moved between two runs. Pure."""
    if before is None:
        return Comparison()
    were, are = _names(before), _names(now)
    moved = {
        name: (before.metrics.get(name), value)
        for name, value in now.metrics.items()
        if before.metrics.get(name) != value
    }
    return Comparison(
        before.at, tuple(sorted(are - were)), tuple(sorted(were - are)), moved
    )  # fmt: skip


def _names(document: Document) -> set[str]:
    return {f"{finding['kind']} {finding['target']}" for finding in document.findings}


def history(folder: Path, kind: str, subject: str) -> list[Document]:
    """The runs of a kind on a subject, the oldest first; what is no report is passed over."""
    found = []
    for path in sorted(folder.glob(f"{kind}-*.json")):
        if _NAME.match(path.name) is None or path.stat().st_size > _MOST_BYTES:
            continue
        try:
            one = msgspec.json.decode(path.read_bytes(), type=Document)
        except msgspec.DecodeError:
            continue
        if one.kind == kind and one.subject == subject:
            found.append(one)
    return found


def save(folder: Path, document: Document, *, keep: int) -> tuple[Path, Comparison]:
    """Write the run as JSON and HTML, remove the oldest beyond `keep`; return where and what moved.

    Raises:
        Refused: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        past = history(folder, document.kind, document.subject)
        comparison = compare(document, past[-1] if past else None)
        data = {**msgspec.to_builtins(document), "compared": comparison.as_dict()}
        path = folder / f"{document.kind}-{document.at.strftime(_STAMP)}.json"
        files.write(path, msgspec.json.format(msgspec.json.encode(data), indent=1) + b"\n")
        page = render(document, comparison, [*past, document])
        files.write(path.with_suffix(".html"), page.encode())
        _forget(folder, document.kind, keep)
    except OSError as error:
        raise Refused(f"cannot write the report in {folder}: {error.strerror}") from error
    return path, comparison


def _forget(folder: Path, kind: str, keep: int) -> None:
    ours = sorted(p for p in folder.glob(f"{kind}-*.json") if _NAME.match(p.name))
    for path in ours[:-keep]:
        path.unlink(missing_ok=True)
        path.with_suffix(".html").unlink(missing_ok=True)


# -- the page ------------------------------------------------------------------------------


def render(document: Document, comparison: Comparison, runs: Sequence[Document]) -> Html:
    """One HTML file that needs nothing else: no script, no font, no network."""
    parts = [
        _PAGE_HEAD.format(title=_text(f"{document.kind} of {document.subject}")),
        f"<h1>{_text(document.kind)} <small>{_text(document.subject)}</small></h1>",
        f'<p class="{_text(document.status)}">{_text(document.status)},',
        f"{document.at:%Y-%m-%d %H:%M} UTC, {document.seconds:.1f} s</p>",
        _compared(comparison),
        _table("Checks", ("status", "name", "detail"), document.checks),
        _findings(document.findings),
        _table("Changes made" if document.applied else "Changes planned",
               ("verb", "target", "after", "before", "reason"), document.changes),
        _metrics(document, comparison, runs[-_SHOWN_RUNS:]),
        _details(document.details),
        "</main></html>\n",
    ]  # fmt: skip
    return Html("\n".join(parts))


def _compared(comparison: Comparison) -> str:
    if comparison.previous is None:
        return "<p>The first run: nothing to compare with.</p>"
    lines = [f"<li>new: {_text(name)}</li>" for name in comparison.new]
    lines += [f"<li>gone: {_text(name)}</li>" for name in comparison.gone]
    body = f"<ul>{''.join(lines)}</ul>" if lines else "<p>The same findings.</p>"
    return f"<h2>Since {comparison.previous:%Y-%m-%d %H:%M}</h2>{body}"


def _findings(findings: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        {**one, "how it is known": "; ".join(f"{k}: {v}" for k, v in one["evidence"].items())}
        for one in findings
    ]
    columns = ("severity", "kind", "target", "detail", "how it is known", "remedy")
    return _table("Findings", columns, rows)


def _metrics(document: Document, comparison: Comparison, runs: Sequence[Document]) -> str:
    if not document.metrics:
        return ""
    rows = []
    for name, value in document.metrics.items():
        before = comparison.metrics.get(name, (value, value))[0]
        series = [run.metrics.get(name) for run in runs]
        rows.append(
            f"<tr><td>{_text(name)}</td><td>{_number(before)}</td><td>{_number(value)}</td>"
            f"<td>{_spark(series)}</td></tr>"
        )
    head = "<tr><th>metric</th><th>before</th><th>now</th><th>runs</th></tr>"
    return f"<h2>Metrics</h2><table>{head}{''.join(rows)}</table>"


def _spark(values: Sequence[float | None]) -> str:
    points = [(at, value) for at, value in enumerate(values) if value is not None]
    if len(points) < 2:
        return ""
    low, high = min(v for _, v in points), max(v for _, v in points)
    across, span = 120 / max(1, len(values) - 1), (high - low) or 1
    path = " ".join(f"{at * across:.1f},{22 - 20 * (v - low) / span:.1f}" for at, v in points)
    label = f"from {_number(points[0][1])} to {_number(points[-1][1])}"
    return (
        f'<svg width="124" height="24" role="img" aria-label="{label}">'
        f'<polyline points="{path}" fill="none" stroke="currentColor"/></svg>'
    )


def _details(details: Mapping[str, Any]) -> str:
    parts = []
    for name, value in details.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            parts.append(_table(name, tuple(value[0]), value))
        elif isinstance(value, list | dict):
            shown = msgspec.json.format(msgspec.json.encode(value), indent=1).decode()
            parts.append(f"<h2>{_text(name)}</h2><pre>{_text(shown)}</pre>")
        else:
            parts.append(f"<h2>{_text(name)}</h2><p>{_text(value)}</p>")
    return "".join(parts)


def _table(title: str, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return f"<h2>{_text(title)}</h2><p>None.</p>"
    head = "".join(f"<th>{_text(column)}</th>" for column in columns)
    body = "".join(
        f'<tr class="{_text(row.get("status") or row.get("severity") or "")}">'
        + "".join(f"<td>{_text(_shown(row.get(column)))}</td>" for column in columns)
        + "</tr>"
        for row in rows
    )
    return f"<h2>{_text(title)}</h2><table><tr>{head}</tr>{body}</table>"


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return _number(value)
    return "" if value is None else str(value)


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    whole = value == int(value) or abs(value) >= 1000
    return f"{value:,.0f}" if whole else f"{value:.3g}"


def _text(value: Any) -> str:
    return html.escape(str(value))


_PAGE_HEAD = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width">
<style>
body {{ font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem;
       color-scheme: light dark }}
table {{ border-collapse: collapse; width: 100%; margin: .5rem 0 1.5rem }}
td, th {{ border-bottom: 1px solid #8885; padding: .3rem .6rem; text-align: left;
          vertical-align: top; overflow-wrap: anywhere }}
small {{ opacity: .7; font-weight: normal }} pre {{ overflow: auto }}
tr.fail td:first-child, p.fail {{ color: #c22; font-weight: bold }}
tr.warn td:first-child, p.warn {{ color: #b60; font-weight: bold }}
</style><main>"""
