"""Issues out of the server: SARIF, Code Climate, CSV and JSON lines, as they are read.

A list of any length takes the memory of one page: each part is written before the next one is
read, continued by its last row. An issue that changes meanwhile is there once, as it was when its
part was read.
"""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec

from insight_cloud.app import api
from insight_cloud.app.issues import queries, service
from insight_cloud.app.issues.models import Filter, TriageState
from insight_cloud.app.projects.models import Project
from insight_cloud.app.sarif import codeclimate, write
from insight_cloud.app.sarif.model import Category, Finding, Location, Rule, Severity

__all__ = ["FORMATS", "Format", "media_type", "safe_cell", "stream"]

Format = Literal["sarif", "csv", "jsonl", "codeclimate"]
FORMATS: dict[Format, str] = {
    "sarif": "application/sarif+json",
    "csv": "text/csv; charset=utf-8",
    "jsonl": "application/jsonl",
    "codeclimate": "application/json",
}
_PART = 1_000
_COLUMNS = (
    "id", "severity", "category", "state", "suppressed", "triage", "tool", "rule", "path", "line",
    "end_line", "column", "message", "first_seen", "url",
)  # fmt: skip
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def media_type(form: Format) -> str:
    """What the answer's Content-Type says."""
    return FORMATS[form]


async def stream(
    context: api.Context, project: Project, wanted: Filter, form: Format
) -> AsyncIterator[bytes]:
    """Write the issues that fit, worst and newest first, part by part."""
    base = f"{context.settings.server.url}/projects/{project.slug}/issues"
    if form == "sarif":
        async for part in _sarif(context, project, wanted, base):
            yield part
        return
    head, between, tail, line = _WRITERS[form]
    yield head
    first = True
    async for rows in _parts(context, project, wanted):
        yield (b"" if first else between) + between.join(line(row, base) for row in rows)
        first = False
    yield tail


# -- the parts -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Row:
    number: int
    rank: int
    id: UUID
    tool: str
    rule: str
    severity: Severity
    category: Category
    state: str
    suppressed: bool
    triage: TriageState | None
    message: str
    path: str | None
    line: int | None
    end_line: int | None
    col: int | None
    end_col: int | None
    details: dict[str, Any] | None
    created_at: datetime


async def _parts(
    context: api.Context, project: Project, wanted: Filter
) -> AsyncIterator[list[_Row]]:
    branch_id = await service.branch_number(context, project, wanted.branch)
    after: tuple[int, int] | None = None
    while branch_id is not None:
        query, parameters = queries.select(
            wanted,
            project_id=project.number,
            branch_id=branch_id,
            after=after,
            limit=_PART,
            shape="whole",
        )
        rows = await context.pool.fetch_all(query, _Row, **parameters)
        if rows:
            yield rows
        if len(rows) < _PART:
            return
        after = (rows[-1].rank, rows[-1].number)


# -- one line an issue -----------------------------------------------------------------------


def _csv_line(row: _Row, base: str) -> bytes:
    values: tuple[Any, ...] = (
        row.id, row.severity, row.category, row.state, row.suppressed, row.triage, row.tool,
        row.rule, row.path, row.line, row.end_line, row.col, row.message,
        row.created_at.isoformat(), f"{base}/{row.id}",
    )  # fmt: skip
    return _csv(map(safe_cell, values))


def safe_cell(value: Any) -> str:
    """A cell that no spreadsheet takes for a formula (OWASP, CSV injection).

    Numbers stay numbers; a text that begins as a formula does gets an apostrophe before it.
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(_FORMULA) else text


def _csv(cells: Iterable[str]) -> bytes:
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerow(cells)
    return out.getvalue().encode()


def _json_line(row: _Row, base: str) -> bytes:
    return msgspec.json.encode(
        {
            "id": row.id,
            "tool": row.tool,
            "rule": row.rule,
            "severity": row.severity,
            "category": row.category,
            "state": row.state,
            "suppressed": row.suppressed,
            "triage": row.triage,
            "message": row.message,
            "path": row.path,
            "line": row.line,
            "end_line": row.end_line,
            "column": row.col,
            "end_column": row.end_col,
            "first_seen": row.created_at,
            "url": f"{base}/{row.id}",
        }
    )


def _codeclimate_line(row: _Row, base: str) -> bytes:
    del base
    return msgspec.json.encode(
        codeclimate.entry(
            tool=row.tool,
            rule=row.rule,
            message=row.message,
            severity=row.severity,
            category=row.category,
            path=row.path,
            line=row.line,
            end_line=row.end_line,
            fingerprint=row.id.hex,
        )
    )


_Writer = tuple[bytes, bytes, bytes, Callable[[_Row, str], bytes]]
_WRITERS: dict[Format, _Writer] = {
    "csv": (_csv(_COLUMNS), b"", b"", _csv_line),
    "jsonl": (b"", b"\n", b"\n", _json_line),
    "codeclimate": (b"[\n", b",\n", b"\n]\n", _codeclimate_line),
}
"""What stands before all, between two, after all, and one issue itself."""


# -- SARIF -----------------------------------------------------------------------------------


async def _sarif(
    context: api.Context, project: Project, wanted: Filter, base: str
) -> AsyncIterator[bytes]:
    """A run for each tool, as the format wants results grouped by it."""
    tools = await context.pool.fetch_all(
        queries.named.tools_of, str, project_id=project.number, tool=wanted.tool
    )
    yield write.HEAD
    for index, tool in enumerate(tools):
        texts = await context.pool.fetch_all(
            queries.named.rules_of, dict, project_id=project.number, tool=tool
        )
        rules = [Rule(**text) for text in texts]
        positions = {rule.code: position for position, rule in enumerate(rules)}
        yield (b",\n" if index else b"") + write.run_head(tool, rules)
        first = True
        async for rows in _parts(context, project, replace(wanted, tool=tool)):
            parts = [_result(row, positions[row.rule], base) for row in rows]
            yield (b"" if first else b",\n") + b",\n".join(parts)
            first = False
        yield write.RUN_TAIL
    yield write.TAIL


def _result(row: _Row, rule_index: int, base: str) -> bytes:
    return write.result(_finding(row), rule_index, _more(row, base))


def _finding(row: _Row) -> Finding:
    place = None
    if row.path is not None:
        place = Location(
            path=row.path,
            line=row.line,
            end_line=row.end_line,
            column=row.col,
            end_column=row.end_col,
        )
    details = row.details or {}
    return Finding(
        rule=row.rule,
        message=row.message,
        severity=row.severity,
        category=row.category,
        location=place,
        related=msgspec.convert(details.get("related", ()), tuple[Location, ...]),
        flow=msgspec.convert(details.get("flow", ()), tuple[Location, ...]),
        suppressed=row.suppressed,
    )


def _more(row: _Row, base: str) -> dict[str, Any]:
    """What only the server knows of a result: its identity, its page, whether it is fixed."""
    # Not as `guid`: the schema admits UUIDs up to version 5 only, and ours are of version 7.
    more: dict[str, Any] = {
        "fingerprints": {"insightIssue/v1": str(row.id)},
        "hostedViewerUri": f"{base}/{row.id}",
    }
    if row.state == "fixed":
        more["baselineState"] = "absent"
    return more
