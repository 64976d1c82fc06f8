"""Under which names Python could import the files of a tree: pure, by names alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath as Name

__all__ = ["Package", "packages"]

_PROJECT = frozenset({"pyproject.toml", "setup.py", "setup.cfg"})


@dataclass(frozen=True, slots=True)
class Package:
    """A top-level package or module: where it is, and the file of each of its modules.

    `source` is the directory that would stand on the import path ("." for the root).
    """

    source: str
    name: str
    modules: tuple[tuple[str, str], ...]


def packages(names: Iterable[str]) -> list[Package]:
    """Every reading of the Python files among `names` as modules.

    A file has up to two: below the outermost directory with an `__init__.py` (as a script's
    neighbours are found, and packages anywhere), and below the nearest project directory or
    its `src` (as namespace packages, and packages without `__init__.py`, are found).
    """
    known = frozenset(names)
    sources = {Name(name).parent for name in known if Name(name).name in _PROJECT} | {Name(".")}
    sources |= {source / "src" for source in sources}
    found: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for name in sorted(known):
        path = Name(name)
        if path.suffix != ".py":
            continue
        for source in {_above_packages(path, known), _nearest(path, sources)}:
            module = _module(path, source)
            if module:
                found[str(source), module[0]][".".join(module)] = name
    return [
        Package(source, top, tuple(sorted(modules.items())))
        for (source, top), modules in sorted(found.items())
    ]


def _above_packages(path: Name, known: frozenset[str]) -> Name:
    """The directory above the outermost package around `path`."""
    directory = path.parent
    while str(directory) != "." and str(directory / "__init__.py") in known:
        directory = directory.parent
    return directory


def _nearest(path: Name, sources: set[Name]) -> Name:
    return next(parent for parent in path.parents if parent in sources)


def _module(path: Name, source: Name) -> tuple[str, ...]:
    """The parts of the module's name, or nothing when it cannot be imported from `source`."""
    parts = path.relative_to(source).with_suffix("").parts
    if parts[-1] == "__init__":
        parts = parts[:-1]
    return parts if parts and all(part.isidentifier() for part in parts) else ()
