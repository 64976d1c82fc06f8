"""Control groups for one run: memory and processes of all its children together.

Where the kernel offers none that we may make, single processes are limited instead.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Group", "Parent", "found"]

_ROOT = Path("/sys/fs/cgroup")
_SELF = Path("/proc/self/cgroup")
_BURIAL_SECONDS = 2.0
_PREFIX = "insight-run-"


@dataclass(frozen=True, slots=True)
class Parent:
    """Where groups can be made. `files` are the limits of memory and processes there."""

    folder: Path
    memory: str
    processes: str
    oom: str

    def probe(self) -> bool:
        """Whether a limit that is written here stays: tried, because permissions tell little."""
        try:
            with self.group(memory_bytes=64 * 1024 * 1024, processes=8) as group:
                if self.memory and (group.folder / self.memory).read_text() != "67108864\n":
                    return False
                return not self.processes or (group.folder / self.processes).read_text() == "8\n"
        except OSError:
            return False

    @contextlib.contextmanager
    def group(self, *, memory_bytes: int, processes: int) -> Iterator[Group]:
        """A group with these limits, for the time of the block; whoever is left in it is killed."""
        folder = self.folder / f"{_PREFIX}{os.getpid()}-{secrets.token_hex(4)}"
        folder.mkdir()
        try:
            if self.memory:
                (folder / self.memory).write_text(str(memory_bytes))
            if self.processes:
                (folder / self.processes).write_text(str(processes))
            yield Group(folder, self.oom)
        finally:
            _bury(folder)

    def sweep(self) -> None:
        """Remove what killed workers have left behind, and nothing of those that live."""
        for folder in self.folder.glob(f"{_PREFIX}*"):
            owner = folder.name.removeprefix(_PREFIX).partition("-")[0]
            if not Path("/proc", owner).exists():
                with contextlib.suppress(OSError):
                    folder.rmdir()


@dataclass(frozen=True, slots=True)
class Group:
    """One run's group."""

    folder: Path
    oom: str = field(default="")

    def ran_out(self) -> bool:
        """Whether the kernel has killed for want of memory in here."""
        if not self.oom:
            return False
        try:
            lines = (self.folder / self.oom).read_text().splitlines()
        except OSError:
            return False
        return any(line.startswith("oom_kill ") and not line.endswith(" 0") for line in lines)


def found(root: Path = _ROOT, own: Path = _SELF) -> tuple[Parent, ...]:
    """The places where groups can be made here: one (version 2), up to two (version 1), or none."""
    try:
        lines = [line.split(":", 2) for line in own.read_text().splitlines()]
    except OSError:
        return ()
    paths = {name: path for _, names, path in lines for name in names.split(",")}
    version_1 = (
        _usable(
            root / "memory", paths.get("memory"), "memory.limit_in_bytes", "", "memory.oom_control"
        ),
        _usable(root / "pids", paths.get("pids"), "", "pids.max", ""),
    )
    if parents := tuple(parent for parent in version_1 if parent):
        return parents
    unified = _unified(root, paths.get(""))
    return (unified,) if unified else ()


def _usable(root: Path, path: str | None, memory: str, processes: str, oom: str) -> Parent | None:
    if path is None:
        return None
    parent = Parent(root / path.lstrip("/"), memory, processes, oom)
    return parent if parent.probe() else None


def _unified(root: Path, path: str | None) -> Parent | None:
    """Version 2: groups stand beside ours, because only leaves may hold processes."""
    if path is None or path == "/":
        return None
    folder = (root / path.lstrip("/")).parent
    with contextlib.suppress(OSError):
        (folder / "cgroup.subtree_control").write_text("+memory +pids")
    parent = Parent(folder, "memory.max", "pids.max", "memory.events")
    return parent if parent.probe() else None


def _bury(folder: Path) -> None:
    """Remove a group, when its last process is gone: the kernel takes a moment for that."""
    until = time.monotonic() + _BURIAL_SECONDS
    while True:
        try:
            folder.rmdir()
        except OSError:
            if time.monotonic() > until:
                return
            with contextlib.suppress(OSError):
                (folder / "cgroup.kill").write_text("1")  # version 2 only
            time.sleep(0.01)
        else:
            return
