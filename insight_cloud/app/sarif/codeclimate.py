"""Code Climate's report, which GitLab reads as Code Quality: in and out.

One JSON array of issues. It is read by making SARIF of it, so that every limit, path and text is
dealt with in one place; warnings name the place in the report that was sent.
"""

from __future__ import annotations

import codecs
import re
from collections import defaultdict
from typing import Any

import msgspec

from insight_cloud.app.sarif import read as sarif
from insight_cloud.app.sarif.limits import Limits
from insight_cloud.app.sarif.model import Category, Log, Severity, Warned
from insight_cloud.app.sarif.severity import OUR_CATEGORY, OUR_SEVERITY
from insight_cloud.core.errors import Invalid, TooLarge

__all__ = ["entry", "is_report", "read"]

TOOL = "codeclimate"
"""The tool of an issue that names no engine."""

_SEVERITIES: dict[str, Severity] = {
    "blocker": "critical",
    "critical": "high",
    "major": "medium",
    "minor": "low",
    "info": "info",
}
_WORDS = {ours: theirs for theirs, ours in _SEVERITIES.items()}
_CATEGORIES: dict[str, Category] = {
    "Security": "security",
    "Bug Risk": "runtime",
    "Complexity": "complexity",
    "Duplication": "duplication",
    "Performance": "performance",
    "Style": "style",
    "Clarity": "style",
    "Compatibility": "build",
}
_THEIR_CATEGORIES: dict[Category, str] = {
    "security": "Security",
    "complexity": "Complexity",
    "duplication": "Duplication",
    "performance": "Performance",
    "style": "Style",
}
_OF_RESULT = re.compile(r"/runs/(\d+)/results/(\d+)")


class _Lines(msgspec.Struct):
    begin: int | None = None
    end: int | None = None


class _Point(msgspec.Struct):
    line: int | None = None
    column: int | None = None


class _Positions(msgspec.Struct):
    begin: _Point | None = None
    end: _Point | None = None


class _Location(msgspec.Struct):
    path: str = ""
    lines: _Lines | None = None
    positions: _Positions | None = None


class _Content(msgspec.Struct):
    body: str = ""


class _Issue(msgspec.Struct):
    type: str = "issue"
    check_name: str = ""
    description: str = ""
    content: _Content | None = None
    categories: list[str] = []
    location: _Location | None = None
    severity: str | None = None
    fingerprint: str | None = None
    engine_name: str = TOOL


def is_report(data: bytes) -> bool:
    """Whether this is a report and no SARIF log: an array, where that is an object."""
    return data.removeprefix(codecs.BOM_UTF8).lstrip()[:1] == b"["


def read(data: bytes, *, root: str | None = None, limits: Limits | None = None) -> Log:
    """Read a report; `root` and what is refused as in `read.log`."""
    limits = limits or Limits()
    if len(data) > limits.log_bytes:
        raise TooLarge(f"The report has {len(data):,} bytes; the limit is {limits.log_bytes:,}.")
    runs, places, wrong = _runs(_items(data.removeprefix(codecs.BOM_UTF8)))
    made = msgspec.json.encode({"version": sarif.VERSION, "runs": runs})
    roomy = msgspec.structs.replace(limits, log_bytes=max(limits.log_bytes, len(made)))
    found = sarif.log(made, root=root, limits=roomy)
    warnings = [
        msgspec.structs.replace(one, pointer=_pointer(one.pointer, places))
        for one in found.warnings
    ]
    return msgspec.structs.replace(found, warnings=(*wrong, *warnings))


def _items(data: bytes) -> list[msgspec.Raw]:
    try:
        return msgspec.json.decode(data, type=list[msgspec.Raw])
    except RecursionError as error:
        raise _no_json("it is nested too deeply") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _no_json(str(error)) from error


def _no_json(why: str) -> Invalid:
    return Invalid(f"The report is not JSON: {why}.", problems=(("", f"not JSON: {why}"),))


def _runs(
    items: list[msgspec.Raw],
) -> tuple[list[dict[str, Any]], list[list[int]], list[Warned]]:
    """The issues as SARIF by engine, where each one stood, and what is none."""
    engines: dict[str, list[dict[str, Any]]] = defaultdict(list)
    places: dict[str, list[int]] = defaultdict(list)
    wrong = []
    for index, raw in enumerate(items):
        try:
            issue = msgspec.json.decode(raw, type=_Issue)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            detail = f"not an issue of Code Climate: {error}; it is left out"
            wrong.append(Warned(pointer=f"/{index}", detail=detail))
            continue
        if issue.type == "issue":
            engines[issue.engine_name].append(_result(issue))
            places[issue.engine_name].append(index)
    if not engines:  # an empty report is a tool that looked and found nothing
        engines[TOOL] = []
    runs = [_run(name, results) for name, results in engines.items()]
    return runs, [places[name] for name in engines], wrong


def _run(name: str, results: list[dict[str, Any]]) -> dict[str, Any]:
    return {"tool": {"driver": {"name": name or TOOL}}, "results": results}


def _result(issue: _Issue) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    if issue.severity in _SEVERITIES:
        properties[OUR_SEVERITY] = _SEVERITIES[issue.severity]
    known = [_CATEGORIES[name] for name in issue.categories if name in _CATEGORIES]
    if known:
        properties[OUR_CATEGORY] = "security" if "security" in known else known[0]
    result: dict[str, Any] = {
        "ruleId": issue.check_name or "issue",
        "message": {"text": issue.description or (issue.content and issue.content.body) or ""},
        "properties": properties,
    }
    if issue.location is not None and issue.location.path:
        result["locations"] = [{"physicalLocation": _place(issue.location)}]
    if issue.fingerprint:
        result["partialFingerprints"] = {"codeclimate/v1": issue.fingerprint}
    return result


def _place(location: _Location) -> dict[str, Any]:
    lines, positions = location.lines or _Lines(), location.positions or _Positions()
    begin, end = positions.begin or _Point(lines.begin), positions.end or _Point(lines.end)
    region = {
        "startLine": begin.line,
        "startColumn": begin.column,
        "endLine": end.line,
        "endColumn": end.column,
    }
    return {
        # A path, and no URI: a percent sign in it is one.
        "artifactLocation": {"uri": location.path.replace("%", "%25")},
        "region": {name: number for name, number in region.items() if number is not None},
    }


def _pointer(pointer: str, places: list[list[int]]) -> str:
    found = _OF_RESULT.match(pointer)
    if found is None:
        return ""
    return f"/{places[int(found[1])][int(found[2])]}"


def entry(
    *,
    tool: str,
    rule: str,
    message: str,
    severity: Severity,
    category: Category,
    path: str | None,
    line: int | None,
    end_line: int | None,
    fingerprint: str,
) -> dict[str, Any]:
    """One issue as the report holds it. One about the whole project is at `.`, line 1."""
    begin = line or 1
    return {
        "type": "issue",
        "check_name": rule,
        "description": message,
        "categories": [_THEIR_CATEGORIES.get(category, "Bug Risk")],
        "severity": _WORDS[severity],
        "fingerprint": fingerprint,
        "engine_name": tool,
        "location": {
            "path": path or ".",
            "lines": {"begin": begin, "end": max(begin, end_line or begin)},
        },
    }
