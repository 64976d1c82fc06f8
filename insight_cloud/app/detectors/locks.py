"""Which packages a project pins, from its lock files; pure, and never by asking a package manager.

Of a requirements file only what is pinned (`==`) counts: anything else says no version.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

__all__ = ["Pinned", "is_lock", "read"]


@dataclass(frozen=True, slots=True)
class Pinned:
    """A package in a version, and the line that says so."""

    ecosystem: str
    name: str
    version: str
    line: int


_REQUIREMENT = re.compile(
    r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^\]]*\])?\s*==\s*([A-Za-z0-9.!+_-]+)\s*(?:;|#|\\|$|--)"
)
_REQUIREMENTS = re.compile(r"(?:.*[._-])?requirements(?:[._-].*)?\.(?:txt|in)", re.IGNORECASE)
_PNPM = re.compile(r"^  '?/?(@?[^@'\s(]+)[@/](\d[^:'(\s]*)(?:\([^:]*)?'?:\s*$")
_YARN_NAME = re.compile(r'^"?(@?[^@",\s]+)@')
_YARN_VERSION = re.compile(r'^  version:?\s+"?(\d[^"\s]*)"?\s*$')


def _requirements(text: str) -> Iterator[Pinned]:
    for number, line in enumerate(text.splitlines(), 1):
        if match := _REQUIREMENT.match(line):
            yield Pinned("PyPI", match[1], match[2], number)


def _toml(text: str) -> Iterator[Pinned]:
    """`uv.lock`, `poetry.lock`, `pdm.lock`: tables called `package`."""
    lines = _lines_of(text, re.compile(r'^name = "([^"]+)"'))
    for one in _tables(tomllib.loads(text).get("package")):
        name, version = one.get("name"), one.get("version")
        if isinstance(name, str) and isinstance(version, str):
            yield Pinned("PyPI", name, version, lines.get(name, 1))


def _npm(text: str) -> Iterator[Pinned]:
    document = msgspec.json.decode(text)
    if not isinstance(document, dict):
        return
    lines = _lines_of(text, re.compile(r'^\s*"((?:node_modules/)?[^"]+)": \{'))
    packages = document.get("packages")
    if isinstance(packages, dict):
        for path, one in packages.items():
            name = path.rpartition("node_modules/")[2]
            version = one.get("version") if isinstance(one, dict) else None
            if name and "node_modules/" in path and isinstance(version, str):
                yield Pinned("npm", name, version, lines.get(path, 1))
        return
    yield from _npm_1(document.get("dependencies"), lines)


def _npm_1(given: Any, lines: dict[str, int], depth: int = 0) -> Iterator[Pinned]:
    """The first form of the file: dependencies within dependencies."""
    if not isinstance(given, dict) or depth > 50:
        return
    for name, one in given.items():
        if isinstance(one, dict):
            if isinstance(one.get("version"), str):
                yield Pinned("npm", name, one["version"], lines.get(name, 1))
            yield from _npm_1(one.get("dependencies"), lines, depth + 1)


def _pnpm(text: str) -> Iterator[Pinned]:
    for number, line in enumerate(text.splitlines(), 1):
        if match := _PNPM.match(line):
            yield Pinned("npm", match[1], match[2], number)


def _yarn(text: str) -> Iterator[Pinned]:
    name, at = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        if match := _YARN_NAME.match(line):
            name, at = match[1], number
        elif name and (match := _YARN_VERSION.match(line)):
            yield Pinned("npm", name, match[1], at)
            name = ""


_READERS: dict[str, Callable[[str], Iterator[Pinned]]] = {
    "uv.lock": _toml,
    "poetry.lock": _toml,
    "pdm.lock": _toml,
    "package-lock.json": _npm,
    "npm-shrinkwrap.json": _npm,
    "pnpm-lock.yaml": _pnpm,
    "yarn.lock": _yarn,
}


def is_lock(name: str) -> bool:
    """Whether a file of this name pins packages."""
    last = name.rpartition("/")[2]
    return last in _READERS or _REQUIREMENTS.fullmatch(last) is not None


def read(name: str, text: str) -> list[Pinned]:
    """What the lock file `name` pins; the same package in the same version once.

    Raises:
        ValueError: it is not in its form.
    """
    reader = _READERS.get(name.rpartition("/")[2], _requirements)
    try:
        found = {(one.name, one.version): one for one in reversed(list(reader(text)))}
    except (msgspec.DecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise ValueError(f"{name} cannot be read: {error}") from error
    return sorted(found.values(), key=lambda one: (one.line, one.name, one.version))


def _lines_of(text: str, pattern: re.Pattern[str]) -> dict[str, int]:
    """The first line of each name that `pattern` finds at the beginning of a line."""
    found: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if match := pattern.match(line):
            found.setdefault(match[1], number)
    return found


def _tables(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
