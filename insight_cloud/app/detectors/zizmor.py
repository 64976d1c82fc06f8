"""zizmor: weaknesses of GitHub workflows and actions, without any network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from insight_cloud.app.detectors.detector import (
    Children,
    Detector,
    Result,
    Sample,
    decode,
    ended_badly,
    installed,
    program,
)
from insight_cloud.app.detectors.files import File, Tree
from insight_cloud.app.sarif.model import Finding, Location, Rule, Severity

__all__ = ["detector"]

_UNREADABLE = Rule(
    code="unreadable-workflow",
    name="unreadable-workflow",
    summary="GitHub cannot read this file either",
    help="Correct its syntax; until then it neither runs nor is audited.",
)
_SEVERITIES: dict[str, Severity] = {
    "High": "high",
    "Medium": "medium",
    "Low": "low",
    "Informational": "info",
    "Unknown": "info",
}


class _Determinations(msgspec.Struct, frozen=True):
    severity: str
    confidence: str


class _Point(msgspec.Struct, frozen=True):
    row: int
    column: int


class _Span(msgspec.Struct, frozen=True):
    start_point: _Point
    end_point: _Point


class _Concrete(msgspec.Struct, frozen=True):
    location: _Span


class _Symbolic(msgspec.Struct, frozen=True):
    key: dict[str, Any]
    annotation: str
    kind: str


class _Place(msgspec.Struct, frozen=True):
    symbolic: _Symbolic
    concrete: _Concrete


class _Audit(msgspec.Struct, frozen=True):
    ident: str
    desc: str
    url: str
    determinations: _Determinations
    locations: list[_Place]
    ignored: bool = False


async def _run(_root: Path, files: tuple[File, ...], children: Children) -> Result:
    # Strict: a file that cannot be read would otherwise count as a clean one.
    outcome = await _audit(files, children)
    if outcome.status in {0, None}:
        return ended_badly(outcome, timeout_seconds=children.timeout_seconds) or _result(
            outcome.stdout, files
        )
    readable: list[File] = []
    unreadable: list[File] = []
    for file in files:
        alone = await _audit((file,), children)
        (readable if alone.status == 0 else unreadable).append(file)
    if not unreadable or not any(
        reason in outcome.stderr for reason in (b"invalid YAML", b"failed to load", b"as workflow")
    ):
        bad = ended_badly(outcome, timeout_seconds=children.timeout_seconds)
        return bad or Result("failed", detail=outcome.stderr_tail)
    result = Result()
    if readable:
        outcome = await _audit(tuple(readable), children)
        if bad := ended_badly(outcome, timeout_seconds=children.timeout_seconds):
            return bad
        result = _result(outcome.stdout, tuple(readable))
    return Result(
        findings=(*result.findings, *map(_unreadable, unreadable)),
        rules=(*result.rules, _UNREADABLE),
    )


async def _audit(files: tuple[File, ...], children: Children) -> Any:
    return await children.run(
        [
            program("zizmor"),
            *("--offline", "--no-config", "--no-progress", "--no-exit-codes", "--quiet"),
            *("--strict-collection", "--collect", "all", "--color", "never"),
            *("--format", "json-v1", "--cache-dir", children.scratch, "--"),
            *(file.path for file in files),
        ]
    )


def _result(output: bytes, files: tuple[File, ...]) -> Result:
    names = {file.path: file.name for file in files}
    audits = decode(output, list[_Audit], tool="zizmor")
    findings = tuple(_finding(audit, names) for audit in audits)
    rules = {
        audit.ident: Rule(
            code=audit.ident, name=audit.ident, summary=audit.desc, help_uri=audit.url
        )
        for audit in audits
    }
    return Result(findings=findings, rules=tuple(rules.values()))


def _finding(audit: _Audit, names: dict[str, str]) -> Finding:
    main = next(
        (place for place in audit.locations if place.symbolic.kind == "Primary"),
        audit.locations[0],
    )
    severity = _SEVERITIES.get(audit.determinations.severity, "medium")
    if audit.determinations.confidence == "Low" and severity != "info":
        severity = "low"
    return Finding(
        rule=audit.ident,
        message=f"{audit.desc}: {main.symbolic.annotation}",
        severity=severity,
        category="security",
        suppressed=audit.ignored,
        location=_location(main, names),
        related=tuple(
            _location(place, names)
            for place in audit.locations
            if place is not main and place.symbolic.kind != "Hidden"
        ),
    )


def _location(place: _Place, names: dict[str, str]) -> Location:
    path = place.symbolic.key["Local"]["verbatim_path"]
    span = place.concrete.location
    return Location(
        path=names[path],
        line=span.start_point.row + 1,
        column=span.start_point.column + 1,
        end_line=span.end_point.row + 1,
        end_column=span.end_point.column + 1,
        message=place.symbolic.annotation,
    )


def _unreadable(file: File) -> Finding:
    return Finding(
        rule=_UNREADABLE.code,
        message=f"{file.name} is not a valid workflow, action or Dependabot file",
        severity="high",
        category="build",
        location=Location(path=file.name),
    )


def _select(tree: Tree) -> tuple[File, ...]:
    workflows = tuple(filter(_is_workflow, tree.files))
    others = tuple(file for file in tree.files if file.own and _is_action(file))
    return (*workflows, *others) if workflows else ()


def _is_workflow(file: File) -> bool:
    folder, _, name = file.name.rpartition("/")
    return folder == ".github/workflows" and name.endswith((".yml", ".yaml"))


def _is_action(file: File) -> bool:
    name = file.name.rpartition("/")[2]
    return name in {"action.yml", "action.yaml"} or file.name in {
        ".github/dependabot.yml",
        ".github/dependabot.yaml",
    }


_SAMPLE = """\
on: push
jobs:
  a:
    runs-on: ubuntu-latest
    steps:
      - run: echo ${{ github.event.head_commit.message }}
"""

detector = Detector(
    name="zizmor",
    finds="weaknesses of GitHub workflows and actions",
    absent="no .github/workflows",
    version=lambda: installed("zizmor"),
    configuration="1",
    select=_select,
    run=_run,
    executable="zizmor",
    sample=Sample(
        ((".github/workflows/ci.yml", _SAMPLE),),
        "template-injection",
    ),
    per_file=False,
)
