"""ruff with our own selection of rules: defects in Python, without matters of style."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

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
from insight_cloud.app.detectors.grades import graded
from insight_cloud.app.sarif.model import Finding, Location, Rule

__all__ = ["detector"]

_SELECTED = (
    "F",  # names that do not exist, imports and variables that nobody uses
    "E9",  # files that cannot be read
    "E721",  # comparing types
    "W605",  # escapes that Python will refuse
    "B",  # bugbear: likely bugs
    "S",  # security
    "BLE",  # blind except
    "ASYNC",  # blocking calls and lost time limits in async code
    "PERF",
    "PLE",
    "PLW",
    "PLR0124",  # comparing something with itself
    "C4",  # comprehensions: needless intermediate lists
    "DTZ",  # times without a zone
    "FAST",
    "INT",  # translations that are formatted before they are looked up
    "LOG",
    "G010",
    "G101",
    "PGH005",  # a mock's assertion that asserts nothing
    "PIE794",  # class fields and enum values given twice
    "PIE796",
    "RUF006",  # tasks that may be collected while they run
    "RUF008",
    "RUF009",
    "RUF016",
    "RUF017",  # quadratic sum of lists
    "RUF018",
    "RUF024",
    "RUF026",
    "RUF030",
    "RUF032",
    "RUF033",
    "RUF034",
    "RUF040",
    "RUF043",
    "RUF048",
    "RUF060",
    "RUF061",
    "RUF064",
    "SIM115",  # files opened and not closed
    "SIM220",
    "SIM221",
    "SIM222",
    "SIM223",
    "T10",  # debuggers left in
    "TRY203",
    "YTT",
)
_IGNORED = (
    "B007",  # loop variables that are not used
    "B905",  # zip without strict: right far more often than wrong
    "C408",  # dict() or {}: taste
    "F403",  # star imports hide names, which F405 says of each of them
    "PERF203",  # try in a loop costs nothing since Python 3.11
    "PLW1641",  # classes with == and no hash are unhashable on purpose
    "PLW2901",  # reassigning a loop's name is how Python cleans a value
    "S101",  # assert
    "S311",  # random numbers that need no secrecy
    "S603",  # starting programs: S602, S604 and S605 name the dangerous ways
    "S606",
    "S607",
)
_FINE_IN_TESTS = ("S", "BLE", "PERF", "DTZ", "B017", "B018", "PLW", "ASYNC", "SIM115")
# The newest: syntax that some supported Python reads is not an error.
_TARGET = "py314"
_ARGUMENT_BYTES = 512 * 1024  # Linux refuses a command line of more than 2 MiB
_TESTS = re.compile(r"(?:^|/)(?:tests?|testing|conftest\.py$|test_[^/]*$|[^/]*_test\.py$)(?:/|$)?")


class _Place(msgspec.Struct, frozen=True):
    row: int
    column: int


class _Problem(msgspec.Struct, frozen=True):
    filename: str
    message: str
    location: _Place
    end_location: _Place
    code: str | None = None
    name: str = ""
    url: str | None = None


class _Documented(msgspec.Struct, frozen=True):
    code: str | None = None
    explanation: str = ""


async def _explain(rules: tuple[Rule, ...], children: Children) -> tuple[Rule, ...]:
    """Add ruff's own documentation; a rule that it does not document stays as it is."""
    outcome = await children.run([program("ruff"), "rule", "--all", "--output-format", "json"])
    if ended_badly(outcome, timeout_seconds=children.timeout_seconds):
        return rules
    known = {rule.code: rule for rule in decode(outcome.stdout, list[_Documented], tool="ruff")}
    return tuple(
        msgspec.structs.replace(rule, help=known[rule.code].explanation)
        if rule.code in known
        else rule
        for rule in rules
    )


async def _run(_root: Path, files: tuple[File, ...], children: Children) -> Result:
    findings: list[Finding] = []
    rules: dict[str, Rule] = {}
    for part in _parts(files):
        outcome = await children.run(
            [
                program("ruff"),
                *("check", "--isolated", "--no-cache", "--exit-zero", "--quiet"),
                *("--output-format", "json", "--target-version", _TARGET),
                *("--select", ",".join(_SELECTED), "--ignore", ",".join(_IGNORED), "--"),
                *(file.path for file in part),
            ]
        )
        if bad := ended_badly(outcome, timeout_seconds=children.timeout_seconds):
            return bad
        names = {file.path: file.name for file in part}
        for problem in decode(outcome.stdout, list[_Problem], tool="ruff"):
            code = problem.code or "invalid-syntax"
            name = names[problem.filename]
            if _is_fine(code, name):
                continue
            findings.append(_finding(problem, code, name))
            rules[code] = Rule(
                code=code, name=problem.name, help_uri=problem.url or "", summary=problem.name
            )
    return Result(findings=tuple(findings), rules=tuple(rules.values()))


def _is_fine(code: str, name: str) -> bool:
    """Whether what `code` warns of is on purpose in such a file."""
    if code == "F401":  # a package offers what it imports
        return name.endswith("__init__.py")
    return code.startswith(_FINE_IN_TESTS) and _TESTS.search(name) is not None


def _finding(problem: _Problem, code: str, name: str) -> Finding:
    severity, category = graded("ruff", code)
    return Finding(
        rule=code,
        message=problem.message,
        severity=severity,
        category=category,
        location=Location(
            path=name,
            line=problem.location.row,
            column=problem.location.column,
            end_line=problem.end_location.row,
            end_column=problem.end_location.column,
        ),
    )


def _parts(files: tuple[File, ...]) -> Iterator[list[File]]:
    part: list[File] = []
    length = 0
    for file in files:
        part.append(file)
        length += len(file.path.encode("utf-8", "surrogateescape")) + 1
        if length > _ARGUMENT_BYTES:
            yield part
            part, length = [], 0
    if part:
        yield part


def _select(tree: Tree) -> tuple[File, ...]:
    return tuple(file for file in tree.files if file.own and file.suffix in {".py", ".pyi"})


detector = Detector(
    name="ruff",
    finds="likely bugs, security and performance problems in Python",
    absent="no Python files",
    version=lambda: installed("ruff"),
    configuration=repr((2, _SELECTED, _IGNORED, _FINE_IN_TESTS, _TARGET, _TESTS.pattern)),
    select=_select,
    run=_run,
    executable="ruff",
    explain=_explain,
    sample=Sample((("sample.py", "import os\n"),), "F401"),
)
