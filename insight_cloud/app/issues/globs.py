"""Patterns of paths, as in `src/**/*.py`: pure, and never slower than pattern times path."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

__all__ = ["LIMIT", "matcher"]

LIMIT = 500
"""Characters of a pattern."""

_FOLDERS = "**"


@lru_cache(maxsize=256)
def matcher(pattern: str) -> Callable[[str], bool]:
    """Return what says whether a path fits `pattern`, which stands for the whole path.

    `*` is any text within one folder, `?` one character of it, `**` any folders or none; a
    slash at the end means everything below. Nothing else is special.
    """
    parts = [part for part in pattern.split("/") if part]
    if pattern.endswith("/"):
        parts.append(_FOLDERS)
    wanted = [None if part == _FOLDERS else _segment(part) for part in parts]
    return lambda path: _fits(wanted, path.split("/"))


def _segment(text: str) -> re.Pattern[str]:
    """One folder's or file's name.

    The groups are atomic: the first place that fits a piece is the best one for all that
    follow, so nothing is ever tried twice.
    """
    first, *rest = [
        "".join("." if char == "?" else re.escape(char) for char in piece)
        for piece in re.split(r"\*+", text)
    ]
    if not rest:
        return re.compile(first, re.DOTALL)
    *middle, last = rest
    between = "".join(f"(?>.*?{piece})" for piece in middle)
    return re.compile(f"{first}{between}.*{last}", re.DOTALL)


def _fits(wanted: list[re.Pattern[str] | None], parts: list[str]) -> bool:
    """Walk both at once; `reached` are the positions in `wanted` that the parts so far allow."""
    reached = _past_folders({0}, wanted)
    for part in parts:
        after = set()
        for position in reached:
            if position == len(wanted):
                continue
            segment = wanted[position]
            if segment is None:
                after.add(position)
            elif segment.fullmatch(part):
                after.add(position + 1)
        reached = _past_folders(after, wanted)
    return len(wanted) in reached


def _past_folders(positions: set[int], wanted: list[re.Pattern[str] | None]) -> set[int]:
    """Add the positions behind a `**`, which may stand for no folder at all."""
    found = set(positions)
    for position in sorted(positions):
        here = position
        while here < len(wanted) and wanted[here] is None:
            here += 1
            found.add(here)
    return found
