"""Findings out as SARIF 2.1.0 that our reader, GitHub and other tools take.

The same runs give the same bytes: no times, no random ids, keys and rules in a fixed order.
So durations are not written either.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from insight_cloud.app.sarif.messages import literal
from insight_cloud.app.sarif.model import (
    SEVERITIES,
    Finding,
    Location,
    Rule,
    Run,
    Severity,
    Snippet,
)
from insight_cloud.app.sarif.results import OUR_CONTEXT, OUR_LINE, OUR_PROJECT
from insight_cloud.app.sarif.runs import OUR_DETAIL, OUR_SCOPE, OUR_STATE
from insight_cloud.app.sarif.severity import OUR_CATEGORY, OUR_SEVERITY

__all__ = [
    "HEAD",
    "ROOT",
    "ROOT_TEXT",
    "RUN_TAIL",
    "SCHEMA_URI",
    "TAIL",
    "log",
    "result",
    "run_head",
]

SCHEMA_URI = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
_LEVEL: dict[Severity, str] = {
    "critical": "error",
    "high": "error",
    "medium": "warning",
    "low": "note",
    "info": "note",
}
_SCORE: dict[Severity, str] = {"critical": "9.5", "high": "8.0", "medium": "5.0", "low": "2.0"}
"""GitHub shows security alerts by this number, and takes it from the rule only."""

ROOT = "%SRCROOT%"
ROOT_TEXT = "The root of the sources."
_SAFE = "/!$&'()*+,;=@~"
"""What may stand unescaped in a relative URI's path. No colon: `C:` would be a drive."""

_HAS_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")

_PROJECT = Location(path=".")
"""Where a finding about the whole project is: GitHub refuses a log with a result without place."""

Object = dict[str, Any]


def log(runs: Sequence[Run]) -> bytes:
    """The runs as one log, indented for people and ending in a line feed."""
    written = {"$schema": SCHEMA_URI, "version": "2.1.0", "runs": [_run(run) for run in runs]}
    return msgspec.json.format(msgspec.json.encode(written), indent=1) + b"\n"


# -- part by part: for a log that is too long to be held


HEAD = b'{"$schema": "' + SCHEMA_URI.encode() + b'", "version": "2.1.0", "runs": [\n'
RUN_TAIL = b"]}"
TAIL = b"\n]}\n"


def run_head(tool: str, rules: Sequence[Rule]) -> bytes:
    """A run up to its results, which follow with commas between, and `RUN_TAIL` after them."""
    written: Object = {
        "tool": {"driver": {"name": tool, "rules": [_rule(rule, ()) for rule in rules]}},
        "originalUriBaseIds": {ROOT: {"description": {"text": ROOT_TEXT}}},
    }
    return msgspec.json.encode(written)[:-1] + b', "results": [\n'


def result(finding: Finding, rule_index: int, more: Object) -> bytes:
    """One result, with what `more` says of it."""
    return msgspec.json.encode(_result(finding, rule_index) | more)


# -- at once


def _run(run: Run) -> Object:
    rules = _rules(run)
    index = {rule["id"]: position for position, rule in enumerate(rules)}
    driver: Object = {"name": run.tool, "rules": rules}
    if run.version:
        driver["version"] = run.version
    written: Object = {
        "tool": {"driver": driver},
        "invocations": [_invocation(run)],
        "originalUriBaseIds": {ROOT: {"description": {"text": ROOT_TEXT}}},
        "results": [_result(finding, index[finding.rule]) for finding in run.findings],
    }
    if run.category:
        written["automationDetails"] = {"id": f"{run.category}/"}
    return written


def _invocation(run: Run) -> Object:
    """How the run ended. A run that was skipped is no failure, and yet it found nothing."""
    if run.state == "ok":
        scope: Object = {} if run.scope is None else {OUR_SCOPE: sorted(run.scope)}
        return {"executionSuccessful": True} | ({"properties": scope} if scope else {})
    level = "warning" if run.state == "skipped" else "error"
    said = run.detail or f"The run was {run.state.replace('_', ' ')}."
    return {
        "executionSuccessful": run.state == "skipped",
        "toolExecutionNotifications": [{"level": level, "message": {"text": said}}],
        "properties": {OUR_STATE: run.state, OUR_DETAIL: run.detail},
    }


# -- rules


def _rules(run: Run) -> list[Object]:
    """The described rules, then those that are only named, with what GitHub sorts them by."""
    described = {rule.code: rule for rule in run.rules}
    findings: dict[str, list[Finding]] = {code: [] for code in described}
    for finding in run.findings:
        findings.setdefault(finding.rule, []).append(finding)
    return [_rule(described.get(code) or Rule(code=code), findings[code]) for code in findings]


def _rule(rule: Rule, findings: Iterable[Finding]) -> Object:
    written: Object = {"id": rule.code}
    if rule.name:
        written["name"] = rule.name
    if rule.summary:
        written["shortDescription"] = {"text": rule.summary}
    if rule.help:
        written["help"] = {"text": rule.help, "markdown": rule.help}
    if rule.help_uri:
        written["helpUri"] = rule.help_uri
    properties = _rule_properties(list(findings))
    if properties:
        written["properties"] = properties
    return written


def _rule_properties(findings: Sequence[Finding]) -> Object:
    if not findings:
        return {}
    categories = sorted({finding.category for finding in findings})
    properties: Object = {"tags": categories}
    secure = [finding.severity for finding in findings if finding.category == "security"]
    worst = min(secure, key=SEVERITIES.index, default=None)
    if worst in _SCORE:
        properties["security-severity"] = _SCORE[worst]
    return properties


# -- results


def _result(finding: Finding, rule_index: int) -> Object:
    written: Object = {
        "ruleId": finding.rule,
        "ruleIndex": rule_index,
        "level": _LEVEL[finding.severity],
        "message": {"text": literal(finding.message)},
    }
    written["locations"] = [_location(finding.location or _PROJECT)]
    if finding.snippet is not None:
        written["locations"][0]["physicalLocation"]["contextRegion"] = _context(finding.snippet)
    if finding.related:
        unique = dict.fromkeys(finding.related)  # the schema forbids equal ones
        written["relatedLocations"] = [_location(place) for place in unique]
    if finding.flow:
        steps = [{"location": _location(place)} for place in finding.flow]
        written["codeFlows"] = [{"threadFlows": [{"locations": steps}]}]
    fingerprints = _fingerprints(finding)
    if fingerprints:
        written["partialFingerprints"] = fingerprints
    if finding.suppressed:
        written["suppressions"] = [{"kind": "external", "status": "accepted"}]
    properties: Object = {OUR_SEVERITY: finding.severity, OUR_CATEGORY: finding.category}
    if finding.location is None:
        properties[OUR_PROJECT] = True
    written["properties"] = properties
    return written


def _fingerprints(finding: Finding) -> dict[str, str]:
    ours = {OUR_CONTEXT: finding.context_hash, OUR_LINE: finding.line_hash}
    given = {**finding.fingerprints, **{name: value for name, value in ours.items() if value}}
    return dict(sorted(given.items()))


def _location(place: Location) -> Object:
    physical: Object = {"artifactLocation": _artifact(place)}
    region = {
        "startLine": place.line,
        "startColumn": place.column,
        "endLine": place.end_line,
        "endColumn": place.end_column,
    }
    if place.line is not None:
        physical["region"] = {name: number for name, number in region.items() if number is not None}
    written: Object = {"physicalLocation": physical}
    if place.message:
        written["message"] = {"text": literal(place.message)}
    return written


def _context(snippet: Snippet) -> Object:
    return {
        "startLine": snippet.line,
        "endLine": snippet.line + snippet.text.count("\n"),
        "snippet": {"text": snippet.text},
    }


def _artifact(place: Location) -> Object:
    if not place.external:
        return {"uri": quote(place.path, safe=_SAFE, errors="replace"), "uriBaseId": ROOT}
    if _HAS_SCHEME.match(place.path):
        return {"uri": place.path}
    return {"uri": quote(place.path, safe=f"{_SAFE}:", errors="replace")}
