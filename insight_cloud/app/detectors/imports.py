"""imports: cycles of Python modules that import each other, found without importing any."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from insight_cloud.app.detectors import cycles
from insight_cloud.app.detectors.detector import (
    Children,
    Detector,
    Result,
    Sample,
    decode,
    ended_badly,
    installed,
)
from insight_cloud.app.detectors.files import File, Tree
from insight_cloud.app.detectors.grades import graded
from insight_cloud.app.sarif.model import Finding, Location, Rule

__all__ = ["Edge", "Graph", "detector"]

_SHOWN = 12

_RULES = (
    Rule(
        code="import-cycle",
        name="import-cycle",
        summary="Modules import each other while they are loaded",
        help="Which of them works depends on which is imported first. Move what they share into "
        "a module that imports neither, or turn one direction into an argument.",
    ),
    Rule(
        code="deferred-import-cycle",
        name="deferred-import-cycle",
        summary="Modules depend on each other through an import inside a function",
        help="It loads, but the modules can only be understood, tested and moved together.",
    ),
)


class Edge(msgspec.Struct, frozen=True, array_like=True):
    """The file `importer` imports the file `imported`; `deferred` when only in functions."""

    importer: str
    imported: str
    line: int
    deferred: bool


class Graph(msgspec.Struct, frozen=True, array_like=True):
    """What the child found: edges between files, and files that it could not read."""

    edges: list[Edge]
    failed: list[str]


async def _run(root: Path, files: tuple[File, ...], children: Children) -> Result:
    question = msgspec.json.encode([str(root), [file.name for file in files]])
    outcome = await children.python("insight_cloud.app.detectors.imports_worker", stdin=question)
    if bad := ended_badly(outcome, timeout_seconds=children.timeout_seconds):
        return bad
    graph = decode(outcome.stdout, Graph, tool="imports")
    eager = [edge for edge in graph.edges if not edge.deferred]
    at_once = _found(eager, "import-cycle")
    tangled = {path for _, members in at_once for path in members}
    later = [
        (finding, members)
        for finding, members in _found(graph.edges, "deferred-import-cycle")
        if tangled.isdisjoint(members)
    ]
    return Result(
        findings=tuple(finding for finding, _ in (*at_once, *later)),
        rules=_RULES,
        detail=_told(graph.failed),
    )


def _found(edges: list[Edge], rule: str) -> list[tuple[Finding, tuple[str, ...]]]:
    graph: dict[str, set[str]] = {}
    lines: dict[tuple[str, str], int] = {}
    for edge in edges:
        graph.setdefault(edge.importer, set()).add(edge.imported)
        graph.setdefault(edge.imported, set())
        pair = edge.importer, edge.imported
        lines[pair] = min(edge.line, lines.get(pair, edge.line))
    return [
        (_finding(rule, cycles.shortest(graph, component), len(component), lines), component)
        for component in cycles.components(graph)
    ]


def _finding(
    rule: str, cycle: tuple[str, ...], size: int, lines: dict[tuple[str, str], int]
) -> Finding:
    steps = list(zip(cycle, (*cycle[1:], cycle[0]), strict=True))
    places = tuple(
        Location(path=here, line=lines[here, there], message=f"imports {there}")
        for here, there in steps
    )
    shown = [*cycle[:_SHOWN], *(["…"] if len(cycle) > _SHOWN else []), cycle[0]]
    tangle = f", in a tangle of {size}" if size > len(cycle) else ""
    severity, category = graded("imports", rule)
    return Finding(
        rule=rule,
        message=f"Import cycle of {len(cycle)} modules{tangle}: {' → '.join(shown)}",
        severity=severity,
        category=category,
        location=places[0],
        related=places[1:],
        fingerprints={
            "cycle/v1": hashlib.blake2b("\0".join(cycle).encode(), digest_size=8).hexdigest()
        },
    )


def _told(failed: list[str]) -> str:
    if not failed:
        return ""
    return f"{len(failed)} files could not be parsed: {', '.join(sorted(failed)[:3])}"


def _select(tree: Tree) -> tuple[File, ...]:
    return tuple(file for file in tree.files if file.own and file.suffix == ".py")


detector = Detector(
    name="imports",
    finds="cycles of Python modules that import each other",
    absent="no Python files",
    version=lambda: installed("grimp"),
    configuration="1",
    select=_select,
    run=_run,
    sample=Sample(
        (("p/__init__.py", ""), ("p/a.py", "from p import b\n"), ("p/b.py", "from p import a\n")),
        "import-cycle",
    ),
    per_file=False,
)
