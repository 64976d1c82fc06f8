"""lizard: functions that are too complex, too long or take too many parameters."""

from __future__ import annotations

from pathlib import Path

import msgspec

from insight_cloud.app.detectors import work
from insight_cloud.app.detectors.detector import Children, Detector, Result, Sample, installed
from insight_cloud.app.detectors.files import File, Tree
from insight_cloud.app.detectors.grades import graded
from insight_cloud.app.sarif.model import Finding, Location, Rule

__all__ = ["CCN", "LINES", "PARAMETERS", "detector"]

CCN = 15
LINES = 100
PARAMETERS = 7

# What lizard reads well. Its readers for markup and SQL dialects report nonsense lengths.
# fmt: off
_SUFFIXES = frozenset(
    {
        ".c", ".cc", ".cjs", ".cpp", ".cs", ".cxx", ".erl", ".es", ".f90", ".f95", ".gd", ".go",
        ".h", ".hh", ".hpp", ".hxx", ".java", ".js", ".jsx", ".kt", ".kts", ".lua", ".m", ".mjs",
        ".mm", ".php", ".pl", ".pm", ".py", ".r", ".rb", ".rs", ".scala", ".sol", ".swift", ".ts",
        ".tsx", ".vue", ".zig",
    }
)
# fmt: on
_RULES = (
    Rule(
        code="complexity",
        name="complexity",
        summary=f"A function has a cyclomatic complexity above {CCN}",
        help="Each branch is a path to understand and to test. Split the function where its "
        "paths part, or move the cases into a table.",
        help_uri="https://github.com/terryyin/lizard",
    ),
    Rule(
        code="length",
        name="length",
        summary=f"A function is longer than {LINES} lines",
        help="Give its steps names: a function for each, called in order.",
        help_uri="https://github.com/terryyin/lizard",
    ),
    Rule(
        code="parameters",
        name="parameters",
        summary=f"A function takes more than {PARAMETERS} parameters",
        help="Parameters that travel together want to be one value.",
        help_uri="https://github.com/terryyin/lizard",
    ),
)


class Function(msgspec.Struct, frozen=True, array_like=True):
    """One function beyond a limit, as the child reports it."""

    name: str
    line: int
    end_line: int
    ccn: int
    parameters: int


async def _run(_root: Path, files: tuple[File, ...], children: Children) -> Result:
    answer = await work.spread(
        "insight_cloud.app.detectors.lizard_worker",
        files,
        children,
        kind=Function,
        task=(CCN, LINES, PARAMETERS),
    )
    if isinstance(answer, Result):
        return answer
    findings = tuple(
        finding
        for name, functions in sorted(answer.found.items())
        for function in functions
        for finding in _findings(name, function)
    )
    return Result(findings=findings, rules=_RULES, detail=answer.detail)


def _findings(path: str, function: Function) -> list[Finding]:
    lines = function.end_line - function.line + 1
    exceeded = {
        "complexity": (function.ccn > CCN, f"has a cyclomatic complexity of {function.ccn}", CCN),
        "length": (lines > LINES, f"is {lines} lines long", LINES),
        "parameters": (
            function.parameters > PARAMETERS,
            f"takes {function.parameters} parameters",
            PARAMETERS,
        ),
    }
    return [
        _finding(path, function, rule, f"{function.name} {text} (limit {limit})")
        for rule, (too_much, text, limit) in exceeded.items()
        if too_much
    ]


def _finding(path: str, function: Function, rule: str, message: str) -> Finding:
    severity, category = graded("lizard", rule)
    return Finding(
        rule=rule,
        message=message,
        severity=severity,
        category=category,
        location=Location(path=path, line=function.line, end_line=function.end_line),
        # The name is the function's identity, however its body moves.
        fingerprints={"function/v1": f"{rule}:{function.name}"},
    )


def _select(tree: Tree) -> tuple[File, ...]:
    return tuple(file for file in tree.files if file.own and file.suffix in _SUFFIXES)


detector = Detector(
    name="lizard",
    finds="functions that are too complex, too long or take too many parameters (20 languages)",
    absent="no files in a language that it reads",
    version=lambda: installed("lizard"),
    configuration=repr((1, CCN, LINES, PARAMETERS, sorted(_SUFFIXES))),
    select=_select,
    run=_run,
    sample=Sample(
        (("sample.js", "function f(a, b, c, d, e, g, h, i) { return a }\n"),),
        "parameters",
    ),
)
