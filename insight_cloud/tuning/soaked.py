"""The process in which a service is soaked: `python -m insight_cloud.tuning.soaked`.

It calls an ASGI application in its own event loop, evenly, and says every half second how much
memory it holds. Told `trace SECONDS`, it goes on under a tracer and then names the lines that
hold what came meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import importlib
import os
import resource
import sys
import tempfile
import threading
import time
import tracemalloc
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from insight_cloud.tuning import nativelines

__all__ = ["main"]

_SAMPLE_SECONDS = 0.5
_MOST_HOLDERS = 10
_FRAMES = 8

Row = tuple[str, str, int, int]
"""Place, function, bytes, blocks."""
Application = Callable[[Any, Any, Any], Awaitable[None]]


def main(arguments: Iterable[str] | None = None) -> None:
    """Load the application and keep it busy until the parent is gone."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--app", required=True)
    parser.add_argument("--path", action="append", required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--directory", default=".")
    parser.add_argument("--factory", action="store_true")
    options = parser.parse_args(None if arguments is None else list(arguments))
    sys.path.insert(0, options.directory)
    try:
        application = _load(options.app, factory=options.factory)
    except Exception as error:  # noqa: BLE001 - whatever a foreign module raises is told
        _say(kind="failed", text=f"{type(error).__name__}: {error}")
        return
    asyncio.run(_Service(application, options.path, options.rate).run())


def _load(name: str, *, factory: bool) -> Application:
    module, _, attribute = name.partition(":")
    found = getattr(importlib.import_module(module), attribute or "app")
    return found() if factory else found  # type: ignore[no-any-return]


class _Service:
    def __init__(self, application: Application, paths: list[str], rate: float) -> None:
        self._application = application
        self._paths = paths
        self._rate = rate
        self._requests = 0
        self._errors = 0
        self._orders: asyncio.Queue[str] = asyncio.Queue()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._listen, args=(loop,), daemon=True).start()
        async with _Lifespan(self._application):
            _say(kind="ready")
            began = time.monotonic()
            load = asyncio.create_task(self._load())
            try:
                while True:
                    order = await self._order()
                    if order == "end":
                        return
                    if order.startswith("trace"):
                        holders, tracer = await self._trace(float(order.split()[1]))
                        _say(kind="traced", holders=holders, tracer=tracer)
                        continue
                    self._sample(time.monotonic() - began)
            finally:
                load.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await load

    def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        for line in sys.stdin:
            loop.call_soon_threadsafe(self._orders.put_nowait, line.strip())
        loop.call_soon_threadsafe(self._orders.put_nowait, "end")

    async def _order(self) -> str:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SAMPLE_SECONDS):
                return await self._orders.get()
        return ""

    def _sample(self, at: float) -> None:
        gc.collect()  # what is merely not collected yet is no leak
        _say(
            kind="sample",
            at=at,
            bytes=_resident_bytes(),
            files=_open_files(),
            requests=self._requests,
            errors=self._errors,
        )

    async def _load(self) -> None:
        """Ask evenly; a service that is too slow is asked one after the other."""
        due = time.monotonic()
        while True:
            due = max(due + 1 / self._rate, time.monotonic() - 0.1)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            path = self._paths[self._requests % len(self._paths)]
            self._requests += 1
            if not await _ask(self._application, path):
                self._errors += 1

    async def _trace(self, seconds: float) -> tuple[list[Row], str]:
        """Who holds what came: by allocations, and where those do not explain it, by lines."""
        before = _resident_bytes()
        rows, tracer = await _by_allocations(seconds)
        grown = _resident_bytes() - before
        if 2 * sum(row[2] for row in rows) >= grown:
            return rows, tracer
        native = await _by_lines(seconds)
        return _most([*native, *rows]), f"{tracer}, lines"


async def _by_allocations(seconds: float) -> tuple[list[Row], str]:
    try:
        import memray  # noqa: F401 - only whether it is there
    except ImportError:
        return await _by_tracemalloc(seconds), "tracemalloc"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "trace"
        with _tracked(file):
            await asyncio.sleep(seconds)
            gc.collect()
        return await asyncio.to_thread(_held, file), "memray"


async def _by_lines(seconds: float) -> list[Row]:
    """Native memory that stays, by the application's lines."""
    with nativelines.traced(lambda path: _is_library(path) or path == __file__) as lines:
        await asyncio.sleep(seconds)
    return _most(
        (f"{_short(path)}:{line}", function, size, count)
        for (path, line, function), (size, count) in lines.items()
        if size > 0
    )


@contextmanager
def _tracked(file: Path) -> Iterator[None]:
    import memray

    with memray.Tracker(
        destination=memray.FileDestination(file, overwrite=True),
        file_format=memray.FileFormat.AGGREGATED_ALLOCATIONS,
        trace_python_allocators=True,
    ):
        yield


def _held(file: Path) -> list[Row]:
    """The lines that hold the most of what was allocated and not freed while it was traced."""
    import memray

    held: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    with memray.FileReader(file) as reader:
        for record in reader.get_leaked_allocation_records(merge_threads=True):
            stack = [(f"{_short(path)}:{line}", name, path) for name, path, line in
                     record.stack_trace(_FRAMES)]  # fmt: skip
            if not stack or stack[0][2] == __file__:
                continue
            place, function, _ = next((f for f in stack if not _is_library(f[2])), stack[0])
            entry = held[place, function]
            entry[0] += record.size
            entry[1] += record.n_allocations
    return _most((place, name, size, count) for (place, name), (size, count) in held.items())


async def _by_tracemalloc(seconds: float) -> list[Row]:
    tracemalloc.start(_FRAMES)
    try:
        await asyncio.sleep(seconds)
        gc.collect()
        snapshot = tracemalloc.take_snapshot()
    finally:
        tracemalloc.stop()
    held: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for trace in snapshot.traces:
        frames = [
            (f"{_short(f.filename)}:{f.lineno}", f.filename) for f in reversed(trace.traceback)
        ]
        frames = [frame for frame in frames if frame[1] not in {tracemalloc.__file__, __file__}]
        if not frames:
            continue
        place = next((f for f in frames if not _is_library(f[1])), frames[0])[0]
        held[place][0] += trace.size
        held[place][1] += 1
    return _most((place, "", size, count) for place, (size, count) in held.items())


def _most(rows: Iterable[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: -row[2])[:_MOST_HOLDERS]


def _is_library(path: str) -> bool:
    """Whether a file is Python's own or installed: the leak is rather with who calls it."""
    parts = Path(path).parts
    return path.startswith("<") or any(
        part in {"site-packages", "dist-packages"} or part.startswith("python3") for part in parts
    )


def _short(path: str) -> str:
    """The path from the package or the working directory on."""
    parts = Path(path).parts
    for mark in ("site-packages", "dist-packages"):
        if mark in parts:
            return "/".join(parts[parts.index(mark) + 1 :])
    with contextlib.suppress(ValueError):
        return str(Path(path).relative_to(Path.cwd()))
    return "/".join(parts[-3:])


# -- asking an ASGI application ----------------------------------------------------------------


async def _ask(application: Application, path: str) -> bool:
    """One GET; whether it was answered without an error of the server."""
    status = 0
    sent = False

    async def receive() -> dict[str, Any]:
        nonlocal sent
        if sent:
            return {"type": "http.disconnect"}
        sent = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]

    bare, _, query = path.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": bare,
        "raw_path": bare.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(b"host", b"localhost"), (b"accept", b"*/*")],
        "client": ("127.0.0.1", 50000),
        "server": ("localhost", 80),
        "state": {},
    }
    try:
        await application(scope, receive, send)
    except Exception:  # noqa: BLE001 - whatever a foreign application raises is counted
        return False
    return 0 < status < 500


class _Lifespan:
    """Start-up and shutdown of an application; one that knows neither is asked all the same."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._to: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._from: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def __aenter__(self) -> None:
        self._task = asyncio.create_task(self._run())
        self._to.put_nowait({"type": "lifespan.startup"})
        answer = await self._from.get()
        if answer["type"] == "lifespan.startup.failed":
            _say(kind="failed", text=str(answer.get("message", "its start-up fails")))
            raise SystemExit(1)

    async def __aexit__(self, *_: object) -> None:
        self._to.put_nowait({"type": "lifespan.shutdown"})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                await self._from.get()
        self._task.cancel()

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
        with contextlib.suppress(Exception):  # an application without a lifespan may raise
            await self._application(scope, self._to.get, self._from.put)
        await self._from.put({"type": "none"})


def _say(**message: Any) -> None:
    sys.stdout.write(msgspec.json.encode(message).decode() + "\n")
    sys.stdout.flush()


def _resident_bytes() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_bytes().split()[1])
    except OSError:  # no Linux: the highest so far is what there is
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return pages * resource.getpagesize()


def _open_files() -> int:
    try:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names only
    except OSError:
        return 0


if __name__ == "__main__":
    main()
