"""A few child processes that decode images, kept warm; each is ended when it goes too far."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from insight_cloud.core.errors import Invalid, Unavailable
from insight_cloud.images.header import Header, Limits, bare, read
from insight_cloud.images.variants import Variant

__all__ = ["ENCODER", "Made", "Picture", "Workers"]

ENCODER = "1"
"""Changes whenever the same source makes other bytes, so that nothing old is served for new."""

_SCRIPT = Path(__file__).with_name("worker.py")
_START_SECONDS = 30
_JOBS_EACH = 1000  # then a process is replaced: whatever a codec leaks goes with it
_SAID_BYTES = 4096
_PATIENCE = 4
"""Seconds to wait for one of CPU: it only matters on a starved machine, the kernel counts CPU."""

log = logging.getLogger("insight.images")


@dataclass(frozen=True, slots=True)
class Made:
    """One variant. `format` is what the bytes are: not always what was asked for."""

    variant: Variant
    format: str
    width: int
    height: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Picture:
    """What was made of one source. Width and height are the source's own, upright."""

    width: int
    height: int
    alpha: bool
    made: tuple[Made, ...]
    placeholder: str = ""
    """WebP of 16 pixels, base64; only when it was asked for."""
    thumbhash: str = ""
    """ThumbHash, base64; only when it was asked for."""


class Workers:
    """Makes variants of images in child processes, all of one call from one decoding.

    A source is first judged by its header (`limits`), in this process and in pure Python. Each
    child may use `memory_bytes` of address space and `seconds` of CPU a call; it has a small
    environment without secrets and can write no file. At most `queue` calls wait.

    Use as `async with Workers() as workers`. What is cancelled while it is made ends its child.
    """

    def __init__(
        self,
        *,
        processes: int | None = None,
        memory_bytes: int = 1280 * 1024 * 1024,
        seconds: float = 7.0,
        queue: int = 64,
        limits: Limits = Limits(),  # noqa: B008 - frozen
    ) -> None:
        self._processes = processes or os.cpu_count() or 1
        self._memory = memory_bytes
        self._seconds = seconds
        self._queue = queue
        self.limits = limits
        self._idle: asyncio.Queue[_Child] = asyncio.Queue()
        self._children: set[_Child] = set()
        self._starting: set[asyncio.Task[None]] = set()
        self._waiting = 0
        self._open = False

    async def __aenter__(self) -> Self:
        """Start the processes.

        Raises:
            Unavailable: they do not start.
        """
        self._open = True
        try:
            await asyncio.gather(*(self._start() for _ in range(self._processes)))
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End the processes and what they are at."""
        self._open = False
        for task in list(self._starting):
            task.cancel()
        await asyncio.gather(*self._starting, return_exceptions=True)
        await asyncio.gather(*(child.kill() for child in list(self._children)))
        self._children.clear()

    async def make(
        self, data: bytes, variants: Sequence[Variant], *, placeholder: bool = False
    ) -> Picture:
        """Make `variants` of the image `data`; none has more bytes than it, and none is enlarged.

        Of the variants that are no narrower than the image only the narrowest is made, since
        all would be alike. A variant that would have more bytes than the source is the source,
        without metadata (and has its format). Only an animation and what EXIF turns is encoded
        anew whatever it costs.

        Raises:
            Invalid: the source is beyond the limits or cannot be decoded within them.
            Unavailable: too many calls wait, or the machine is too busy.
        """
        header = read(data, self.limits)
        child = await self._take()
        try:
            answer, blob = await child.ask(
                {
                    "seconds": self._seconds,
                    "variants": [[one.width, one.quality, one.format] for one in variants],
                    "placeholder": placeholder,
                },
                data,
            )
        finally:
            await self._give_back(child)
        if "error" in answer:
            raise Invalid(f"the image cannot be decoded: {answer['error']}")
        return _picture(answer, blob, data, header)

    # -- processes -----------------------------------------------------------------------------

    async def _take(self) -> _Child:
        if not self._open:
            raise Unavailable("images are not open")
        if self._idle.empty() and self._waiting >= self._queue:
            raise Unavailable(f"{self._queue} images wait already; try again", retry_after=2)
        self._waiting += 1
        try:
            async with asyncio.timeout(self._seconds * 3):
                return await self._idle.get()
        except TimeoutError as error:
            raise Unavailable("the machine is too busy for images", retry_after=5) from error
        finally:
            self._waiting -= 1

    async def _give_back(self, child: _Child) -> None:
        """Keep a child that is as it was; replace any other, without waiting for it."""
        if child.ready and child.jobs < _JOBS_EACH and self._open:
            self._idle.put_nowait(child)
            return
        self._children.discard(child)
        await child.kill()
        if self._open:
            task = asyncio.create_task(self._restart())
            self._starting.add(task)
            task.add_done_callback(self._starting.discard)

    async def _restart(self) -> None:
        delay = 0.1
        while self._open:
            try:
                await self._start()
            except Unavailable as error:
                log.error("images.worker: %s", error)  # noqa: TRY400 - the error says it all
                await asyncio.sleep(delay)
                delay = min(delay * 2, 30)
            else:
                return

    async def _start(self) -> None:
        child = await _Child.start(self._memory, self._seconds)
        self._children.add(child)
        self._idle.put_nowait(child)


class _Child:
    """One process. `ready` means that it waits for a job."""

    def __init__(self, process: asyncio.subprocess.Process, seconds: float) -> None:
        assert process.stdin is not None  # noqa: S101 - we asked for pipes
        assert process.stdout is not None  # noqa: S101
        assert process.stderr is not None  # noqa: S101
        self._process = process
        self._in, self._out, self._err = process.stdin, process.stdout, process.stderr
        self._seconds = seconds
        self.jobs = 0
        self.ready = False

    @classmethod
    async def start(cls, memory_bytes: int, seconds: float) -> _Child:
        """Start one and wait until it has made its first picture.

        Raises:
            Unavailable: it does not start.
        """
        options = {"memory": memory_bytes, "seconds": seconds, "parent": os.getpid()}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", str(_SCRIPT), json.dumps(options)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=_environment(),
            limit=1024 * 1024,
        )
        child = cls(process, seconds)
        try:
            async with asyncio.timeout(_START_SECONDS):
                await child._read()
        except (TimeoutError, asyncio.IncompleteReadError) as error:
            reason = await child.kill()
            raise Unavailable(
                f"the image process does not start: {reason or 'no answer'}"
            ) from error
        except BaseException:
            await child.kill()
            raise
        child.ready = True
        return child

    async def ask(self, job: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
        """Have one job done.

        Raises:
            Invalid: the process was ended by what the image made it do.
            Unavailable: the process got no CPU.
        """
        self.ready = False
        self.jobs += 1
        text = json.dumps(job).encode()
        try:
            async with asyncio.timeout(self._seconds * _PATIENCE):
                with contextlib.suppress(ConnectionError):  # the answer tells why
                    self._in.write(struct.pack(">II", len(text), len(data)) + text)
                    self._in.write(data)
                    await self._in.drain()
                answer = await self._read()
        except TimeoutError as error:
            raise Unavailable("the machine is too busy for images", retry_after=5) from error
        except asyncio.IncompleteReadError as error:
            raise Invalid(await self._why()) from error
        self.ready = True
        return answer

    async def kill(self) -> str:
        """End it now; return the last line it said."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        said = await self._err.read(_SAID_BYTES)
        await self._process.wait()
        self._in.close()
        self._process._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001 - no public way
        lines = said.decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else ""

    async def _read(self) -> tuple[dict[str, Any], bytes]:
        length, size = struct.unpack(">II", await self._out.readexactly(8))
        answer: dict[str, Any] = json.loads(await self._out.readexactly(length))
        return answer, await self._out.readexactly(size)

    async def _why(self) -> str:
        status = await self._process.wait()
        log.warning("images.worker: ended by an image with status %s", status)
        if status in {-signal.SIGXCPU, -signal.SIGKILL}:
            return f"the image takes more than {self._seconds:g} s to decode"
        return "the image cannot be decoded within the limits"


def _environment() -> dict[str, str]:
    """What a child needs and nothing else: our own environment holds secrets."""
    return {
        "LC_ALL": "C.UTF-8",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "PYTHONDONTWRITEBYTECODE": "1",
        "MALLOC_ARENA_MAX": "2",  # halves the memory of libvips
        "VIPS_CONCURRENCY": "1",  # a process a core is faster than threads
        "VIPS_BLOCK_UNTRUSTED": "1",
    }


def _picture(answer: dict[str, Any], blob: bytes, source: bytes, header: Header) -> Picture:
    made, at = [], 0
    for *wanted, form, wide, high, size in answer["variants"]:
        made.append(Made(Variant(*wanted), form, wide, high, blob[at : at + size]))
        at += size
    largest = max((len(one.data) for one in made), default=0)
    if largest >= len(source) and header.frames == 1 and not answer["turned"]:
        clean = bare(source, header)
        original = Made(Variant(0), header.format, answer["width"], answer["height"], clean)
        made = [
            replace(original, variant=one.variant) if len(one.data) >= len(clean) else one
            for one in made
        ]
    return Picture(
        answer["width"],
        answer["height"],
        answer["alpha"],
        tuple(made),
        answer.get("placeholder", ""),
        answer.get("thumbhash", ""),
    )
