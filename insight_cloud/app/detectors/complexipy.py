"""complexipy: Python functions that are hard to follow (cognitive complexity). Optional."""

from __future__ import annotations

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
from insight_cloud.app.sarif.model import Finding, Location, Rule

__all__ = ["LIMIT", "detector"]

LIMIT = 15
"""The usual limit; its own default is the same."""

_RULE = Rule(
    code="cognitive-complexity",
    name="cognitive-complexity",
    summary=f"A function has a cognitive complexity above {LIMIT}",
    help="Nested branches and loops are what makes code hard to follow. Return early, and give "
    "inner blocks a name: a function for each.",
    help_uri="https://github.com/rohaquinlop/complexipy",
)


class _Function(msgspec.Struct, frozen=True):
    complexity: int
    function_name: str
    path: str
    line_start: int = 0
    line_end: int = 0


async def _run(_root: Path, files: tuple[File, ...], children: Children) -> Result:
    output = children.scratch / "complexipy.json"
    outcome = await children.run(
        [
            *(*tools.command("complexipy"), "--isolated", "--quiet", "--ignore-complexity"),
            *("--max-complexity-allowed", str(LIMIT), "--failed"),
            *("--output-format", "json", "--output", output, "--"),
            *(file.path for file in files),
        ]
    )
    if bad := ended_badly(outcome, timeout_seconds=children.timeout_seconds):
        return bad
    names = {file.path: file.name for file in files}
    data = output.read_bytes() if output.is_file() else b"[]"
    found = decode(data, list[_Function], tool="complexipy")
    return Result(
        findings=tuple(_finding(one, names[one.path]) for one in found if one.complexity > LIMIT),
        rules=(_RULE,),
    )


def _finding(one: _Function, name: str) -> Finding:
    severity, category = graded("complexipy", _RULE.code, category="complexity")
    text = f"{one.function_name} has a cognitive complexity of {one.complexity} (limit {LIMIT})"
    return Finding(
        rule=_RULE.code,
        message=text,
        severity=severity,
        category=category,
        location=Location(path=name, line=one.line_start or None, end_line=one.line_end or None),
        # The name is the function's identity, however its body moves.
        fingerprints={"function/v1": f"{_RULE.code}:{one.function_name}"},
    )


def _select(tree: Tree) -> tuple[File, ...]:
    return tuple(file for file in tree.files if file.own and file.suffix == ".py")


_SAMPLE = "def f(a):\n" + "".join(
    f"{'    ' * (depth + 1)}for x{depth} in a:\n" for depth in range(6)
)

detector = Detector(
    name="complexipy",
    finds="Python functions that are hard to follow (optional)",
    absent="no Python files",
    version=partial(tools.version, "complexipy"),
    configuration=repr((1, LIMIT)),
    select=_select,
    run=_run,
    sample=Sample((("a.py", _SAMPLE + "    " * 7 + "pass\n"),), _RULE.code),
)
