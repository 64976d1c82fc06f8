"""jscpd: code that stands twice."""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter
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
from insight_cloud.app.detectors.files import FILE_BYTES, File, Tree
from insight_cloud.app.detectors.grades import graded
from insight_cloud.app.sarif.model import Finding, Location, Rule

__all__ = ["LINES", "TOKENS", "detector"]

LINES = 10
TOKENS = 100
"""Shorter repetitions are idioms more often than copies."""

_RULE = "duplicate-code"
# fmt: off
_SUFFIXES = frozenset(
    {
        ".c", ".cc", ".cjs", ".clj", ".cpp", ".cr", ".cs", ".cxx", ".dart", ".erl", ".ex", ".exs",
        ".fs", ".go", ".groovy", ".h", ".hpp", ".hs", ".java", ".jl", ".js", ".jsx", ".kt",
        ".kts", ".lua", ".m", ".mjs", ".ml", ".mm", ".php", ".pl", ".pm", ".ps1", ".py", ".r",
        ".rb", ".rs", ".scala", ".sh", ".sol", ".sql", ".svelte", ".swift", ".ts", ".tsx", ".vb",
        ".vue", ".zig",
    }
)
# fmt: on
_RULES = (
    Rule(
        code=_RULE,
        name=_RULE,
        summary="The same code stands in two places",
        help="A fault that is corrected in one copy stays in the other. Give the code a name and "
        "call it from both places.",
        help_uri="https://jscpd.dev",
    ),
)


class _Spot(msgspec.Struct, frozen=True):
    line: int
    column: int


class _Fragment(msgspec.Struct, frozen=True, rename="camel"):
    name: str
    start_loc: _Spot
    end_loc: _Spot


class _Clone(msgspec.Struct, frozen=True, rename="camel"):
    first_file: _Fragment
    second_file: _Fragment
    lines: int
    tokens: int
    fragment: str


class _Log(msgspec.Struct, frozen=True):
    duplicates: list[_Clone]


async def _run(_root: Path, files: tuple[File, ...], children: Children) -> Result:
    names = {file.path: file.name for file in files}
    with tempfile.TemporaryDirectory(dir=children.scratch) as folder:
        # The files are named in our configuration: it then reads none of the repository's,
        # no ignore files, and a command line could be too short for all names.
        configuration = Path(folder) / "ours.json"
        configuration.write_bytes(
            msgspec.json.encode(
                {
                    "path": sorted(names),
                    "minTokens": TOKENS,
                    "minLines": LINES,
                    "maxLines": 1_000_000,
                    "maxSize": f"{FILE_BYTES}",
                    "mode": "mild",
                    "gitignore": False,
                    "absolute": True,
                }
            )
        )
        outcome = await children.run(
            [
                program("jscpd"),
                *("--config", configuration, "--output", folder, "--reporters", "json"),
                *("--no-gitignore", "--silent", "--no-tips", "--no-colors", "--workers", "2"),
            ]
        )
        if bad := ended_badly(outcome, timeout_seconds=children.timeout_seconds):
            return bad
        report = Path(folder) / "jscpd-report.json"
        log = decode(report.read_bytes(), _Log, tool="jscpd") if report.exists() else _Log([])
    return Result(findings=_findings(log.duplicates, names), rules=_RULES)


def _findings(clones: list[_Clone], names: dict[str, str]) -> tuple[Finding, ...]:
    seen: Counter[str] = Counter()
    findings = []
    for clone in sorted(clones, key=_order):
        # The same code found again is another pair: number it, or identities would collide.
        digest = hashlib.blake2b(clone.fragment.encode(), digest_size=8).hexdigest()
        seen[digest] += 1
        findings.append(_finding(clone, f"{digest}:{seen[digest]}", names))
    return tuple(findings)


def _order(clone: _Clone) -> tuple[str, int, str, int, int]:
    one, other = sorted((clone.first_file, clone.second_file), key=_place)
    return one.name, one.start_loc.line, other.name, other.start_loc.line, clone.tokens


def _place(fragment: _Fragment) -> tuple[str, int]:
    return fragment.name, fragment.start_loc.line


def _finding(clone: _Clone, fingerprint: str, names: dict[str, str]) -> Finding:
    # Which copy the tool calls the first depends on its threads; by name it does not.
    one, other = sorted((clone.first_file, clone.second_file), key=_place)
    there = _location(other, names)
    severity, category = graded("jscpd", _RULE)
    return Finding(
        rule=_RULE,
        message=f"{clone.lines} lines are the same as in {there.path}",
        severity=severity,
        category=category,
        location=_location(one, names),
        related=(there,),
        fingerprints={"clone/v1": fingerprint},
    )


def _location(fragment: _Fragment, names: dict[str, str]) -> Location:
    return Location(
        path=names[fragment.name],
        line=fragment.start_loc.line,
        column=fragment.start_loc.column + 1,
        end_line=fragment.end_loc.line,
        end_column=fragment.end_loc.column + 1,
    )


def _select(tree: Tree) -> tuple[File, ...]:
    return tuple(file for file in tree.files if file.own and file.suffix in _SUFFIXES)


_BODY = "".join(f"    total_{n} = first[{n}] * second[{n}] + offset_{n}\n" for n in range(14))

detector = Detector(
    name="jscpd",
    finds=f"code of {LINES} lines or more that stands twice (60 languages)",
    absent="no source code",
    version=lambda: installed("jscpd"),
    configuration=repr((1, LINES, TOKENS, sorted(_SUFFIXES))),
    select=_select,
    run=_run,
    executable="jscpd",
    sample=Sample((("one.py", f"def f():\n{_BODY}"), ("two.py", f"def f():\n{_BODY}")), _RULE),
    per_file=False,
)
