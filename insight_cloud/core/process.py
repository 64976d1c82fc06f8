"""Child processes that end: a time limit, an output limit, and the whole group killed."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from insight_cloud.core.errors import Missing
from insight_cloud.core.report import stopwatch

__all__ = ["Outcome", "end_with_parent", "run"]

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_BURIAL_SECONDS = 2
_CHUNK_BYTES = 64 * 1024


def end_with_parent(parent: int) -> None:
    """Be told to stop (SIGTERM) when the process `parent`, which started this one, is gone.

    On Linux; elsewhere nothing is arranged.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it was gone before we asked
        os.kill(os.getpid(), signal.SIGTERM)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a child ended. `status` is None when it was killed at a limit."""

    status: int | None
    stdout: bytes
    stderr: bytes
    seconds: float
    timed_out: bool = False
    truncated: bool = False

    @property
    def stderr_tail(self) -> str:
        """The last lines of standard error, at most 2,000 characters."""
        return self.stderr.decode("utf-8", "replace").strip()[-2000:]


async def run(
    command: Sequence[str | Path],
    *,
    timeout_seconds: float,
    stdin: bytes = b"",
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    output_bytes: int = 64 * 1024 * 1024,
    heard: Callable[[bytes], None] | None = None,
) -> Outcome:
    """Run `command` to its end and return what it said.

    The child leads its own process group, which is killed whole at the time limit, at the
    output limit (standard output and error each), and when the caller is cancelled: no
    grandchild stays behind. `environment` replaces ours when given. `heard` gets what the child
    writes to standard error, as it comes.

    Raises:
        Missing: there is no such program.
    """
    arguments = [str(part) for part in command]
    with stopwatch() as watch:
        child = await _start(arguments, cwd, environment)
        stdout, stderr = bytearray(), bytearray()
        try:
            async with asyncio.timeout(timeout_seconds):
                _, out_ok, err_ok = await asyncio.gather(
                    _feed(child, stdin),
                    _drain(child, child.stdout, stdout, output_bytes),
                    _drain(child, child.stderr, stderr, output_bytes, heard),
                )
                await child.wait()
        except TimeoutError:
            await _kill(child)
            return Outcome(None, bytes(stdout), bytes(stderr), watch.seconds, timed_out=True)
        except BaseException:
            await _kill(child)
            raise
    if not (out_ok and err_ok):
        return Outcome(None, bytes(stdout), bytes(stderr), watch.seconds, truncated=True)
    return Outcome(child.returncode, bytes(stdout), bytes(stderr), watch.seconds)


async def _start(
    arguments: list[str], cwd: Path | None, environment: Mapping[str, str] | None
) -> asyncio.subprocess.Process:
    """Start the child, wholly or not at all.

    Cancelled halfway, asyncio would wait for ever for pipes that it has not connected, and
    would not know the grandchildren: so the start is finished first, and then undone.
    """
    starting = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=cwd,
            env=None if environment is None else dict(environment),
            start_new_session=True,
        )
    )
    try:
        return await asyncio.shield(starting)
    except (FileNotFoundError, PermissionError) as error:
        raise Missing(f"cannot run {arguments[0]!r}: {error.strerror}") from error
    except asyncio.CancelledError:
        with contextlib.suppress(OSError):
            await _kill(await starting)
        raise


async def _feed(child: asyncio.subprocess.Process, data: bytes) -> None:
    assert child.stdin is not None  # noqa: S101 - we asked for a pipe
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        child.stdin.write(data)
        await child.stdin.drain()
    child.stdin.close()


async def _drain(
    child: asyncio.subprocess.Process,
    stream: asyncio.StreamReader | None,
    into: bytearray,
    limit: int,
    heard: Callable[[bytes], None] | None = None,
) -> bool:
    """Read to the end; at the limit kill the group and say False."""
    assert stream is not None  # noqa: S101 - we asked for a pipe
    while chunk := await stream.read(_CHUNK_BYTES):
        into += chunk
        if heard is not None:
            heard(chunk)
        if len(into) > limit:
            del into[limit:]
            await _kill(child)
            return False
    return True


async def _kill(child: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    # The pipes may be held open by somebody who left the group: they are not waited for.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_BURIAL_SECONDS):
            await child.wait()
    child._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001 - no public way
