"""The memory-leak watch: it costs nothing until memory grows for good, and then finds the lines.

`tracemalloc` makes code that allocates up to eight times as slow, so it is never always on. On
a steady growth (`trend`) it is started with one frame, for a short time. Only what was
allocated since then is traced, so one snapshot at the end shows what stayed; the lines with
the most of it are reported.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import time
import tracemalloc
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from insight_cloud.telemetry.process import open_files, resident_bytes
from insight_cloud.telemetry.series import Sample
from insight_cloud.telemetry.trend import Trend, drifts, trend

__all__ = ["Leak", "Line", "Measured", "Watch", "growing", "measure"]

log = logging.getLogger("insight.memory")

_SINGLE_TRACE = asyncio.Lock()


@dataclass(frozen=True, slots=True)
class Measured:
    """One look at this process: bytes resident, objects known to the collector, open files."""

    bytes: int
    objects: int
    files: int


@dataclass(frozen=True, slots=True)
class Line:
    """A line of code and what it allocated in the window that is still held."""

    place: str
    bytes: int
    blocks: int


@dataclass(frozen=True, slots=True)
class Leak:
    """A steady growth, and who holds the memory that came in the trace window."""

    bytes_per_hour: float
    grown_bytes: int
    seconds: float
    files_per_hour: float
    lines: tuple[Line, ...]


def measure() -> Measured:
    """Look at this process; about 50 microseconds."""
    counts = gc.get_count()
    return Measured(resident_bytes(), sum(counts), open_files())


class Watch:
    """Measures memory and open files, and reports a leak once in `rest_seconds`.

    Call `step` every ten seconds.

    Args:
        report: takes what was found; it is logged as `memory.leak` in any case.
        window_seconds: how long memory must have grown.
        bytes_per_hour: from which growth on it is a leak.
        files_per_hour: the same for open files.
        trace_seconds: how long allocations are traced then, and slow; 0 for not at all.
        rest_seconds: how long nothing more is reported afterwards.
        look: measures; and `clock`, in monotonic seconds: for tests.
    """

    def __init__(
        self,
        report: Callable[[Leak], Awaitable[None]] | None = None,
        *,
        window_seconds: float = 1800.0,
        bytes_per_hour: float = 32 * 1024 * 1024,
        files_per_hour: float = 200.0,
        trace_seconds: float = 60.0,
        rest_seconds: float = 6 * 3600.0,
        look: Callable[[], Measured] = measure,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._report = report
        self._window = window_seconds
        self._bytes_per_hour = bytes_per_hour
        self._files_per_hour = files_per_hour
        self._trace_seconds = trace_seconds
        self._rest = rest_seconds
        self._look = look
        self._clock = clock
        self._seen: deque[tuple[float, Measured]] = deque()
        self._quiet_until = float("-inf")
        self._tracing = False
        self._leaks = 0

    @property
    def memory(self) -> Trend | None:
        """How memory moved in the window so far, for the operator's page."""
        return trend([(at, float(seen.bytes)) for at, seen in self._seen])

    async def step(self) -> None:
        """Measure once; and when that shows a leak, trace and report it."""
        now = self._clock()
        self._seen.append((now, self._look()))
        while self._seen[0][0] < now - self._window:
            self._seen.popleft()
        # Most steps end here: the slopes of a window that is not full yet say nothing.
        if self._tracing or now < self._quiet_until or now - self._seen[0][0] < 0.9 * self._window:
            return
        memory = self.memory
        files = trend([(at, float(seen.files)) for at, seen in self._seen])
        leaks = drifts(memory, window_seconds=self._window, per_hour=self._bytes_per_hour)
        spills = drifts(files, window_seconds=self._window, per_hour=self._files_per_hour)
        if memory is not None and files is not None and (leaks or spills):
            self._quiet_until = now + self._rest
            await self._tell(memory, files, trace=leaks)

    def samples(self) -> Iterable[Sample]:
        """A collector."""
        yield "memory_leak_total", {}, float(self._leaks)

    async def _tell(self, memory: Trend, files: Trend, *, trace: bool) -> None:
        self._tracing = True
        try:
            lines = await growing(self._trace_seconds) if trace and self._trace_seconds else ()
        finally:
            self._tracing = False
        self._leaks += 1
        leak = Leak(
            memory.slope * 3600, round(memory.growth), memory.seconds, files.slope * 3600, lines
        )
        log.warning(
            "memory.leak: %.1f MiB and %.0f open files an hour, for %.0f minutes; kept by %s",
            leak.bytes_per_hour / 2**20,
            leak.files_per_hour,
            leak.seconds / 60,
            ", ".join(line.place for line in lines[:3]) or "(not traced)",
            extra={"lines": [f"{line.place} {line.bytes} B" for line in lines]},
        )
        if self._report is not None:
            await self._report(leak)


async def growing(seconds: float, *, most: int = 10) -> tuple[Line, ...]:
    """The lines that allocated the most in the next `seconds` of what is held at their end.

    Where somebody else traces already, what they have traced is shown, and goes on.
    """
    async with _SINGLE_TRACE:
        ours = not tracemalloc.is_tracing()
        if ours:
            tracemalloc.start(1)
        try:
            await asyncio.sleep(seconds)
            gc.collect()  # what is merely not collected yet is no leak
            snapshot = tracemalloc.take_snapshot()
        finally:
            if ours:
                tracemalloc.stop()
    return await asyncio.to_thread(_top, snapshot, most)


def _top(snapshot: tracemalloc.Snapshot, most: int) -> tuple[Line, ...]:
    shown = snapshot.filter_traces(
        [tracemalloc.Filter(False, tracemalloc.__file__), tracemalloc.Filter(False, "<frozen *>")]
    )
    return tuple(
        Line(f"{_short(one.traceback[0].filename)}:{one.traceback[0].lineno}", one.size, one.count)
        for one in shown.statistics("lineno")[:most]
    )


def _short(path: str) -> str:
    """The path from the package on: where it is installed says nothing."""
    parts = Path(path).parts
    for mark in ("site-packages", "dist-packages"):
        if mark in parts:
            return "/".join(parts[parts.index(mark) + 1 :])
    return "/".join(parts[-3:])
