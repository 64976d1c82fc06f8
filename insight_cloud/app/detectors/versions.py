"""Whether an advisory is about a version: OSV's ranges, by PEP 440 and semantic versions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import total_ordering
from typing import Any

import msgspec
from packaging.version import InvalidVersion, Version

__all__ = ["Affected", "Event", "Package", "Range", "fixed_in", "is_affected"]


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """One bound of a range."""

    introduced: str = ""
    fixed: str = ""
    last_affected: str = ""


class Range(msgspec.Struct, frozen=True, omit_defaults=True):
    """A range of versions; those of commits (`GIT`) say nothing about a lock file."""

    type: str = ""
    events: list[Event] = []


class Package(msgspec.Struct, frozen=True, omit_defaults=True):
    """A package in its ecosystem."""

    ecosystem: str = ""
    name: str = ""


class Affected(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which versions of a package an advisory is about."""

    package: Package = Package()
    ranges: list[Range] = []
    versions: list[str] = []


def is_affected(affected: Affected, version: str) -> bool:
    """Whether `version` is listed, or lies in a range; one that cannot be read lies in none."""
    if version in affected.versions:
        return True
    here = _key(affected.package.ecosystem, version)
    if here is None:
        return False
    return any(
        _within(one.events, here, affected.package.ecosystem)
        for one in affected.ranges
        if one.type in {"ECOSYSTEM", "SEMVER"}
    )


def fixed_in(affected: Affected, version: str) -> str:
    """The lowest version above `version` in which it is mended; empty where none is."""
    ecosystem = affected.package.ecosystem
    here = _key(ecosystem, version)
    bounds = [event.fixed for one in affected.ranges for event in one.events if event.fixed]
    above = [(key, one) for one in bounds if (key := _key(ecosystem, one)) and here and key > here]
    return min(above)[1] if above else ""


def _within(events: Sequence[Event], here: Any, ecosystem: str) -> bool:
    """OSV's own algorithm: walk the events in order, each switches the state."""
    vulnerable = False
    for key, event in sorted(_ordered(events, ecosystem), key=lambda pair: pair[0]):
        if event.introduced and key <= here:
            vulnerable = True
        elif (event.fixed and key <= here) or (event.last_affected and key < here):
            vulnerable = False
    return vulnerable


def _ordered(events: Iterable[Event], ecosystem: str) -> Iterable[tuple[Any, Event]]:
    for event in events:
        text = event.introduced or event.fixed or event.last_affected
        if event.introduced == "0":  # before everything, pre-releases too
            text = "0a0.dev0" if ecosystem == "PyPI" else "0.0.0-0"
        key = _key(ecosystem, text)
        if key is not None:
            yield key, event


def _key(ecosystem: str, text: str) -> Any:
    if ecosystem == "PyPI":
        try:
            return Version(text)
        except InvalidVersion:
            return None
    match = _SEMVER.match(text)
    return None if match is None else _Semantic(match)


_SEMVER = re.compile(r"v?(\d+)(?:\.(\d+))?(?:\.(\d+))?(?:-([0-9A-Za-z.-]+))?(?:\+.*)?$")


@total_ordering
class _Semantic:
    """A semantic version (semver.org): numbers first; a pre-release comes before its release."""

    def __init__(self, match: re.Match[str]) -> None:
        self.numbers = tuple(int(match[n] or 0) for n in (1, 2, 3))
        self.before = tuple(_identifier(one) for one in match[4].split(".")) if match[4] else ()
        self._order = (self.numbers, not self.before, self.before)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Semantic) and self._order == other._order

    def __lt__(self, other: _Semantic) -> bool:
        return self._order < other._order

    def __hash__(self) -> int:
        return hash(self._order)


def _identifier(text: str) -> tuple[int, int, str]:
    """Numbers come before words, and by their value."""
    return (0, int(text), "") if text.isdecimal() else (1, 0, text)
