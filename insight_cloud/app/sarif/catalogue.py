"""Our rule catalogue: what well-known rules mean, whatever level their tools give them.

The table itself is data (`catalogue.toml`, read once); this file finds the line that fits.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import cast

import msgspec

from insight_cloud.app.sarif.model import CATEGORIES, SEVERITIES, Category, Severity

__all__ = ["Meaning", "find", "tools"]

_LEFT_TO_THE_LOG = "-"


class Meaning(msgspec.Struct, frozen=True):
    """A rule's severity and category; None leaves that half to the log."""

    severity: Severity | None
    category: Category | None


def find(tool: str, code: str) -> Meaning | None:
    """The meaning of rule `code` of `tool`, None for tools that we do not know.

    `tool` is the driver's name: "Semgrep OSS" and "semgrep" are one tool.
    """
    rules = _rules_of(tool)
    if rules is None:
        return None
    for length in range(len(code), -1, -1):
        meaning = rules.get(code[:length])
        if meaning is not None:
            return meaning
    return None


def tools() -> frozenset[str]:
    """The names of the tools in the catalogue."""
    return frozenset(_table())


def _rules_of(tool: str) -> dict[str, Meaning] | None:
    name = tool.lower()
    table = _table()
    return table.get(name) or table.get(name.partition(" ")[0])


@cache
def _table() -> dict[str, dict[str, Meaning]]:
    text = files(__package__).joinpath("catalogue.toml").read_text(encoding="utf-8")
    return {
        tool: {start: _meaning(words) for start, words in rules.items()}
        for tool, rules in tomllib.loads(text).items()
    }


def _meaning(words: str) -> Meaning:
    severity, category = words.split()
    if severity not in {*SEVERITIES, _LEFT_TO_THE_LOG}:
        raise ValueError(f"catalogue.toml: no such severity: {severity}")
    if category not in {*CATEGORIES, _LEFT_TO_THE_LOG}:
        raise ValueError(f"catalogue.toml: no such category: {category}")
    return Meaning(
        None if severity == _LEFT_TO_THE_LOG else cast("Severity", severity),
        None if category == _LEFT_TO_THE_LOG else cast("Category", category),
    )
