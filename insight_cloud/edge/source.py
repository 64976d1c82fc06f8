"""Where a value stands in a TOML file, which `tomllib` does not tell: messages name the line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeAlias

__all__ = ["Path", "lines_of", "locate"]

Path: TypeAlias = tuple[str | int, ...]

_TABLE = re.compile(r"^\s*\[\s*([^\[\]]+?)\s*\]\s*(?:#.*)?$")
_TABLES = re.compile(r"^\s*\[\[\s*([^\[\]]+?)\s*\]\]\s*(?:#.*)?$")
_KEY = re.compile(r"^\s*((?:[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*')(?:\s*\.\s*[A-Za-z0-9_\"'-]+)*)\s*=")
_PART = re.compile(r"[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*'")


def lines_of(text: str) -> dict[Path, int]:
    """The line, from 1, of each key and table of a TOML document; of repeated tables too."""
    found: dict[Path, int] = {(): 1}
    counts: dict[Path, int] = {}
    table: Path = ()
    closing = ""
    for number, line in enumerate(text.splitlines(), 1):
        if closing:
            closing = "" if closing in line else closing
            continue
        if tables := _TABLES.match(line):
            name = _resolve(_parts(tables[1]), counts)
            counts[name] = counts.get(name, -1) + 1
            table = (*name, counts[name])
            found.setdefault(name, number)
            found[table] = number
        elif single := _TABLE.match(line):
            table = _resolve(_parts(single[1]), counts)
            found.setdefault(table, number)
        elif key := _KEY.match(line):
            found[(*table, *_parts(key[1]))] = number
            closing = _unclosed(line[key.end() :])
    return found


def locate(lines: dict[Path, int], path: Sequence[str | int]) -> int:
    """The line of `path`, or of the nearest thing around it that has one."""
    wanted = tuple(path)
    while wanted not in lines:
        wanted = wanted[:-1]
    return lines[wanted]


def _parts(text: str) -> Path:
    return tuple(part.strip("\"'") for part in _PART.findall(text))


def _resolve(name: Path, counts: dict[Path, int]) -> Path:
    """`[[a]]` then `[a.b]`: b belongs to the last a."""
    resolved: Path = ()
    for part in name[:-1]:
        resolved = (*resolved, part)
        if resolved in counts:
            resolved = (*resolved, counts[resolved])
    return (*resolved, name[-1])


def _unclosed(value: str) -> str:
    """The delimiter that a string over several lines still waits for."""
    for delimiter in ("'''", '"""'):
        if value.count(delimiter) == 1:
            return delimiter
    return ""
