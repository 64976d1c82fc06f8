"""oxlint: likely mistakes and slow code in JavaScript and TypeScript. Optional."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import msgspec

from insight_cloud.app.detectors import tools
from insight_cloud.app.detectors.detector import (
    Children,
    Detector,
    Result,
    Sample,
    decode,
    ended_badly,
)
from insight_cloud.app.detectors.files import File, Tree
from insight_cloud.app.detectors.grades import graded
from insight_cloud.app.sarif.model import Finding, Location, Rule, Severity
from insight_cloud.core import process

__all__ = ["detector"]

# Plugins in JavaScript that the code's own configuration names would run: it is never read.
_CONFIGURATION = b'{"plugins": ["typescript", "unicorn", "oxc"], "categories": {"correctness": \
"warn", "perf": "warn"}}'
_LEVELS: dict[str, Severity] = {"error": "high", "warning": "medium", "advice": "low"}
_SUFFIXES = frozenset({".js", ".jsx", ".mjs", ".cjs", ".ts", ".tsx", ".mts", ".cts", ".vue"})
_UNREADABLE = "syntax-error"
_CODE = re.compile(r"[\w@/-]+\([\w/-]+\)")
_FOUND = 1


class _Span(msgspec.Struct, frozen=True):
    line: int = 0
    column: int = 0


class _Label(msgspec.Struct, frozen=True):
    span: _Span


class _Diagnostic(msgspec.Struct, frozen=True):
    message: str
    severity: str
    filename: str = ""
    code: str = ""
    url: str = ""
    help: str = ""
    labels: list[_Label] = []


class _All(msgspec.Struct, frozen=True):
    diagnostics: list[_Diagnostic]


async def _run(_root: Path, files: tuple[File, ...], children: Children) -> Result:
    configuration = children.scratch / "oxlint.json"
    configuration.write_bytes(_CONFIGURATION)
    outcome = await children.run(
        [
            *(*tools.command("oxlint"), "--config", configuration, "--disable-nested-config"),
            *("--no-ignore", "--format", "json", "--"),
            *(file.path for file in files),
        ]
    )
    if bad := _bad(outcome, children):
        return bad
    names = {_plain(file.path): file.name for file in files}
    base = str(children.scratch)
    found = [
        (one, name)
        for one in decode(outcome.stdout, _All, tool="oxlint").diagnostics
        if (name := names.get(_plain(_absolute(one.filename, base))))
    ]
    return Result(
        findings=tuple(_finding(one, name) for one, name in found),
        rules=tuple({_code(one): _rule(one) for one, _ in found}.values()),
    )


def _bad(outcome: process.Outcome, children: Children) -> Result | None:
    if outcome.status == _FOUND and outcome.stdout.lstrip().startswith(b"{"):
        return None  # it found errors, and says so by its status
    return ended_badly(outcome, timeout_seconds=children.timeout_seconds)


def _absolute(filename: str, base: str) -> str:
    return str(Path(base, filename))


def _plain(path: str) -> str:
    """The path without links and dots, as both sides mean it."""
    return str(Path(path).resolve())


def _code(one: _Diagnostic) -> str:
    return one.code if _CODE.fullmatch(one.code) else _UNREADABLE


def _finding(one: _Diagnostic, name: str) -> Finding:
    code = _code(one)
    severity, category = graded(
        "oxlint", code, severity=_LEVELS.get(one.severity, "medium"), category="runtime"
    )
    span = one.labels[0].span if one.labels else _Span()
    return Finding(
        rule=code,
        message=one.message,
        severity=severity,
        category="build" if code == _UNREADABLE else category,
        location=Location(path=name, line=span.line or None, column=span.column or None),
    )


def _rule(one: _Diagnostic) -> Rule:
    code = _code(one)
    return Rule(code=code, name=code, summary=code, help=one.help, help_uri=one.url)


def _select(tree: Tree) -> tuple[File, ...]:
    return tuple(file for file in tree.files if file.own and file.suffix in _SUFFIXES)


detector = Detector(
    name="oxlint",
    finds="likely mistakes in JavaScript and TypeScript (optional)",
    absent="no JavaScript or TypeScript",
    version=partial(tools.version, "oxlint"),
    configuration=_CONFIGURATION.decode(),
    select=_select,
    run=_run,
    sample=Sample((("a.js", "debugger;\n"),), "eslint(no-debugger)"),
)
