"""Start the process that makes the requests, hear how it goes, and bring the result back."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import secrets
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import msgspec

from insight_cloud.core.errors import Invalid, Missing, Unavailable
from insight_cloud.load.figures import Figures
from insight_cloud.load.scenario import Scenario

__all__ = ["Progress", "Tell", "join", "run"]

_LINE_BYTES = 64 * 1024 * 1024
_GOODBYE_SECONDS = 10
_STOP_SECONDS = 60
_MOST_WORKERS = 64


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a run is."""

    seconds: float
    of: float
    requests: int
    failed: int
    per_second: int
    p95_ms: float
    lag_ms: float
    cpu_percent: float


Tell: TypeAlias = Callable[[Progress], None]


async def run(
    scenario: Scenario,
    target: str,
    *,
    tell: Tell | None = None,
    workers: int = 0,
    listen: tuple[str, int] | None = None,
    expect: int = 0,
    patience_seconds: float = 60,
    ca_file: Path | None = None,
) -> Figures:
    """Load `target` as `scenario` says.

    With `workers`, so many processes on this machine make the requests; with `listen`, `expect`
    more that `join` there from other machines. What they exchange is neither encrypted nor
    authenticated: listen only in a network of your own. Cancelled, it stops the run and returns
    what there is, with `interrupted` set.

    Raises:
        Invalid: `target` is no URL of a site.
        Missing: Locust is not installed.
        Unavailable: the generator failed, or workers did not come.
    """
    order = {
        "role": "leader" if workers or expect else "alone",
        "test": {
            "scenario": msgspec.to_builtins(scenario),
            "target": _site(target),
            "run": secrets.token_hex(4),
            "ca_file": None if ca_file is None else str(ca_file),
        },
        "workers": workers + expect,
        "patience_seconds": patience_seconds,
    }
    if not 0 <= workers <= _MOST_WORKERS or expect < 0:
        raise Invalid(f"workers are between 0 and {_MOST_WORKERS}")
    if listen is not None:
        order |= {"host": listen[0], "port": listen[1]}
    async with contextlib.AsyncExitStack() as stack:
        engine = await stack.enter_async_context(_engine(order))
        return await _result(engine, stack, workers, tell)


async def join(host: str, port: int, *, patience_seconds: float = 60) -> None:
    """Make requests for the run that listens on `host` and `port`, until it ends.

    Raises:
        Missing: Locust is not installed.
        Unavailable: nobody listens there, or the generator failed.
    """
    async with _engine(_worker_order(host, port, patience_seconds)) as engine:
        async for event in _events(engine):
            if event["event"] == "left":
                return
    raise Unavailable(f"the load test on {host}:{port} ended before this worker had")


def _worker_order(host: str, port: int, patience_seconds: float) -> dict[str, Any]:
    return {"role": "worker", "host": host, "port": port, "patience_seconds": patience_seconds}


async def _result(
    engine: asyncio.subprocess.Process,
    stack: contextlib.AsyncExitStack,
    workers: int,
    tell: Tell | None,
) -> Figures:
    """Follow the events to the result; asked to stop, stop the run and wait for what there is."""
    events = _events(engine)
    following = asyncio.ensure_future(_follow(events, stack, workers, tell))
    try:
        return await asyncio.shield(following)
    except asyncio.CancelledError:
        _order_stop(engine)
        async with asyncio.timeout(_STOP_SECONDS):
            return await following


async def _follow(
    events: AsyncIterator[dict[str, Any]],
    stack: contextlib.AsyncExitStack,
    workers: int,
    tell: Tell | None,
) -> Figures:
    async for event in events:
        kind = event.pop("event")
        if kind == "listening":
            for _ in range(workers):
                order = _worker_order(event["host"], event["port"], _GOODBYE_SECONDS)
                worker = await stack.enter_async_context(_engine(order))
                stack.push_async_callback(_cancelled, asyncio.ensure_future(_drain(worker)))
        elif kind == "progress" and tell is not None:
            tell(msgspec.convert(event, Progress))
        elif kind == "result":
            return msgspec.convert(event["figures"], Figures)
    raise Unavailable("the load generator ended without a result")


async def _cancelled(task: asyncio.Future[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, Unavailable):
        await task


async def _drain(worker: asyncio.subprocess.Process) -> None:
    """Read what a worker says, or it would wait for somebody who does."""
    async for _ in _events(worker):
        pass


def _order_stop(engine: asyncio.subprocess.Process) -> None:
    assert engine.stdin is not None  # noqa: S101 - we asked for a pipe
    with contextlib.suppress(OSError):
        engine.stdin.write(b"stop\n")


async def _events(engine: asyncio.subprocess.Process) -> AsyncIterator[dict[str, Any]]:
    """What the process says, until it ends. Raises `Unavailable` when it failed."""
    assert engine.stdout is not None  # noqa: S101 - see above
    assert engine.stderr is not None  # noqa: S101
    complaints = asyncio.ensure_future(engine.stderr.read())
    try:
        while line := await engine.stdout.readline():
            event = msgspec.json.decode(line, type=dict[str, Any])
            if event["event"] == "error":
                raise Unavailable(f"the load test did not begin: {event['message']}")
            yield event
        if await engine.wait():
            said = (await complaints).decode("utf-8", "replace").strip()[-1500:]
            raise Unavailable(f"the load generator ended with status {engine.returncode}: {said}")
    finally:
        complaints.cancel()


@contextlib.asynccontextmanager
async def _engine(order: dict[str, Any]) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that has its order. Its standard input is its life: it ends with it."""
    if importlib.util.find_spec("locust") is None:
        raise Missing("Locust is not installed: pip install 'insight-cloud[load]'")
    engine = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "insight_cloud.load.engine"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=_LINE_BYTES,
        start_new_session=True,  # Ctrl-C is ours to pass on, as a wish for the figures so far
    )
    assert engine.stdin is not None  # noqa: S101 - see above
    try:
        engine.stdin.write(msgspec.json.encode(order) + b"\n")
        await engine.stdin.drain()
        yield engine
    finally:
        engine.stdin.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GOODBYE_SECONDS):
                await engine.wait()
        if engine.returncode is None:
            engine.kill()
            await engine.wait()


def _site(target: str) -> str:
    """Scheme, host and port of `target`, checked before anything is asked of it."""
    parts = urlsplit(target.rstrip("/"))
    try:
        parts.port  # noqa: B018 - raises for what is none
    except ValueError as error:
        raise Invalid(f"{target!r} has no usable port") from error
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise Invalid(f"{target!r} is no URL of a site, such as http://127.0.0.1:8000")
    if parts.username or parts.password:
        raise Invalid("a URL is seen by everybody on the machine: put no password into it")
    if parts.query or parts.fragment or parts.path:
        raise Invalid(f"{target!r}: paths belong into the scenario, or after --path")
    return target.rstrip("/")
