"""shellcheck: mistakes in shell scripts. Optional."""

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

_LEVELS: dict[str, Severity] = {
    "error": "high",
    "warning": "medium",
    "info": "low",
    "style": "info",
}
_SUFFIXES = frozenset({".sh", ".bash", ".ksh", ".dash", ".bats"})
_SHEBANG = re.compile(rb"#!\s*/(?:usr/)?bin/(?:env\s+)?(?:sh|bash|dash|ksh)\b")
_FOUND = 1  # its exit status when there are findings, which is no failure


class _One(msgspec.Struct, frozen=True, rename="camel"):
    file: str
    line: int
    end_line: int
    column: int
    end_column: int
    level: str
    code: int
    message: str


class _All(msgspec.Struct, frozen=True):
    comments: list[_One]


async def _run(_root: Path, files: tuple[File, ...], children: Children) -> Result:
    outcome = await children.run(
        [
            # Without -x it opens no file that a script names.
            *(*tools.command("shellcheck"), "--norc", "--format", "json1", "--color=never"),
            *("--severity", "style", "--"),
            *(file.path for file in files),
        ]
    )
    if bad := _bad(outcome, children):
        return bad
    names = {file.path: file.name for file in files}
    found = decode(outcome.stdout, _All, tool="shellcheck").comments
    return Result(
        findings=tuple(_finding(one, names[one.file]) for one in found),
        rules=tuple({one.code: _rule(one) for one in found}.values()),
    )


def _bad(outcome: process.Outcome, children: Children) -> Result | None:
    if outcome.status == _FOUND and not outcome.truncated:
        return None
    return ended_badly(outcome, timeout_seconds=children.timeout_seconds)


def _finding(one: _One, name: str) -> Finding:
    code = f"SC{one.code}"
    severity, category = graded(
        "shellcheck", code, severity=_LEVELS.get(one.level, "low"), category="build"
    )
    return Finding(
        rule=code,
        message=one.message,
        severity=severity,
        category=category,
        location=Location(
            path=name,
            line=one.line,
            column=one.column,
            end_line=one.end_line,
            end_column=one.end_column,
        ),
    )


def _rule(one: _One) -> Rule:
    code = f"SC{one.code}"
    return Rule(
        code=code,
        name=code,
        summary=one.message,
        help_uri=f"https://www.shellcheck.net/wiki/{code}",
    )


def _select(tree: Tree) -> tuple[File, ...]:
    return tuple(file for file in tree.files if file.own and _is_script(file))


def _is_script(file: File) -> bool:
    if file.suffix in _SUFFIXES:
        return True
    if file.suffix:
        return False
    try:
        with Path(file.path).open("rb") as stream:
            return _SHEBANG.match(stream.read(64)) is not None
    except OSError:
        return False


detector = Detector(
    name="shellcheck",
    finds="mistakes in shell scripts (optional)",
    absent="no shell scripts",
    version=partial(tools.version, "shellcheck"),
    configuration="1",
    select=_select,
    run=_run,
    sample=Sample((("a.sh", "#!/bin/sh\nrm -rf $1/x\n"),), "SC2086"),
)
