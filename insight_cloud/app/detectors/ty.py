"""ty: Python code whose types do not fit together. Optional."""

from __future__ import annotations

import asyncio
import os
import tempfile
from functools import partial
from pathlib import Path

import msgspec

from insight_cloud.app.detectors import mirror, tools
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
    "blocker": "high",
    "critical": "high",
    "major": "medium",
    "minor": "low",
    "info": "info",
}
_IGNORED = (
    "import-not-found",  # no package of the code's is installed here: deptry looks at imports
    # What these say depends on the release of the library or the package that the code runs with.
    "deprecated",
    "redundant-cast",
    "unused-ignore-comment",
    "unused-type-ignore-comment",
)
# What ruff says already, and better.
_PASSED_OVER = frozenset({"invalid-syntax"})
_PYTHON = "3.14"
"""The newest: what was added to the library is then known."""


class _Position(msgspec.Struct, frozen=True):
    line: int
    column: int


class _Positions(msgspec.Struct, frozen=True):
    begin: _Position
    end: _Position


class _Place(msgspec.Struct, frozen=True):
    path: str
    positions: _Positions


class _Problem(msgspec.Struct, frozen=True):
    check_name: str
    description: str
    severity: str
    location: _Place


async def _run(_root: Path, files: tuple[File, ...], children: Children) -> Result:
    with tempfile.TemporaryDirectory(dir=children.scratch) as folder:
        # It would read `ty.toml`, `pyproject.toml` and environments that lie beside the code.
        code = Path(folder, "code")
        environment = await asyncio.to_thread(_prepared, Path(folder), code, files)
        outcome = await children.run(
            [
                *(*tools.command("ty"), "check", "--project", code, "--python", environment),
                *("--config-file", os.devnull, "--python-version", _PYTHON),
                *("--output-format", "gitlab", "--exit-zero", "--no-progress", "--color", "never"),
                *("--no-respect-ignore-files", "--exclude", "!**"),
                *(word for rule in _IGNORED for word in ("--ignore", rule)),
                *("--", code),
            ]
        )
    if bad := ended_badly(outcome, timeout_seconds=children.timeout_seconds):
        return bad
    names = {_below(children, code, file.name): file.name for file in files}
    found = [
        (one, name)
        for one in decode(outcome.stdout, list[_Problem], tool="ty")
        if one.check_name not in _PASSED_OVER and (name := names.get(one.location.path))
    ]
    return Result(
        findings=tuple(_finding(one, name) for one, name in found),
        rules=tuple({one.check_name: _rule(one.check_name) for one, _ in found}.values()),
    )


def _prepared(folder: Path, code: Path, files: tuple[File, ...]) -> Path:
    """Copies the code; an environment without any package, so that no other is looked for."""
    code.mkdir()
    mirror.fill(code, files)
    environment = folder / "environment"
    (environment / f"lib/python{_PYTHON}/site-packages").mkdir(parents=True)
    (environment / "pyvenv.cfg").write_text(f"home = {folder}\nversion_info = {_PYTHON}.0\n")
    return environment


def _below(children: Children, code: Path, name: str) -> str:
    """The copy of `name` as ty names it: relative to the directory in which it was started."""
    return str((code / name).relative_to(children.scratch))


def _finding(one: _Problem, name: str) -> Finding:
    code = one.check_name
    severity, category = graded(
        "ty", code, severity=_LEVELS.get(one.severity, "medium"), category="types"
    )
    where = one.location.positions
    return Finding(
        rule=code,
        message=one.description.removeprefix(f"{code}: "),
        severity=severity,
        category=category,
        location=Location(
            path=name,
            line=where.begin.line,
            column=where.begin.column,
            end_line=where.end.line,
            end_column=where.end.column,
        ),
    )


def _rule(code: str) -> Rule:
    return Rule(code=code, name=code, summary=code, help_uri=f"https://ty.dev/rules#{code}")


def _select(tree: Tree) -> tuple[File, ...]:
    return tuple(file for file in tree.files if file.own and file.suffix in {".py", ".pyi"})


detector = Detector(
    name="ty",
    finds="Python code whose types do not fit together (optional)",
    absent="no Python files",
    version=partial(tools.version, "ty"),
    configuration=repr((1, _IGNORED, sorted(_PASSED_OVER), _PYTHON)),
    select=_select,
    run=_run,
    sample=Sample((("a.py", 'x: int = ""\n'),), "invalid-assignment"),
    per_file=False,
)
