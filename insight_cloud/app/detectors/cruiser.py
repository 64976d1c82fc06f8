"""dependency-cruiser: imports of JavaScript and TypeScript that go in circles or lead nowhere.

Optional. It says who imports whom; the cycles are found as those of Python are.
"""

from __future__ import annotations

import asyncio
import hashlib
import posixpath
import re
import tempfile
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import msgspec

from insight_cloud.app.detectors import cycles, mirror, tools
from insight_cloud.app.detectors.detector import (
    Children,
    Detector,
    Result,
    Sample,
    decode,
    ended_badly,
)
from insight_cloud.app.detectors.files import File, Tree
from insight_cloud.app.detectors.grades import graded
from insight_cloud.app.sarif.model import Finding, Location, Rule

__all__ = ["detector"]

_TOOL = "dependency-cruiser"
_CYCLE = "import-cycle"
_NOWHERE = "unresolvable-import"
_SHOWN = 12
_SUFFIXES = frozenset({".js", ".jsx", ".mjs", ".cjs", ".ts", ".tsx", ".mts", ".cts"})
# What is made into a module by somebody's bundler: whether that works only the bundler knows.
# fmt: off
_ASSETS = frozenset(
    {
        ".css", ".gif", ".glsl", ".gql", ".graphql", ".html", ".ico", ".jpeg", ".jpg", ".json",
        ".less", ".md", ".mdx", ".mp3", ".mp4", ".node", ".pdf", ".png", ".sass", ".scss", ".styl",
        ".svelte", ".svg", ".txt", ".vue", ".wasm", ".webp", ".woff", ".woff2", ".yaml", ".yml",
    }
)
# fmt: on
# Nothing outside of the copies is read: not where an import leads out of them either.
_OPTIONS = {
    "doNotFollow": {"path": "(^|/)node_modules/|^[.][.]/|^/"},
    "tsPreCompilationDeps": "specify",
    "preserveSymlinks": True,
    "enhancedResolveOptions": {
        "extensions": [".ts", ".tsx", ".d.ts", ".mts", ".cts", ".js", ".jsx", ".mjs", ".cjs"]
    },
}
_RULES = (
    Rule(
        code=_CYCLE,
        name=_CYCLE,
        summary="Modules import each other while they are loaded",
        help="Which of them sees the other unfinished depends on which is imported first. Move "
        "what they share into a module that imports neither.",
        help_uri="https://github.com/sverweij/dependency-cruiser",
    ),
    Rule(
        code=_NOWHERE,
        name=_NOWHERE,
        summary="A relative import leads to no file",
        help="Correct the path, or add the file to what Git tracks. A file that only a build "
        "makes is not there in a fresh checkout.",
        help_uri="https://github.com/sverweij/dependency-cruiser",
    ),
)


class _Import(msgspec.Struct, frozen=True, rename="camel"):
    module: str
    resolved: str
    could_not_resolve: bool = False
    dynamic: bool = False
    pre_compilation_only: bool = False
    type_only: bool = False
    dependency_types: list[str] = []

    @property
    def while_loading(self) -> bool:
        only_types = self.pre_compilation_only or self.type_only
        return not (self.dynamic or only_types or "type-only" in self.dependency_types)


class _Module(msgspec.Struct, frozen=True):
    source: str
    dependencies: list[_Import] = []


class _All(msgspec.Struct, frozen=True):
    modules: list[_Module]


async def _run(root: Path, files: tuple[File, ...], children: Children) -> Result:
    own = {file.name: file for file in files if file.own}
    with tempfile.TemporaryDirectory(dir=children.scratch) as folder:
        # A configuration of the code's own is a program (`.dependency-cruiser.js`), and so are
        # those that it could name: beside the copies there is none.
        code, configuration = Path(folder, "code"), Path(folder, "ours.json")
        await asyncio.to_thread(_prepare, code, configuration, files)
        outcome = await children.run(
            [
                *(*tools.command(_TOOL), "--config", configuration, "--output-type", "json"),
                *("--progress", "none", "--", "."),
            ]
        )
    if bad := ended_badly(outcome, timeout_seconds=children.timeout_seconds):
        return bad
    modules = decode(outcome.stdout, _All, tool=_TOOL).modules
    found = {one.source: one.dependencies for one in modules if one.source in own}
    return await asyncio.to_thread(_judged, root, found, own)


def _prepare(code: Path, configuration: Path, files: tuple[File, ...]) -> None:
    options = _OPTIONS | {"baseDir": str(code)}
    configuration.write_bytes(msgspec.json.encode({"options": options}))
    code.mkdir()
    mirror.fill(code, (file for file in files if file.own))
    for file in files:
        if not file.own:  # it is there, and what is in it is somebody else's matter
            (code / file.name).parent.mkdir(parents=True, exist_ok=True)
            (code / file.name).touch()


def _judged(root: Path, found: dict[str, list[_Import]], own: dict[str, File]) -> Result:
    graph = {
        source: {one.resolved for one in imports if one.while_loading and one.resolved in own}
        for source, imports in found.items()
    }
    findings = [_cycle(graph, found, own, tangle) for tangle in cycles.components(graph)]
    for source, imports in found.items():
        lost = {one.module for one in imports if one.could_not_resolve}
        findings.extend(
            _lost(own[source], module)
            for module in sorted(lost)
            if _leads_nowhere(root, source, module)
        )
    return Result(findings=tuple(findings), rules=_RULES)


def _cycle(
    graph: dict[str, set[str]],
    found: dict[str, list[_Import]],
    own: dict[str, File],
    tangle: tuple[str, ...],
) -> Finding:
    cycle = cycles.shortest(graph, tangle)
    places = tuple(
        Location(
            path=here,
            line=_line(own[here], (one.module for one in found[here] if one.resolved == there)),
            message=f"imports {there}",
        )
        for here, there in zip(cycle, (*cycle[1:], cycle[0]), strict=True)
    )
    shown = [*cycle[:_SHOWN], *(["…"] if len(cycle) > _SHOWN else []), cycle[0]]
    more = f", in a tangle of {len(tangle)}" if len(tangle) > len(cycle) else ""
    severity, category = graded(_TOOL, _CYCLE, category="imports")
    return Finding(
        rule=_CYCLE,
        message=f"Import cycle of {len(cycle)} modules{more}: {' → '.join(shown)}",
        severity=severity,
        category=category,
        location=places[0],
        related=places[1:],
        fingerprints={
            "cycle/v1": hashlib.blake2b("\0".join(cycle).encode(), digest_size=8).hexdigest()
        },
    )


def _leads_nowhere(root: Path, source: str, module: str) -> bool:
    """Whether a relative import has no file, also not among those that no detector sees."""
    if not module.startswith(("./", "../")) or re.search(r"[?!#*]", module):
        return False  # a package, an alias or a loader's own language
    target = posixpath.normpath(posixpath.join(posixpath.dirname(source), module))
    if target.startswith(".."):
        return False
    folder, last = posixpath.split(target)
    if posixpath.splitext(last)[1].lower() in _ASSETS:
        return False
    try:
        names = [entry.name for entry in (root / folder).iterdir()]
    except OSError:
        return True
    return not any(name == last or name.startswith(f"{last}.") for name in names)


def _lost(file: File, module: str) -> Finding:
    severity, category = graded(_TOOL, _NOWHERE, category="imports")
    return Finding(
        rule=_NOWHERE,
        message=f"{module} leads to no file",
        severity=severity,
        category=category,
        location=Location(path=file.name, line=_line(file, [module])),
    )


def _line(file: File, modules: Iterable[str]) -> int | None:
    """The first line that names one of `modules` in quotes; the tool does not say where."""
    quoted = [f"{quote}{module}{quote}" for module in modules for quote in "\"'`"]
    try:
        text = Path(file.path).read_text("utf-8", "replace")
    except OSError:
        return None
    for number, line in enumerate(text.split("\n"), 1):
        if any(name in line for name in quoted):
            return number
    return None


def _select(tree: Tree) -> tuple[File, ...]:
    files = tuple(
        file
        for file in tree.files
        if file.suffix in _SUFFIXES and "node_modules" not in file.name.split("/")
    )
    return files if any(file.own for file in files) else ()


detector = Detector(
    name=_TOOL,
    finds="imports of JavaScript and TypeScript in circles or to nowhere (optional)",
    absent="no JavaScript or TypeScript",
    version=partial(tools.version, _TOOL),
    configuration=repr((1, _OPTIONS, sorted(_ASSETS))),
    select=_select,
    run=_run,
    sample=Sample(
        (("a.js", 'import "./b.js";\n'), ("b.js", 'import "./a.js";\n')),
        _CYCLE,
    ),
    per_file=False,
)
