"""What a detector is, and how its children run; apart because every tool's file needs both."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
import sysconfig
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeVar

import msgspec

from insight_cloud.app.detectors import grades
from insight_cloud.app.detectors.files import File, Tree
from insight_cloud.app.sarif.model import Finding, Rule, RunState
from insight_cloud.core import process
from insight_cloud.core.errors import Corrupt, Missing

__all__ = [
    "Children",
    "Detector",
    "Explain",
    "Result",
    "Sample",
    "decode",
    "ended_badly",
    "installed",
    "program",
]

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Result:
    """How a detector ended and what it found; `detail` says why when not ok.

    `hashed` says that the findings already have the hashes of the code around them.
    """

    state: RunState = "ok"
    findings: tuple[Finding, ...] = ()
    rules: tuple[Rule, ...] = ()
    detail: str = ""
    hashed: bool = False


@dataclass(frozen=True, slots=True)
class Sample:
    """A tiny tree with a known fault: `doctor` runs the detector on it and expects `rule`."""

    files: tuple[tuple[str, str], ...]
    rule: str


class Children:
    """Starts child processes: at most `limit` at a time, each at most `timeout_seconds` long.

    They get an empty scratch directory as home and working directory and next to no
    environment, so that nothing of the analysed code, nor of its user, configures them.
    """

    def __init__(self, *, limit: int, timeout_seconds: float, scratch: Path) -> None:
        self.timeout_seconds = timeout_seconds
        self.limit = limit
        self.scratch = scratch
        self._turn = asyncio.Semaphore(limit)

    async def run(self, command: Sequence[str | Path], *, stdin: bytes = b"") -> process.Outcome:
        """Run `command` when it is its turn; waiting for the turn is not counted.

        Raises:
            Missing: there is no such program.
        """
        async with self._turn:
            return await process.run(
                command,
                timeout_seconds=self.timeout_seconds,
                stdin=stdin,
                cwd=self.scratch,
                environment={
                    "PATH": os.defpath,
                    "HOME": str(self.scratch),
                    "TMPDIR": str(self.scratch),
                    "LC_ALL": "C.UTF-8",
                    "NO_COLOR": "1",
                },
            )

    async def python(self, module: str, *, stdin: bytes) -> process.Outcome:
        """Run one of our own modules in a child that sees only the installed packages."""
        # -I: neither the working directory nor PYTHON* variables decide what is imported.
        return await self.run([sys.executable, "-I", "-X", "utf8", "-m", module], stdin=stdin)


Explain = Callable[[tuple[Rule, ...], Children], Awaitable[tuple[Rule, ...]]]
"""Completes rules with what their tool says of them."""


@dataclass(frozen=True, slots=True)
class Detector:
    """One tool as a detector.

    `select` picks the files it looks at; when there are none it is skipped with `absent` as
    the reason. `run` analyses the files of a tree. `per_file` says that a file's findings
    follow from that file alone, so that they can be kept file by file. `configuration` is
    everything of ours that decides what is found: a change makes kept findings void.
    `executable` is the program that `run` starts, where it is not our own Python. `explain`
    adds the texts of the rules that were found; they are long, and so are not kept file by file.
    """

    name: str
    finds: str
    absent: str
    version: Callable[[], str]
    configuration: str
    select: Callable[[Tree], tuple[File, ...]]
    run: Callable[[Path, tuple[File, ...], Children], Awaitable[Result]]
    sample: Sample
    per_file: bool = True
    executable: str = ""
    explain: Explain | None = None

    def ready(self) -> None:
        """Return when the tool is there.

        Raises:
            Missing: it is not installed.
        """
        if self.executable:
            program(self.executable)
        self.version()

    def identity(self) -> bytes:
        """A digest of the tool, its version and our configuration.

        Raises:
            Missing: the tool is not installed.
        """
        self.ready()
        parts = [self.name, self.version(), self.configuration, grades.identity()]
        return hashlib.blake2b("\0".join(parts).encode(), digest_size=16).digest()


def installed(package: str) -> str:
    """The version of an installed package.

    Raises:
        Missing: it is not installed.
    """
    try:
        return version(package)
    except PackageNotFoundError as error:
        raise Missing(f"{package} is not installed; reinstall insight-cloud") from error


def program(name: str) -> Path:
    """The executable that its package installed beside us.

    PATH is not asked: it may name directories of the analysed code (`node_modules/.bin`).

    Raises:
        Missing: it is not there.
    """
    places = [Path(sysconfig.get_path("scripts")), Path(sys.executable).parent]
    places.append(Path(sysconfig.get_path("scripts", sysconfig.get_preferred_scheme("user"))))
    for place in places:
        if (place / name).is_file():
            return place / name
    raise Missing(f"{name} is not installed in {places[0]}; reinstall insight-cloud")


def ended_badly(outcome: process.Outcome, *, timeout_seconds: float) -> Result | None:
    """The result of a child that did not end with status 0, or None."""
    if outcome.timed_out:
        return Result("timed_out", detail=f"stopped after {timeout_seconds:g} s")
    if outcome.truncated:
        return Result("failed", detail="stopped: its output was larger than 64 MiB")
    if outcome.status != 0:
        tail = outcome.stderr_tail or "nothing on standard error"
        return Result("failed", detail=f"exit status {outcome.status}: {tail}")
    return None


def decode(data: bytes, kind: type[_T], *, tool: str) -> _T:
    """Read a tool's JSON.

    Raises:
        Corrupt: it is not what the tool's present version writes.
    """
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError as error:
        raise Corrupt(f"{tool} wrote something unexpected: {error}") from error
