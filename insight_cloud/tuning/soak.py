"""A soak: a service under even load in a process of its own, and who holds what it does not free.

The child measures itself and is told to trace only when its memory grows, because tracing makes
it slow. What decides whether memory grows is given by the caller.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import msgspec

from insight_cloud.core.errors import Refused, Unavailable

__all__ = ["Grows", "Holder", "Load", "Soak", "soak"]

Grows = Callable[[Sequence[tuple[float, float]], float, float], bool]
"""Says of points (seconds, bytes), a window in seconds and bytes a minute whether they grow."""

_START_SECONDS = 60
_ANALYSIS_SECONDS = 90
_MOST_LINE = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Load:
    """What the service is asked, and how often. `app` is `module:attribute`."""

    app: str
    paths: tuple[str, ...] = ("/",)
    per_second: float = 200
    factory: bool = False
    directory: str = "."
    """Where modules are looked for first."""


@dataclass(frozen=True, slots=True)
class Holder:
    """A line of code that holds memory which came while it was traced."""

    place: str
    function: str
    bytes: int
    blocks: int


@dataclass(frozen=True, slots=True)
class Soak:
    """What a soak found."""

    seconds: float
    requests: int
    errors: int
    points: tuple[tuple[float, float], ...]
    """Seconds and resident bytes, warming up left out."""
    leaks: bool
    growth_bytes_per_minute: float
    holders: tuple[Holder, ...] = ()
    tracer: str = ""
    """Who named the holders: `memray`, `tracemalloc`, and `lines` for native memory beside them."""
    traced_bytes: int = 0
    open_files: tuple[int, int] = (0, 0)
    problems: tuple[str, ...] = field(default=())

    def as_dict(self) -> dict[str, Any]:
        """The same data for reports."""
        return {**asdict(self), "points": None, "samples": len(self.points)}


class _Message(msgspec.Struct):
    kind: str
    at: float = 0
    bytes: int = 0
    files: int = 0
    requests: int = 0
    errors: int = 0
    text: str = ""
    tracer: str = ""
    holders: list[tuple[str, str, int, int]] = []


class _Child:
    """The process with the service; what it says arrives as messages."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.ended = False

    async def next(self, seconds: float) -> _Message | None:
        """The next message; None after `seconds`, or when there will be none."""
        assert self._process.stdout is not None  # noqa: S101 - we asked for a pipe
        try:
            async with asyncio.timeout(seconds):
                line = await self._process.stdout.readline()
        except TimeoutError:
            return None
        if not line:
            self.ended = True
            return None
        return msgspec.json.decode(line, type=_Message)

    def tell(self, word: str) -> None:
        """Give an order."""
        assert self._process.stdin is not None  # noqa: S101 - we asked for a pipe
        self._process.stdin.write(f"{word}\n".encode())

    async def end(self) -> str:
        """Stop it; return its last words."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        assert self._process.stderr is not None  # noqa: S101 - we asked for a pipe
        said = await self._process.stderr.read()
        await self._process.wait()
        return said.decode("utf-8", "replace").strip()[-1000:]


async def soak(
    load: Load,
    *,
    grows: Grows,
    growth_bytes_per_minute: float,
    seconds: float = 120,
    warm_up_seconds: float = 15,
    window_seconds: float = 45,
    trace_seconds: float = 25,
    progress: Callable[[str], None] = lambda _text: None,
    clock: Callable[[], float] = time.monotonic,
) -> Soak:
    """Keep the service busy for `seconds`; where its memory grows, find out who holds it.

    A leak is told only when memory grew over a window and went on to grow in the next half:
    caches that fill up do not.

    Raises:
        Refused: the application cannot be loaded.
        Unavailable: its process ended.
    """
    child = await _started(load)
    watch = _Watch(child, grows, growth_bytes_per_minute, warm_up_seconds, clock)
    try:
        await watch.begin()
        progress(f"warming up for {warm_up_seconds:.0f} s")
        deadline = clock() + seconds
        while clock() < deadline and not watch.leaks(window_seconds):
            await watch.step()
        if watch.leaks(window_seconds):
            progress("memory grows: tracing who holds it")
            await watch.trace(trace_seconds)
        return watch.result()
    finally:
        await child.end()


async def _started(load: Load) -> _Child:
    words = ["--app", load.app, "--rate", str(load.per_second), "--directory", load.directory]
    words += [word for path in load.paths for word in ("--path", path)]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "insight_cloud.tuning.soaked",
        *words,
        *(["--factory"] if load.factory else []),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=_MOST_LINE,
    )
    return _Child(process)


class _Watch:
    def __init__(
        self,
        child: _Child,
        grows: Grows,
        per_minute: float,
        warm_up_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self._child = child
        self._grows = grows
        self._per_minute = per_minute
        self._warm_up = warm_up_seconds
        self._clock = clock
        self._began = clock()
        self._points: list[tuple[float, float]] = []
        self._files: list[int] = []
        self._last = _Message("sample")
        self._traced: _Message | None = None
        self._trace_growth = 0

    async def begin(self) -> None:
        message = await self._child.next(_START_SECONDS)
        if message is None or message.kind == "failed":
            said = message.text if message else await self._child.end()
            raise Refused(f"the application cannot be loaded: {said or 'it does not start'}")

    async def step(self) -> None:
        message = await self._child.next(_START_SECONDS)
        if message is None:
            raise Unavailable(f"the service's process ended: {await self._child.end()}")
        self._last = message
        if message.at >= self._warm_up:
            self._points.append((message.at, float(message.bytes)))
            self._files.append(message.files)

    def leaks(self, window_seconds: float) -> bool:
        """Whether memory grew over the window, and in each half of it."""
        if not self._points or self._points[-1][0] - self._points[0][0] < 0.95 * window_seconds:
            return False
        since = self._points[-1][0] - window_seconds
        seen = [point for point in self._points if point[0] >= since]
        halves = seen[: len(seen) // 2], seen[len(seen) // 2 :]
        return self._grows(seen, window_seconds, self._per_minute) and all(
            self._grows(half, 0.4 * window_seconds, self._per_minute / 2) for half in halves
        )

    async def trace(self, seconds: float) -> None:
        before = self._last.bytes
        self._child.tell(f"trace {seconds}")
        limit = self._clock() + seconds + _ANALYSIS_SECONDS
        while self._clock() < limit:
            message = await self._child.next(limit - self._clock())
            if message is None:
                break
            if message.kind == "traced":
                self._traced = message
                break
            self._last = message
        self._trace_growth = self._last.bytes - before

    def result(self) -> Soak:
        traced = self._traced
        holders = tuple(Holder(*row) for row in traced.holders) if traced else ()
        points = self._points
        span = (points[-1][0] - points[0][0]) / 60 if len(points) > 1 else 0
        return Soak(
            seconds=self._clock() - self._began,
            requests=self._last.requests,
            errors=self._last.errors,
            points=tuple(points),
            leaks=traced is not None,
            growth_bytes_per_minute=(points[-1][1] - points[0][1]) / span if span else 0.0,
            holders=holders,
            tracer=traced.tracer if traced else "",
            traced_bytes=sum(holder.bytes for holder in holders),
            open_files=(self._files[0], self._files[-1]) if self._files else (0, 0),
            problems=_problems(traced, self._last),
        )


def _problems(traced: _Message | None, last: _Message) -> tuple[str, ...]:
    found = []
    if traced is not None and "tracemalloc" in traced.tracer:
        found.append(
            "libraries' own allocations were not traced: install insight-cloud[memory] for them"
        )
    if last.errors:
        found.append(f"{last.errors:,} of {last.requests:,} requests ended in an error")
    return tuple(found)
