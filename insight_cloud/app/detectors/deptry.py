"""deptry: Python imports that no dependency declares, and dependencies that nothing imports.

Optional. No package of the project's is installed here: what is transitive is known from lock
files, and how a package is imported from its name.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from pathlib import PurePosixPath as Name

import msgspec

from insight_cloud.app.detectors import declared, layout, locks, mirror, tools
from insight_cloud.app.detectors.declared import Needs
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
from insight_cloud.core import process

__all__ = ["detector"]

_MISSING = "DEP001"
_UNUSED = "DEP002"
_TRANSITIVE = "DEP003"
_STANDARD = "DEP005"
_SUMMARIES = {
    _MISSING: "A module is imported that no dependency of the project provides",
    _UNUSED: "A dependency that nothing imports",
    _TRANSITIVE: "A package is imported that is there only because another one needs it",
    _STANDARD: "A dependency of the name of a module of the standard library",
}
_RULES = tuple(
    Rule(
        code=code,
        name=code,
        summary=summary,
        help_uri="https://deptry.com/rules-violations/",
    )
    for code, summary in _SUMMARIES.items()
)
_MAIN = ("requirements.in", "requirements.txt")
# Packages that are started, or named in a setting, more often than imported.
# fmt: off
_NOT_IMPORTED = frozenset(
    {
        "asyncpg", "black", "daphne", "flake8", "granian", "gunicorn", "hypercorn", "isort",
        "mypy", "mysqlclient", "pip", "psycopg", "psycopg2", "psycopg2-binary", "pytest", "ruff",
        "setuptools", "tzdata", "uvicorn", "uwsgi", "uvloop", "waitress", "wheel", "whitenoise",
    }
)
# fmt: on
_BESIDE = frozenset({"doc", "docs", "example", "examples", "test", "testing", "tests"})
_BUILD = frozenset({"noxfile.py", "setup.py"})
_NEVER = r"[^\s\S]"  # a pattern that fits no name: its own exclude tests and more
_SHOWN = 20
_FOUND = 1  # its exit status when there are findings, which is no failure


class _Error(msgspec.Struct, frozen=True):
    code: str
    message: str


class _Place(msgspec.Struct, frozen=True):
    file: str
    line: int | None = None
    column: int | None = None


class _Problem(msgspec.Struct, frozen=True):
    error: _Error
    module: str
    location: _Place


@dataclass(frozen=True, slots=True)
class _Project:
    """A directory that declares what it needs, and the Python files that are nearest to it."""

    folder: str
    needs: Needs
    source: str
    code: tuple[File, ...]


async def _run(_root: Path, files: tuple[File, ...], children: Children) -> Result:
    projects, told = await asyncio.to_thread(_projects, files)
    local = sorted({one.name for one in layout.packages(file.name for file in files)})
    pinned = await asyncio.to_thread(_pinned, files)
    results = await asyncio.gather(
        *(_of_project(project, local, pinned, children) for project in projects)
    )
    if bad := next((one for one in results if one.state != "ok"), None):
        return bad
    return Result(
        findings=tuple(finding for one in results for finding in one.findings),
        rules=_RULES,
        detail=told,
    )


async def _of_project(
    project: _Project, local: list[str], pinned: frozenset[str], children: Children
) -> Result:
    with tempfile.TemporaryDirectory(dir=children.scratch) as folder:
        # The project's own file could configure it, and name files elsewhere to read: what it
        # gets is ours, with nothing of the project's besides the names of its packages.
        code, configuration = Path(folder, "code"), Path(folder, "pyproject.toml")
        output = Path(folder, "deptry.json")
        await asyncio.to_thread(_prepare, code, configuration, project, local)
        outcome = await children.run(
            [
                *(*tools.command("deptry"), "--config", configuration, "--no-ansi"),
                *("--ignore-notebooks", "--json-output", output, "--", code),
            ]
        )
        if bad := _bad(outcome, children, output):
            return bad
        data = await asyncio.to_thread(output.read_bytes)
        found = decode(data, list[_Problem], tool="deptry")
    return Result(findings=tuple(_findings(project, code, found, pinned)))


def _bad(outcome: process.Outcome, children: Children, output: Path) -> Result | None:
    if outcome.status == _FOUND and output.is_file():
        return None
    return ended_badly(outcome, timeout_seconds=children.timeout_seconds)


def _prepare(code: Path, configuration: Path, project: _Project, local: list[str]) -> None:
    code.mkdir()
    mirror.fill(code, project.code)
    needs = project.needs
    names = {name: declared.modules(name) for name in (*needs.runs, *needs.develops)}
    # A name of JSON is one of TOML: these are letters, digits and a few signs.
    configuration.write_text(
        "\n".join(
            [
                f"[project]\nname = 'project'\ndependencies = {_listed(needs.runs)}",
                f"[dependency-groups]\ndev = {_listed(needs.develops)}",
                f"[tool.deptry]\nignore = ['DEP004']\nexclude = ['{_NEVER}']",
                f"known_first_party = {_listed(('_typeshed', *local))}",
                "[tool.deptry.package_module_name_map]",
                *(f'"{name}" = {_listed(found)}' for name, found in names.items()),
            ]
        ),
        "utf-8",
    )


def _listed(names: Iterable[str]) -> str:
    return msgspec.json.encode(list(names)).decode()


def _findings(
    project: _Project, code: Path, found: list[_Problem], pinned: frozenset[str]
) -> Iterator[Finding]:
    groups: dict[tuple[str, str], list[Location]] = defaultdict(list)
    lines = dict(project.needs.lines)
    for one in found:
        rule, module = _rule(one, pinned), one.module
        if rule in {_UNUSED, _STANDARD}:
            if not _is_fine(project, rule, module):
                place = Location(path=project.source, line=lines.get(module))
                groups[rule, module].append(place)
            continue
        name = str(Name(one.location.file).relative_to(code.as_posix()))
        if _BESIDE.isdisjoint(Name(name).parts) and not _is_test(name):
            place = Location(path=name, line=one.location.line, column=one.location.column)
            groups[rule, module].append(place)
    for (rule, module), places in groups.items():
        yield _finding(project, rule, module, places)


def _rule(one: _Problem, pinned: frozenset[str]) -> str:
    """Its code; what is transitive it judges by its own environment, and we by lock files."""
    if one.error.code in {_MISSING, _TRANSITIVE}:
        return _TRANSITIVE if one.module in pinned else _MISSING
    return one.error.code


def _is_fine(project: _Project, rule: str, package: str) -> bool:
    """Whether a package may well be needed although nothing imports it."""
    if rule == _STANDARD:
        return False
    name = declared.normal(package)
    return (
        project.needs.compiled
        or name in _NOT_IMPORTED
        or name.startswith(("types-", "pytest-"))
        or name.endswith("-stubs")
    )


def _is_test(name: str) -> bool:
    last = Name(name).name
    return last == "conftest.py" or last.startswith("test_") or last.endswith("_test.py")


_MESSAGES = {
    _MISSING: "{0} is imported, and no dependency of the project provides it",
    _UNUSED: "{0} is a dependency, and nothing imports it",
    _TRANSITIVE: "{0} is imported, and is there only because another package needs it",
    _STANDARD: "{0} is a dependency, and part of Python's standard library",
}


def _finding(project: _Project, rule: str, module: str, places: list[Location]) -> Finding:
    places = sorted(places, key=lambda place: (place.path, place.line or 0, place.column or 0))
    severity, category = graded("deptry", rule, category="packages")
    return Finding(
        rule=rule,
        message=_MESSAGES[rule].format(module),
        severity=severity,
        category=category,
        location=places[0],
        related=tuple(places[1:_SHOWN]),
        # One finding a module and project, wherever its imports move.
        fingerprints={"module/v1": f"{rule}:{project.folder}:{module}"},
    )


def _projects(files: tuple[File, ...]) -> tuple[list[_Project], str]:
    """The projects of a tree, and what is to be said of those that cannot be judged."""
    known = {file.name: file for file in files}
    needs: dict[str, tuple[Needs, str]] = {}
    dark: list[str] = []
    for folder in sorted({str(Name(name).parent) for name in known}):
        said = _needs(folder, known)
        if said is not None:
            needs[folder] = said
            if not said[0].whole:
                dark.append(said[1])
    code: dict[str, list[File]] = defaultdict(list)
    for file in files:
        if file.own and file.suffix == ".py" and Name(file.name).name not in _BUILD:
            above = (str(parent) for parent in Name(file.name).parents)
            code[next((one for one in above if one in needs), "")].append(file)
    return [
        _Project(folder, said, source, tuple(code[folder]))
        for folder, (said, source) in needs.items()
        if said.whole and code[folder]
    ], _told(dark)


def _told(dark: list[str]) -> str:
    if not dark:
        return ""
    return f"dependencies are set by a program, which is not run: {', '.join(dark[:3])}"


def _needs(folder: str, known: dict[str, File]) -> tuple[Needs, str] | None:
    """What the project in `folder` needs, and the file that says so; None where none is."""
    main = next((name for name in _MAIN if str(Name(folder, name)) in known), "")
    project = known.get(str(Name(folder, "pyproject.toml")))
    said = declared.of_project(_text(project)) if project else None
    if said and project and (said.whole or not main):
        return _with_others(said, folder, known), project.name
    if not main:
        return None
    file = known[str(Name(folder, main))]
    needs = declared.of_requirements(_text(file))
    if said:
        needs = replace(needs, develops=(*needs.develops, *said.runs, *said.develops))
    return _with_others(needs, folder, known), file.name


def _with_others(needs: Needs, folder: str, known: dict[str, File]) -> Needs:
    """Together with the other requirements files of the folder, which are its developers'."""
    others = [
        name
        for file in known.values()
        if _is_requirements(file.name)
        and str(Name(file.name).parent) in {folder, str(Name(folder, "requirements"))}
        for name in declared.of_requirements(_text(file)).runs
    ]
    extra = dict.fromkeys(one for one in (*needs.develops, *others) if one not in needs.runs)
    return replace(needs, develops=tuple(extra))


def _is_requirements(name: str) -> bool:
    path = Name(name)
    if path.suffix not in {".txt", ".in"}:
        return False
    return path.parent.name == "requirements" or "requirements" in path.name


def _pinned(files: tuple[File, ...]) -> frozenset[str]:
    """The modules of all packages that lock files pin."""
    found: set[str] = set()
    for file in files:
        if locks.is_lock(file.name) and not _is_requirements(file.name):
            with contextlib.suppress(ValueError):
                pins = locks.read(file.name, _text(file))
                found.update(one for pin in pins for one in declared.modules(pin.name))
    return frozenset(found)


def _text(file: File) -> str:
    try:
        return Path(file.path).read_text("utf-8", "replace")
    except OSError:
        return ""


_LOCKS = frozenset({"uv.lock", "poetry.lock", "pdm.lock"})


def _select(tree: Tree) -> tuple[File, ...]:
    declaring = [file for file in tree.files if _declares(file)]
    code = [file for file in tree.files if file.suffix == ".py"]
    if not declaring or not any(file.own for file in code):
        return ()
    pins = [file for file in tree.files if Name(file.name).name in _LOCKS]
    return tuple(sorted({*declaring, *code, *pins}, key=lambda file: file.name))


def _declares(file: File) -> bool:
    return Name(file.name).name == "pyproject.toml" or _is_requirements(file.name)


detector = Detector(
    name="deptry",
    finds="Python imports without a dependency, and dependencies without an import (optional)",
    absent="no Python project that declares its dependencies",
    version=partial(tools.version, "deptry"),
    configuration=repr((1, sorted(_NOT_IMPORTED), sorted(_BESIDE), declared.identity())),
    select=_select,
    run=_run,
    sample=Sample((("a.py", "import missing\n"), ("requirements.txt", "")), _MISSING),
    per_file=False,
)
