"""PostgreSQL's own programs as child processes with a stream: watched, ended, never told a secret.

A command line and an environment can be read by others of the same user, so a password travels
in a file that exists only in memory: libpq reads it through a descriptor that the child inherits.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from insight_cloud.core.errors import (
    Conflict,
    InsightError,
    Missing,
    Refused,
    SettingsError,
    Unavailable,
)

__all__ = ["Access", "Child", "access", "in_thread", "output", "parameters"]

_PIPE_BYTES = 1024 * 1024
_F_SETPIPE_SZ = 1031  # linux/fcntl.h
_LAST_LINES = 200
_MOST_FAULTS = 100
_KEPT_VARIABLES = ("PATH", "HOME", "LANG", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Access:
    """How a child reaches the server: `argument` for `-d`, what it needs beside it."""

    argument: str
    environment: dict[str, str]
    descriptors: tuple[int, ...]


def parameters(url: str) -> dict[str, str]:
    """Take a connection URL apart, as libpq does.

    Raises:
        SettingsError: it is none; it is not repeated, because it may hold a password.
    """
    try:
        return {name: str(value) for name, value in conninfo_to_dict(url).items()}
    except ProgrammingError:
        raise SettingsError(
            "the database URL cannot be read: postgresql://USER@HOST/NAME"
        ) from None


@contextmanager
def access(
    url: str,
    *,
    database: str | None = None,
    options: str = "",
    application_name: str | None = None,
) -> Iterator[Access]:
    """Files for one or more children; they vanish with the last process that has them open.

    `database` and `options` (settings of the session) replace and complete those of the URL.
    """
    found = parameters(url)
    if options:
        found["options"] = f"{found.get('options', '')} {options}".strip()
    if database is not None:
        found["dbname"] = database
    password = found.pop("password", os.environ.get("PGPASSWORD", ""))
    if "service" in found:
        raise SettingsError("a database URL with service= is not supported: write it out")
    if application_name is not None:
        found["application_name"] = application_name
    found.setdefault("application_name", "insight backup")
    service = "[insight]\n" + "".join(f"{name}={value}\n" for name, value in found.items())
    if any("\n" in value for value in found.values()):
        raise SettingsError("the database URL has a line break in it")
    with contextlib.ExitStack() as stack:
        files = {"PGSERVICEFILE": stack.enter_context(_hidden(service))}
        if password:
            escaped = password.replace("\\", "\\\\").replace(":", "\\:")
            files["PGPASSFILE"] = stack.enter_context(_hidden(f"*:*:*:*:{escaped}\n"))
        kept = {name: text for name, text in os.environ.items() if _is_kept(name)}
        environment = kept | {"PGTZ": "UTC", "LC_ALL": "C"}
        environment |= {name: path for name, (path, _) in files.items()}
        descriptors = tuple(fd for _, fd in files.values() if fd is not None)
        yield Access("service=insight", environment, descriptors)


def _is_kept(name: str) -> bool:
    """What a child may know of our environment: libpq's variables, no secret of ours."""
    return name in _KEPT_VARIABLES or (name.startswith("PG") and name != "PGPASSWORD")


@contextmanager
def _hidden(text: str) -> Iterator[tuple[str, int | None]]:
    """A file's name for a child, and the descriptor that it must inherit, if any."""
    if sys.platform != "linux":
        with tempfile.NamedTemporaryFile("w", prefix="insight-") as file:  # mode 0600
            file.write(text)
            file.flush()
            yield file.name, None
        return
    descriptor = os.memfd_create("insight")
    try:
        os.fchmod(descriptor, 0o600)
        os.write(descriptor, text.encode())
        yield f"/proc/self/fd/{descriptor}", descriptor
    finally:
        os.close(descriptor)


class Child:
    """One running program. Use as `async with`: whatever happens, it has ended after it."""

    def __init__(
        self,
        program: Path,
        arguments: Sequence[str],
        reach: Access,
        *,
        stdin: bool = False,
        stdout: bool = False,
        descriptors: tuple[int, ...] = (),
    ) -> None:
        self.name = program.name
        self._command = [str(program), *arguments]
        self._reach = reach
        self._pipes = (stdin, stdout)
        self._descriptors = descriptors
        self._said: deque[str] = deque(maxlen=_LAST_LINES)
        self.faults: set[str] = set()
        """Every different line of its standard error that tells of an error; at most 100."""
        self._process: subprocess.Popen[bytes]

    async def __aenter__(self) -> Self:
        stdin, stdout = self._pipes
        try:
            self._process = subprocess.Popen(  # noqa: ASYNC220 - a fork of milliseconds
                self._command,
                stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
                stdout=subprocess.PIPE if stdout else subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=self._reach.environment,
                pass_fds=self._reach.descriptors + self._descriptors,
                start_new_session=True,
                preexec_fn=_end_with_us,  # noqa: PLW1509 - one system call, no lock is taken
                bufsize=0,
            )
        except OSError as error:
            raise Missing(f"cannot run {self._command[0]}: {error.strerror}") from error
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                _widen(pipe.fileno())
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.kill()
        self._listener.join(5)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def kill(self) -> None:
        """End it and what it started, now; nothing happens when it has ended."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def interrupt(self) -> None:
        """Ask it to end, as Ctrl-C would."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)

    @property
    def said(self) -> str:
        """The last lines of its standard error, at most 2,000 characters."""
        return "".join(self._said).strip()[-2000:]

    def read_into(self, buffer: bytearray) -> int:
        """Read some of its output, waiting for it; 0 at the end. Call it in a thread."""
        assert self._process.stdout is not None  # noqa: S101 - asked for a pipe
        return os.readv(self._process.stdout.fileno(), [buffer])

    def write(self, data: bytes | memoryview) -> None:
        """Give it all of `data`, waiting until it takes it. Call it in a thread.

        Raises:
            BrokenPipeError: it has ended; `finish` says why.
        """
        assert self._process.stdin is not None  # noqa: S101 - asked for a pipe
        view = memoryview(data)
        while view:
            view = view[os.write(self._process.stdin.fileno(), view) :]

    def end_input(self) -> None:
        """Say that no more input follows."""
        assert self._process.stdin is not None  # noqa: S101 - asked for a pipe
        with contextlib.suppress(OSError):
            self._process.stdin.close()

    async def finish(self) -> int:
        """Wait for its end; return its exit status."""
        status = await in_thread(self._process.wait, unblock=self.kill)
        self._listener.join(5)
        return status

    def failure(self, status: int) -> InsightError:
        """What its exit status and its words mean to our caller."""
        said = self.said
        for words, kind in _MEANINGS:
            if words in said:
                return kind(f"{self.name}: {_last_error(said)}")
        if status < 0:
            return Unavailable(f"{self.name} was killed by signal {-status}; try again")
        return Unavailable(f"{self.name} ended with status {status}: {_last_error(said)}")

    def _listen(self) -> None:
        assert self._process.stderr is not None  # noqa: S101 - asked for a pipe
        for raw in self._process.stderr:
            line = raw.decode("utf-8", "replace")[:2000]
            self._said.append(line)
            if "error:" in line and len(self.faults) < _MOST_FAULTS:
                self.faults.add(line.strip())
        self._process.stderr.close()


_MEANINGS: tuple[tuple[str, type[InsightError]], ...] = (
    ("server version mismatch", SettingsError),
    ("SSL support is not compiled in", SettingsError),
    ("canceling statement due to lock timeout", Conflict),
    ("canceling statement due to statement timeout", Conflict),  # pg_dump's --lock-wait-timeout
    ("no matching tables were found", Conflict),
    ("no matching schemas were found", Conflict),
    ("could not obtain lock", Conflict),
    ("deadlock detected", Conflict),
    ("does not exist", Conflict),
    ("permission denied", Refused),
    ("must be superuser", Refused),
    ("can only write single tablespace to stdout", Refused),
    ("no pg_hba.conf entry for replication", Refused),
    ("all replication slots are in use", Refused),
    ("must be owner", Refused),
    ("password authentication failed", Refused),
)


def _last_error(said: str) -> str:
    """The line that says what went wrong, with what follows it, in at most 500 characters."""
    lines = [line for line in said.splitlines() if line]
    faults = [place for place, line in enumerate(lines) if "error:" in line or "FATAL" in line]
    chosen = lines[faults[0] : faults[0] + 3] if faults else lines[-2:]
    return " ".join(line.strip() for line in chosen)[:500] or "it said nothing"


async def in_thread(act: Callable[[], T], *, unblock: Callable[[], object]) -> T:
    """Run a blocking call in a thread. Cancelled, call `unblock`, wait for it, then go on.

    A thread cannot be stopped from outside: killing the child that it waits for ends the call.
    """
    working = asyncio.ensure_future(asyncio.to_thread(act))
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        unblock()
        await asyncio.wait([working])
        working.exception()  # looked at, so that nobody complains about it
        raise


async def output(child: Child, pack: Callable[[memoryview], bytes]) -> AsyncIterator[bytes]:
    """What `pack` makes of the child's output, in pieces of about a MiB, read in a thread."""
    buffer = bytearray(_PIPE_BYTES)
    while True:
        piece, ended = await in_thread(lambda: _fill(child, buffer, pack), unblock=child.kill)
        if piece:
            yield piece
        if ended:
            return


def _fill(
    child: Child, buffer: bytearray, pack: Callable[[memoryview], bytes]
) -> tuple[bytes, bool]:
    ready = bytearray()
    with memoryview(buffer) as view:
        while len(ready) < _PIPE_BYTES:
            count = child.read_into(buffer)
            if count == 0:
                return bytes(ready), True
            ready += pack(view[:count])
    return bytes(ready), False


def _widen(descriptor: int) -> None:
    """Let a pipe hold 1 MiB: a sixteenth of the system calls."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            fcntl.fcntl(descriptor, _F_SETPIPE_SZ, _PIPE_BYTES)


def _end_with_us() -> None:
    """Ask the kernel to kill the child when we are gone; on Linux."""
    if _LIBC is not None:
        _LIBC.prctl(1, signal.SIGKILL)


_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
