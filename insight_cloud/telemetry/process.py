"""What a process says of itself: memory, processor, files, garbage, and how busy its loop is."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from insight_cloud.telemetry.series import Merge, Sample

__all__ = ["MERGE", "LoopLag", "memory_limit_bytes", "open_files", "resident_bytes", "samples"]

MERGE: dict[str, Merge] = {
    "process_start_time_seconds": "min",
    "process_loop_lag_seconds": "max",
}
"""How the gauges of several processes become one, for `Recorder(merge=...)`."""

_STARTED = time.time()


def samples() -> Iterable[Sample]:
    """A collector: the numbers of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    yield "process_resident_memory_bytes", {}, float(resident_bytes())
    yield "process_cpu_seconds_total", {}, used.ru_utime + used.ru_stime
    yield "process_start_time_seconds", {}, _STARTED
    yield "process_open_fds", {}, float(open_files())
    yield "process_threads", {}, float(threading.active_count())
    for generation, counts in enumerate(gc.get_stats()):
        labels = {"generation": str(generation)}
        yield "process_gc_collections_total", labels, float(counts["collections"])
    yield "process_count", {}, 1.0


def resident_bytes() -> int:
    """The memory that this process holds, what it shares with others included."""
    try:
        pages = int(Path("/proc/self/statm").read_bytes().split()[1])
    except OSError:  # no Linux: the highest so far is what there is
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return pages * resource.getpagesize()


def open_files() -> int:
    """How many file descriptors are open; 0 where that cannot be known."""
    for directory in ("/proc/self/fd", "/dev/fd"):
        try:
            return len(os.listdir(directory)) - 1  # noqa: PTH208 - names only; one is the listing's own
        except OSError:
            continue
    return 0


def memory_limit_bytes(root: Path = Path("/")) -> int | None:
    """The memory that this service may use: its control group's limit, else the machine's."""
    try:
        total = int((root / "proc/meminfo").read_text().split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        return None
    for name in ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            return min(total, int((root / name).read_text()))
        except (OSError, ValueError):  # no such group, or `max`
            continue
    return total


class LoopLag:
    """How late the event loop comes to what is due: the longest delay of the last minute.

    A loop that is late is one that something blocks. Run `watch` for as long as the loop.
    """

    def __init__(
        self, *, every_seconds: float = 0.5, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._every = every_seconds
        self._clock = clock
        self._worst: list[tuple[float, float]] = []

    async def watch(self) -> None:
        """Measure until cancelled."""
        while True:
            due = self._clock() + self._every
            await asyncio.sleep(self._every)
            self.note(self._clock() - due)

    def note(self, late: float) -> None:
        """Remember that the loop was `late` seconds late."""
        now = self._clock()
        kept = [(at, lag) for at, lag in self._worst if at > now - 60 and lag > late]
        self._worst = [*kept, (now, max(0.0, late))]  # falling: the first is the longest

    def samples(self) -> Iterable[Sample]:
        """A collector: the longest delay of the last minute."""
        since = self._clock() - 60
        recent = [lag for at, lag in self._worst if at > since]
        yield "process_loop_lag_seconds", {}, max(recent, default=0.0)
