"""The pages' own files: minified, hashed, compressed and ready before the first request."""

from __future__ import annotations

import functools
from pathlib import Path

from insight_cloud.assets import Asset, Assets, Static

__all__ = ["address", "integrity", "named", "preload", "static"]

_SOURCES = Path(__file__).with_name("static")
_FIRST = ("app.css", "app.js")
"""What every page needs before it can be seen."""


def address(name: str) -> str:
    """The address of the file called `name`; a name that does not exist is `Missing`."""
    return _prepared().url(name)


def integrity(name: str) -> str:
    """The digest of the file called `name`, for the element that loads it."""
    return named(name).integrity


def named(name: str) -> Asset:
    """The file called `name`."""
    return _prepared().release[name]


@functools.cache
def preload() -> str:
    """The `Link` header of every page; an edge sends it ahead as Early Hints."""
    return _prepared().preload(*_FIRST)


def static(kept: Path | None = None) -> Static:
    """What serves the files; with `kept`, also those of the last releases, kept in that folder.

    Raises:
        SettingsError: the folder cannot be written.
    """
    ours = _prepared()
    return Static(ours if kept is None else Assets.prepare(_SOURCES, kept=kept))


@functools.cache
def _prepared() -> Assets:
    return Assets.prepare(_SOURCES)
