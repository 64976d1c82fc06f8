"""Findings in their normal form: what every log is read into and every detector reports."""

from __future__ import annotations

from typing import Literal, get_args

import msgspec

__all__ = [
    "CATEGORIES",
    "SEVERITIES",
    "Category",
    "Finding",
    "Location",
    "Log",
    "Rule",
    "Run",
    "RunState",
    "Severity",
    "Snippet",
    "Warned",
]

Severity = Literal["critical", "high", "medium", "low", "info"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
"""Worst first."""

Category = Literal[
    "security",
    "runtime",
    "network",
    "performance",
    "complexity",
    "imports",
    "packages",
    "types",
    "build",
    "duplication",
    "style",
]
CATEGORIES: tuple[Category, ...] = get_args(Category)

RunState = Literal["ok", "skipped", "failed", "timed_out"]
"""How one tool's run ended. Only `ok` may close issues."""


class Location(msgspec.Struct, frozen=True, kw_only=True):
    """A place in a file. Lines and columns count from 1; None where the log does not say.

    `path` is relative to the source root with forward slashes; a place outside of the root
    is kept as it was named, with `external` set.
    """

    path: str
    line: int | None = None
    end_line: int | None = None
    column: int | None = None
    end_column: int | None = None
    message: str = ""
    external: bool = False


class Snippet(msgspec.Struct, frozen=True, kw_only=True):
    """A few lines of the code around a finding, from `line` on."""

    line: int
    text: str


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """A rule as its tool describes it; texts are plain or Markdown, never trusted as HTML."""

    code: str
    name: str = ""
    summary: str = ""
    help: str = ""
    help_uri: str = ""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One result of one tool.

    `location` is None for a finding about the project as a whole. `fingerprints` are the
    tool's own, by name. `context_hash` and `line_hash` are ours (`sarif.fingerprint`), and
    empty where the sources were not at hand. `pointer` is the result's JSON pointer in its
    log (empty when it was not read from one). `snippet` is there where the code around the
    finding was sent along.
    """

    rule: str
    message: str
    severity: Severity
    category: Category
    location: Location | None = None
    related: tuple[Location, ...] = ()
    flow: tuple[Location, ...] = ()
    fingerprints: dict[str, str] = {}
    context_hash: str = ""
    line_hash: str = ""
    suppressed: bool = False
    pointer: str = ""
    snippet: Snippet | None = None


class Warned(msgspec.Struct, frozen=True, kw_only=True):
    """Something in a log that was passed over or repaired, and where (JSON pointer)."""

    pointer: str
    detail: str


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One tool's run: who, how it ended (`detail` says why when not ok), what it found.

    `category` is SARIF's automation id: two runs of a tool with different categories are
    tracked apart. `scope` are the paths that it looked at, None for all of them: only there
    does its silence mean that something is fixed.
    """

    tool: str
    version: str = ""
    category: str = ""
    state: RunState = "ok"
    detail: str = ""
    seconds: float = 0.0
    rules: tuple[Rule, ...] = ()
    findings: tuple[Finding, ...] = ()
    scope: frozenset[str] | None = None


class Log(msgspec.Struct, frozen=True, kw_only=True):
    """A whole log. `warnings` name everything that was not taken as it stood."""

    runs: tuple[Run, ...]
    warnings: tuple[Warned, ...] = ()
