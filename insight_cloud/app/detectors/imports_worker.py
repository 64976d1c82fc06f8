"""The child that reads the import graph with grimp; nothing of the analysed code is imported.

Apart because grimp's parser may panic on odd files, which ends a process. Its scanner is
called below `build_graph`, which finds packages through Python's own import system: that
would need the analysed code on our import path.
"""

from __future__ import annotations

import ast
import os
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

import msgspec
from grimp.application.ports.modulefinder import FoundPackage, ModuleFile
from grimp.application.scanning import scan_imports
from grimp.domain.valueobjects import DirectImport, Module

from insight_cloud.app.detectors import cycles
from insight_cloud.app.detectors.imports import Edge, Graph
from insight_cloud.app.detectors.layout import Package, packages

__all__: list[str] = []


def _read(root: str, names: list[str]) -> Graph:
    lines: dict[tuple[str, str], set[int]] = defaultdict(set)
    failed: set[str] = set()
    for source, group in groupby(packages(names), key=lambda package: package.source):
        together = list(group)
        files = {module: name for package in together for module, name in package.modules}
        found = frozenset(_found(os.path.join(root, source), package) for package in together)  # noqa: PTH118 - a string is wanted
        modules = sorted(file for package in found for file in package.module_files)
        for file, imports in _scan(modules, found):
            if imports is None:
                failed.add(files[file.module.name])
                continue
            for each in imports:
                pair = files[each.importer.name], files.get(each.imported.name, "")
                if pair[1] and pair[0] != pair[1]:
                    lines[pair].add(each.line_number)
    return Graph(_edges(root, lines), sorted(failed))


def _found(source: str, package: Package) -> FoundPackage:
    return FoundPackage(
        name=package.name,
        directory=os.path.normpath(os.path.join(source, package.name)),  # noqa: PTH118 - as above
        module_files=frozenset(ModuleFile(Module(name), 0.0) for name, _ in package.modules),
    )


def _scan(
    files: list[ModuleFile], found: frozenset[FoundPackage]
) -> Iterator[tuple[ModuleFile, Iterable[DirectImport] | None]]:
    """Each file with its imports, or None when it cannot be parsed.

    The scanner gives up on all files for the sake of one: halve until that one is alone.
    """
    try:
        result = scan_imports(
            files,
            found_packages=set(found),
            include_external_packages=False,
            exclude_type_checking_imports=True,
        )
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # noqa: BLE001 - a panic of Rust code is no Exception
        if len(files) == 1:
            yield files[0], None
            return
        half = len(files) // 2
        yield from _scan(files[:half], found)
        yield from _scan(files[half:], found)
        return
    yield from result.items()


def _edges(root: str, lines: dict[tuple[str, str], set[int]]) -> list[Edge]:
    graph: dict[str, set[str]] = defaultdict(set)
    for importer, imported in lines:
        graph[importer].add(imported)
    # Only files in a cycle are parsed a second time, to see which imports are in functions.
    tangled = {name for component in cycles.components(graph) for name in component}
    in_functions = {name: _function_lines(Path(root, name)) for name in tangled}
    edges = []
    for (importer, imported), found in sorted(lines.items()):
        if importer not in tangled or imported not in tangled:
            continue
        at_once = sorted(found - in_functions[importer])
        edges.append(Edge(importer, imported, (at_once or sorted(found))[0], not at_once))
    return edges


def _function_lines(path: Path) -> set[int]:
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()  # newer syntax than ours: take its imports as made at once
    functions = ast.FunctionDef | ast.AsyncFunctionDef
    return {
        statement.lineno
        for node in ast.walk(tree)
        if isinstance(node, functions)
        for statement in ast.walk(node)
        if isinstance(statement, ast.Import | ast.ImportFrom)
    }


if __name__ == "__main__":
    sys.stdout.buffer.write(
        msgspec.json.encode(
            _read(*msgspec.json.decode(sys.stdin.buffer.read(), type=tuple[str, list[str]]))
        )
    )
