"""hadolint: mistakes in Dockerfiles, and in the shell commands that they hold. Optional."""

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

__all__ = ["detector"]

_LEVELS: dict[str, Severity] = {
    "error": "medium",
    "warning": "low",
    "info": "info",
    "style": "info",
    "ignore": "info",
}
_NAME = re.compile(r"(?:.*[./_-])?(?:docker|container)file(?:[._-].*)?", re.IGNORECASE)
_HELP = "https://github.com/hadolint/hadolint/wiki/"
_SHELL_HELP = "https://www.shellcheck.net/wiki/"


class _Found(msgspec.Struct, frozen=True):
    code: str
    column: int
    file: str
    level: str
    line: int
    message: str


async def _run(_root: Path, files: tuple[File, ...], children: Children) -> Result:
    outcome = await children.run(
        [
            *tools.command("hadolint"),
            # Our own configuration, which is none: it looks for one in the working directory,
            # which is ours and empty, and in the home, which is too.
            *("--format", "json", "--no-color", "--no-fail", "--"),
            *(file.path for file in files),
        ]
    )
    if bad := ended_badly(outcome, timeout_seconds=children.timeout_seconds):
        return bad
    names = {file.path: file.name for file in files}
    found = decode(outcome.stdout, list[_Found], tool="hadolint")
    return Result(
        findings=tuple(_finding(one, names[one.file]) for one in found),
        rules=tuple({one.code: _rule(one) for one in found}.values()),
    )


def _finding(one: _Found, name: str) -> Finding:
    severity, category = graded(
        "hadolint", one.code, severity=_LEVELS.get(one.level, "low"), category="build"
    )
    return Finding(
        rule=one.code,
        message=one.message,
        severity=severity,
        category=category,
        location=Location(path=name, line=max(one.line, 1), column=max(one.column, 1)),
    )


def _rule(one: _Found) -> Rule:
    where = _SHELL_HELP if one.code.startswith("SC") else _HELP
    return Rule(code=one.code, name=one.code, summary=one.message, help_uri=where + one.code)


def _select(tree: Tree) -> tuple[File, ...]:
    return tuple(
        file for file in tree.files if file.own and _NAME.fullmatch(file.name.rpartition("/")[2])
    )


detector = Detector(
    name="hadolint",
    finds="mistakes in Dockerfiles (optional)",
    absent="no Dockerfile",
    version=partial(tools.version, "hadolint"),
    configuration="1",
    select=_select,
    run=_run,
    sample=Sample((("Dockerfile", "FROM debian\nRUN sudo ls\n"),), "DL3004"),
    per_file=False,
)
