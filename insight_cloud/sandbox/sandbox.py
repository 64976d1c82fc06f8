"""One run after the other in bubblewrap: nothing of this machine but what is shown, no network.

As root, the mounts are made by root and the program runs as a user who owns nothing. As anybody
else the same is done inside a user name space, where the system permits one. Where neither works
there is no sandbox: `run` refuses.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from insight_cloud.core import process
from insight_cloud.core.errors import Missing, Refused
from insight_cloud.sandbox import groups, launch, seccomp

__all__ = ["Ended", "Isolation", "Limits", "Sandbox"]

_MIB = 1024 * 1024
_PROBE_SECONDS = 20.0
_TRY_AGAIN_SECONDS = 60.0
_SYSTEM = ("/bin", "/lib", "/lib32", "/lib64", "/sbin")
_LOADER = ("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives")
_NETWORK = ("/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/ssl", "/etc/ca-certificates")
WORK = "/tmp"  # noqa: S108 - inside the sandbox, where nobody else is
"""The only writable place in there: home, working directory and temporary files."""

# Asks the program inside whether it is as alone as we believe: it prints a word for each fault.
_PROBE = """
set -u
[ "$(id -u)" = 0 ] && echo root
grep -q '^CapEff:.*[1-9a-f]' /proc/self/status && echo capabilities
grep -q '^NoNewPrivs:.*0' /proc/self/status && echo privileges
[ "$(tail -n +3 /proc/net/dev | grep -vc '^ *lo:')" = 0 ] || echo network
( : > /usr/probe ) 2>/dev/null && echo writable
( : > /probe ) 2>/dev/null && echo writable
( : > /tmp/probe ) 2>/dev/null || echo unwritable
[ -e /etc/passwd ] && echo files
exit 0
"""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one run may use. Memory is that of all processes together where it can be counted."""

    seconds: float = 300
    cpu_seconds: int = 240
    memory_bytes: int = 1024 * _MIB
    disk_bytes: int = 640 * _MIB
    processes: int = 128
    files: int = 1024
    output_bytes: int = 64 * _MIB


@dataclass(frozen=True, slots=True)
class Isolation:
    """What protects us on this machine. Not `active`: nothing does, and `detail` says why."""

    active: bool
    detail: str
    memory: bool = False
    """Whether memory is counted for all processes together."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended; `problem` says which limit it met, or how it failed, and is empty if not."""

    outcome: process.Outcome
    problem: str = ""

    @property
    def stdout(self) -> bytes:
        """What it said."""
        return self.outcome.stdout


@dataclass(slots=True)
class Sandbox:
    """Runs programs where they can do no harm.

    `uid` is who they are when we are root. `show` are files and folders that every run sees,
    read-only, where they are; `elsewhere` those that it sees under another path.
    """

    limits: Limits = field(default_factory=Limits)
    uid: int = 64231
    show: tuple[Path, ...] = ()
    elsewhere: Mapping[str, Path] = field(default_factory=dict)
    bubblewrap: str = "bwrap"
    _isolation: Isolation | None = field(default=None, init=False, repr=False)
    _tried_at: float = field(default=0.0, init=False, repr=False)
    _parents: tuple[groups.Parent, ...] = field(default=(), init=False, repr=False)

    async def isolation(self) -> Isolation:
        """Find out what protects us here: by running something and asking it.

        Once; where nothing does, once a minute, because somebody may be about to change that.
        """
        now = time.monotonic()
        known = self._isolation
        if known is None or (not known.active and now > self._tried_at + _TRY_AGAIN_SECONDS):
            self._tried_at = now
            self._parents = await asyncio.to_thread(groups.found)
            for parent in self._parents:
                parent.sweep()
            known = self._isolation = await self._tried()
        return known

    def within(self, **limits: Any) -> Sandbox:
        """The same sandbox with other limits, given by their names."""
        other = replace(self, limits=replace(self.limits, **limits))
        other._isolation, other._parents = self._isolation, self._parents  # noqa: SLF001 - a copy
        return other

    async def run(
        self,
        command: Sequence[str | Path],
        *,
        show: Mapping[str, Path] | None = None,
        stdin: bytes = b"",
        environment: Mapping[str, str] | None = None,
        network: bool = False,
        heard: Callable[[bytes], None] | None = None,
    ) -> Ended:
        """Run `command` to its end, and say how it ended.

        `show` are further files that it sees read-only, by the path that they have inside.
        `network` leaves it the machine's own network. `heard` gets what it writes to standard
        error, as it comes. When the caller is cancelled, or killed, nothing of it stays.

        Raises:
            Refused: nothing would isolate it on this machine.
            Missing: there is no such program.
        """
        isolation = await self.isolation()
        if not isolation.active:
            raise Refused(f"this machine cannot isolate foreign code: {isolation.detail}")
        return await self._run(
            command,
            show=show or {},
            stdin=stdin,
            environment=environment or {},
            network=network,
            heard=heard,
        )

    async def _run(
        self,
        command: Sequence[str | Path],
        *,
        show: Mapping[str, Path],
        stdin: bytes,
        environment: Mapping[str, str],
        network: bool,
        heard: Callable[[bytes], None] | None,
        seconds: float | None = None,
    ) -> Ended:
        seconds = seconds or self.limits.seconds
        with self._grouped() as ours:
            specification = {
                "groups": [str(group.folder) for group in ours],
                "limits": self._resource_limits(),
                "filter": (seccomp.program() or b"").hex(),
                "command": [
                    *self._bubblewrap(show, environment, network=network),
                    *(str(part) for part in command),
                ],
            }
            outcome = await process.run(
                [sys.executable, "-I", "-S", launch.__file__, json.dumps(specification)],
                timeout_seconds=seconds,
                stdin=stdin,
                cwd=Path("/"),
                environment={"PATH": os.defpath},
                output_bytes=self.limits.output_bytes,
                heard=heard,
            )
            ran_out = any(group.ran_out() for group in ours)
        return Ended(outcome, self._problem(outcome, seconds, ran_out=ran_out))

    def _problem(self, outcome: process.Outcome, seconds: float, *, ran_out: bool) -> str:
        if outcome.timed_out:
            return f"stopped at its time limit of {seconds:g} s"
        if outcome.truncated:
            return f"stopped: it wrote more than {self.limits.output_bytes // _MIB} MiB"
        if ran_out:
            return f"stopped: it needed more than {self.limits.memory_bytes // _MIB} MiB of memory"
        if outcome.status:
            tail = outcome.stderr_tail or "nothing on standard error"
            return f"exit status {outcome.status}: {tail}"
        return ""

    @contextlib.contextmanager
    def _grouped(self) -> Iterator[list[groups.Group]]:
        limits = self.limits
        with contextlib.ExitStack() as stack:
            yield [
                stack.enter_context(
                    parent.group(
                        # What lies in its writable place is memory too.
                        memory_bytes=limits.memory_bytes + limits.disk_bytes,
                        processes=limits.processes,
                    )
                )
                for parent in self._parents
            ]

    def _resource_limits(self) -> dict[str, int]:
        limits = self.limits
        wanted = {
            "CPU": limits.cpu_seconds,
            "FSIZE": limits.disk_bytes,
            "NOFILE": limits.files,
            "CORE": 0,
            "MEMLOCK": 64 * 1024,
            "MSGQUEUE": 0,
        }
        if not any(parent.memory for parent in self._parents):
            wanted["AS"] = limits.memory_bytes
        if not any(parent.processes for parent in self._parents):
            wanted["NPROC"] = limits.processes  # of all runs together, as they are one user
        return wanted

    def _bubblewrap(
        self, show: Mapping[str, Path], environment: Mapping[str, str], *, network: bool
    ) -> list[str]:
        program = shutil.which(self.bubblewrap)
        if program is None:
            raise Missing("bubblewrap is not installed (`apt-get install bubblewrap`)")
        arguments = [program, "--die-with-parent", "--new-session", "--clearenv"]
        arguments += ["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
        if not network:
            arguments.append("--unshare-net")
        as_root = os.geteuid() == 0
        if as_root:
            arguments += ["--cap-drop", "ALL"]
            for name in ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP"):
                arguments += ["--cap-add", name]
        else:
            arguments.append("--unshare-user")
        arguments += _mounts(
            self.show, {**self.elsewhere, **show}, self.limits.disk_bytes, network=network
        )
        given = {"PATH": "/usr/bin:/bin", "HOME": WORK, "TMPDIR": WORK, "LC_ALL": "C.UTF-8"}
        for name, value in (given | dict(environment)).items():
            arguments += ["--setenv", name, value]
        arguments.append("--")
        return [*arguments, *(_as_nobody(self.uid) if as_root else ())]

    async def _tried(self) -> Isolation:
        """Run the probe: what it says counts, not what the system promises."""
        if sys.platform != "linux":
            return Isolation(
                active=False, detail=f"bubblewrap needs Linux, and this is {sys.platform}"
            )
        try:
            ended = await self._run(
                ["/bin/sh", "-c", _PROBE],
                show={},
                stdin=b"",
                environment={},
                network=False,
                heard=None,
                seconds=_PROBE_SECONDS,
            )
        except Missing as error:
            return Isolation(active=False, detail=str(error))
        faults = ended.stdout.decode("utf-8", "replace").split()
        if ended.problem or faults:
            why = ended.problem or f"a probe inside found too much: {', '.join(faults)}"
            return Isolation(active=False, detail=f"bubblewrap does not work here: {why}")
        return self._described()

    def _described(self) -> Isolation:
        root = os.geteuid() == 0
        memory = any(parent.memory for parent in self._parents)
        parts = [
            f"bubblewrap, as user {self.uid}" if root else "bubblewrap, in a user name space",
            "no network",
            "memory of a run limited" if memory else "memory of each process limited",
            "system calls filtered" if seccomp.program() else "no filter for this kind of machine",
        ]
        return Isolation(active=True, detail=", ".join(parts), memory=memory)


def _mounts(
    always: Sequence[Path], show: Mapping[str, Path], disk_bytes: int, *, network: bool
) -> list[str]:
    arguments = ["--ro-bind", "/usr", "/usr"]
    for name in _SYSTEM:
        path = Path(name)
        if path.is_symlink():
            arguments += ["--symlink", str(path.readlink()), name]
        elif path.is_dir():
            arguments += ["--ro-bind", name, name]
    # First, because the program itself may lie below it.
    arguments += ["--perms", "1777", "--size", str(disk_bytes), "--tmpfs", WORK]
    # Made by bubblewrap itself, these folders would be closed to whoever runs inside.
    inside = [*map(Path, show), *always]
    folders = {folder for path in inside for folder in path.parents if folder != Path("/")}
    for folder in sorted({Path("/etc"), *folders} - {Path(WORK)}):
        arguments += ["--perms", "0755", "--dir", str(folder)]
    for name in (*_LOADER, *(_NETWORK if network else ())):
        arguments += ["--ro-bind-try", name, name]
    for path in always:
        arguments += ["--ro-bind", str(path), str(path)]
    # In /dev and everywhere else a write would be one into memory that nobody counts.
    arguments += ["--proc", "/proc", "--dev", "/dev", "--remount-ro", "/dev"]
    for name, path in show.items():
        arguments += ["--ro-bind", str(path), name]
    return [*arguments, "--remount-ro", "/", "--chdir", WORK]


def _as_nobody(uid: int) -> list[str]:
    """From the root that made the mounts to a user without any right, and never back."""
    return [
        "/usr/bin/setpriv",
        *("--reuid", str(uid), "--regid", str(uid), "--clear-groups"),
        *("--no-new-privs", "--bounding-set", "-all", "--inh-caps", "-all", "--"),
    ]
