"""What measuring costs each request, beside prometheus_client and OpenTelemetry, in one run.

    uv run python bench/middleware.py            # about a minute
    uv run python bench/middleware.py --short    # about 20 seconds
    uv run python bench/middleware.py --json figures.json

The peers are installed into an environment of their own. One route of Starlette is called in
process, without a server, so that nothing but the instrumentation differs. The order rotates and
the best of the rounds counts: what else the machine does disturbs all alike.

- `recorder`: the same few lines of middleware around each recorder: a clock, a histogram by
  method, route and status class.
- `Requests`: our middleware whole: that, and an id for the request in context, scope and response.
- `traces`: spans of a share of the requests, ours and those of OpenTelemetry's own ASGI
  instrumentation (without spans for each send and receive).
- `scrape`: four processes with 1,500 series each are read as one, as text.
- `dashboard`: the overview page of the service, as a signed-in person gets it, with the whole
  stack (telemetry, headers, CORS, who is asking, limits, compression, body limit) and with none of
  it, in turns, on the embedded PostgreSQL. What identifies the caller is part of both.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

ROOT = Path(__file__).resolve().parent.parent
PEERS = (
    "prometheus-client==0.26.0",
    "opentelemetry-instrumentation-asgi==0.66b2",
    "opentelemetry-sdk==1.45.2",
    "uvloop",
)
PROCESSES, SERIES = 4, 1500
Record: TypeAlias = Callable[[str, str, str, float], None]
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0)
ROUTE = "/projects/{slug}"


# -- the recorder ------------------------------------------------------------------------------


class Timed:
    """The lines that every recorder needs around it."""

    def __init__(self, app: Any, record: Record) -> None:
        self.app = app
        self.record = record

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        status = "2xx"

        async def telling(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = CLASSES[message["status"] // 100]
            await send(message)

        began = time.perf_counter()
        await self.app(scope, receive, telling)
        self.record(scope["method"], ROUTE, status, time.perf_counter() - began)


CLASSES = ("none", "1xx", "2xx", "3xx", "4xx", "5xx")


def candidates(directory: Path) -> dict[str, Any]:
    """Every way to measure, by name, around the same application."""
    import prometheus_client
    from opentelemetry.instrumentation.asgi import (  # type: ignore[import-not-found]
        OpenTelemetryMiddleware,
    )
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON

    from insight_cloud.telemetry import Recorder, Requests, Shared, Slow
    from insight_cloud.telemetry.tracing import Traces

    class Forgetting(InMemorySpanExporter):
        def export(self, spans: Any) -> Any:
            super().export(spans)
            self.clear()
            return super().export([])

    memory, shared = Recorder(), Recorder(Shared(directory))
    labels = ("method", "route", "status")
    registry = prometheus_client.CollectorRegistry()
    peer = prometheus_client.Histogram("x", "x", labels, buckets=BUCKETS, registry=registry)
    children: dict[tuple[str, str, str], Any] = {}

    def cached(method: str, route: str, status: str, seconds: float) -> None:
        key = (method, route, status)
        child = children.get(key)
        if child is None:
            child = children[key] = peer.labels(*key)
        child.observe(seconds)

    def ours(recorder: Recorder) -> Record:
        histogram = recorder.histogram("x_seconds", labels=labels)
        return lambda method, route, status, seconds: histogram.observe(
            seconds, (method, route, status)
        )

    app = application()
    off, on = TracerProvider(sampler=ALWAYS_OFF), TracerProvider(sampler=ALWAYS_ON)
    on.add_span_processor(BatchSpanProcessor(Forgetting()))
    traces = {
        share: Traces(Forgetting(), service="bench", share=share, route=lambda _: ROUTE)
        for share in (0.0, 1.0)
    }
    return {
        "none": app,
        "ours, recorder": Timed(app, ours(memory)),
        "ours, recorder shared": Timed(app, ours(shared)),
        "ours, Requests": Requests(app, memory, slow=Slow()),
        "ours, Requests shared": Requests(app, shared, slow=Slow()),
        "prometheus_client, cached": Timed(app, cached),
        "prometheus_client, labels()": Timed(
            app, lambda method, route, status, s: peer.labels(method, route, status).observe(s)
        ),
        "OpenTelemetry ASGI, sampler off": OpenTelemetryMiddleware(
            app, tracer_provider=off, exclude_spans=["send", "receive"]
        ),
        "OpenTelemetry ASGI, sampler on": OpenTelemetryMiddleware(
            app, tracer_provider=on, exclude_spans=["send", "receive"]
        ),
        "ours, traces, sampled none": traces[0.0].middleware(app),
        "ours, traces, sampled all": traces[1.0].middleware(app),
    }


def application() -> Any:
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    async def project(_: Any) -> Any:
        return PlainTextResponse("done")

    return Starlette(routes=[Route(ROUTE, project)])


async def per_request(app: Any, count: int) -> float:
    """Microseconds a request, over `count` of them."""

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(_: Any) -> None:
        pass

    began = time.perf_counter()
    for _ in range(count):
        await app(
            {
                "type": "http",
                "method": "GET",
                "path": "/projects/payments",
                "raw_path": b"/projects/payments",
                "root_path": "",
                "scheme": "http",
                "query_string": b"",
                "headers": [(b"host", b"127.0.0.1"), (b"accept", b"*/*")],
                "client": ("127.0.0.1", 5000),
                "server": ("127.0.0.1", 8000),
                "http_version": "1.1",
                "asgi": {"version": "3.0"},
            },
            receive,
            send,
        )
    return (time.perf_counter() - began) / count * 1e6


async def costs(rounds: int) -> dict[str, float]:
    """The best microseconds a request of each candidate, in rotating order."""
    with tempfile.TemporaryDirectory() as directory:
        apps = candidates(Path(directory))
        names, best = list(apps), dict.fromkeys(apps, float("inf"))
        for turn in range(rounds):
            for position in range(len(names)):
                name = names[(turn + position) % len(names)]
                best[name] = min(best[name], await per_request(apps[name], 400))
    return best


# -- the scrape --------------------------------------------------------------------------------


def fill_ours(directory: str, ready: Any, done: Any) -> None:
    sys.path.insert(0, str(ROOT))
    from insight_cloud.telemetry import Recorder, Shared

    histogram = Recorder(Shared(Path(directory)), series=2 * SERIES).histogram(
        "x_seconds", labels=("route",)
    )
    for number in range(SERIES):
        histogram.observe(0.003, (f"/{number}",))
    ready.wait(60)
    done.wait(120)


def fill_peer(directory: str, ready: Any, done: Any) -> None:
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = directory
    import prometheus_client

    histogram = prometheus_client.Histogram("x", "x", ("route",), buckets=BUCKETS)
    for number in range(SERIES):
        histogram.labels(f"/{number}").observe(0.003)
    ready.wait(60)
    done.wait(120)


def read_ours(directory: str) -> Callable[[], bytes]:
    from insight_cloud.telemetry import Recorder, Shared
    from insight_cloud.telemetry.exposition import render

    recorder = Recorder(Shared(Path(directory)))
    return lambda: render(recorder.read())


def read_peer(directory: str) -> Callable[[], bytes]:
    import prometheus_client
    from prometheus_client.multiprocess import MultiProcessCollector

    registry = prometheus_client.CollectorRegistry()
    MultiProcessCollector(registry, path=directory)  # type: ignore[no-untyped-call]
    return lambda: prometheus_client.generate_latest(registry)


def scrape(
    fill: Callable[..., None], reader: Callable[[str], Callable[[], bytes]], rounds: int
) -> dict[str, float]:
    """The best milliseconds of a reading, and what it says was observed."""
    context = multiprocessing.get_context("spawn")
    ready, done = context.Barrier(PROCESSES + 1), context.Event()
    with tempfile.TemporaryDirectory() as directory:
        workers = [
            context.Process(target=fill, args=(directory, ready, done)) for _ in range(PROCESSES)
        ]
        for worker in workers:
            worker.start()
        ready.wait(60)
        read, best, text = reader(directory), float("inf"), b""
        for _ in range(rounds):
            began = time.perf_counter()
            text = read()
            best = min(best, time.perf_counter() - began)
        done.set()
        for worker in workers:
            worker.join()
    observed = sum(
        float(line.rpartition(b" ")[2]) for line in text.splitlines() if b"_count{" in line
    )
    return {"ms": best * 1000, "observed": observed}


# -- the dashboard -----------------------------------------------------------------------------

PROJECTS, FINDINGS = 20, 40


async def dashboard(rounds: int, each: int = 20) -> dict[str, float]:
    """Milliseconds of one overview page with the stack and without: the median of all visits.

    The two are visited in turns, and who comes first changes: what else the machine does meets
    both alike. In blocks, one after the other, a busy machine made the stack faster than none.
    """
    from insight_cloud.database import Pool, embedded, migrations

    with tempfile.TemporaryDirectory(
        dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    ) as folder:
        os.chmod(folder, 0o711)  # noqa: PTH101 - no path of a request
        async with embedded.server(Path(folder) / "postgres") as url, Pool(url) as pool:
            from insight_cloud.app import web

            await migrations.apply(pool, web.MIGRATIONS)
            cookie, apps = await _services(pool)
            for app in apps.values():
                await _visit(app, cookie)
            taken: dict[str, list[float]] = {name: [] for name in apps}
            for turn in range(rounds * each):
                for name in sorted(apps, reverse=bool(turn % 2)):
                    began = time.perf_counter()
                    await _visit(apps[name], cookie)
                    taken[name].append((time.perf_counter() - began) * 1000)
    return {name: statistics.median(times) for name, times in taken.items()}


async def _services(pool: Any) -> tuple[str, dict[str, Any]]:
    """A service with projects in it: with the whole stack, and its routes alone."""
    from fastapi import FastAPI

    from insight_cloud.app import api, web
    from insight_cloud.app.accounts import COOKIE
    from insight_cloud.app.accounts import service as accounts
    from insight_cloud.app.analyses import service as analyses
    from insight_cloud.app.analyses.models import Upload
    from insight_cloud.settings import Settings
    from insight_cloud.wiring import Components

    settings, components = Settings(), Components(pool)
    apps = {name: web.create(settings, components) for name in ("stack", "bare")}
    for app in apps.values():
        app.state.context = api.Context.of(components, settings)
    context = apps["stack"].state.context
    password = "a long enough secret"
    await accounts.add_user(
        context, email="ada@example.org", name="Ada", password=password, is_admin=True
    )
    session = await accounts.sign_in(context, email="ada@example.org", password=password)
    caller = await accounts.identify(context, session.secret, "session")
    assert caller is not None
    for number in range(PROJECTS):
        await analyses.ingest(context, caller, f"project-{number}", Upload(), _log(number))
    apps["bare"].middleware_stack = FastAPI.build_middleware_stack(
        _without_middleware(apps["bare"])
    )
    return f"{COOKIE}={session.secret}", apps


def _without_middleware(app: Any) -> Any:
    app.user_middleware.clear()
    return app


def _log(seed: int) -> bytes:
    results = [
        {
            "ruleId": f"R{number % 7}",
            "level": ("error", "warning", "note")[number % 3],
            "message": {"text": f"finding {number} of {seed}"},
            "locations": [
                {
                    "physicalLocation": {
                        "artifactLocation": {"uri": f"src/module_{number % 9}.py"},
                        "region": {"startLine": number + 1},
                    }
                }
            ],
        }
        for number in range(FINDINGS)
    ]
    run = {"tool": {"driver": {"name": "bench"}}, "results": results}
    return json.dumps({"version": "2.1.0", "runs": [run]}).encode()


async def _visit(app: Any, cookie: str) -> None:
    status, size = 0, 0

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        nonlocal status, size
        status = message.get("status", status)
        size += len(message.get("body", b""))

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "root_path": "",
        "headers": [
            (b"host", b"127.0.0.1"),
            (b"cookie", cookie.encode()),
            (b"accept-encoding", b"gzip, deflate, br, zstd"),
            (b"sec-fetch-site", b"same-origin"),
        ],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    await app(scope, receive, send)
    assert (status, size > 2000) == (200, True), (status, size)


# -- the run -----------------------------------------------------------------------------------


def inside(*, short: bool) -> dict[str, Any]:
    """Everything, in the environment that has the peers."""
    import uvloop

    rounds = 15 if short else 60
    return {
        "us_per_request": uvloop.run(costs(rounds)),
        "scrape": {
            "ours": scrape(fill_ours, read_ours, 3 if short else 10),
            "prometheus_client": scrape(fill_peer, read_peer, 3 if short else 10),
        },
        "dashboard_ms": uvloop.run(dashboard(15 if short else 60)),
    }


def report(figures: dict[str, Any]) -> int:
    found = figures["us_per_request"]
    print(f"{'a request, Starlette in process':34} {'us':>8} {'added':>8}")
    for name, cost in found.items():
        print(f"{name:34} {cost:8.2f} {cost - found['none']:+8.2f}")
    print(f"\n{f'{PROCESSES} processes, {SERIES:,} series each':34} {'ms':>8} {'observed':>9}")
    for name, row in figures["scrape"].items():
        print(f"{name:34} {row['ms']:8.1f} {row['observed']:9,.0f}")
    pages = figures["dashboard_ms"]
    print(f"\n{'overview page':34} {'ms':>8} {'added':>8}")
    for name in ("bare", "stack"):
        print(f"{name:34} {pages[name]:8.3f} {pages[name] - pages['bare']:+8.3f}")
    scrapes = figures["scrape"]
    added = {name: cost - found["none"] for name, cost in found.items()}
    claims = [
        ("recorder, us a request", added["ours, recorder"], "<=", 2.0),
        ("recorder shared by processes, us", added["ours, recorder shared"], "<=", 2.0),
        (
            "recorder, times prometheus_client cached",
            added["ours, recorder"] / added["prometheus_client, cached"],
            "<=",
            1.0,
        ),
        (
            "Requests, times OpenTelemetry off",
            added["ours, Requests"] / added["OpenTelemetry ASGI, sampler off"],
            "<=",
            0.2,
        ),
        (
            "traces sampled none, times OpenTelemetry off",
            added["ours, traces, sampled none"] / added["OpenTelemetry ASGI, sampler off"],
            "<=",
            0.1,
        ),
        (
            "traces sampled all, times OpenTelemetry on",
            added["ours, traces, sampled all"] / added["OpenTelemetry ASGI, sampler on"],
            "<=",
            1.0,
        ),
        (
            "scrape, times prometheus_client",
            scrapes["ours"]["ms"] / scrapes["prometheus_client"]["ms"],
            "<=",
            1.0,
        ),
        (
            "stack, share of the dashboard request",
            (pages["stack"] - pages["bare"]) / pages["bare"],
            "<=",
            0.15,
        ),
        ("observations lost", PROCESSES * SERIES - scrapes["ours"]["observed"], "<=", 0.0),
    ]
    print()
    kept = True
    for name, value, sign, goal in claims:
        holds = value <= goal
        kept &= holds
        print(f"{name}: {value:.2f} (goal {sign} {goal:g}){'' if holds else ' MISSED'}")
    return 0 if kept else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--short", action="store_true", help="fewer rounds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    if arguments.inside:
        arguments.inside.write_text(json.dumps(inside(short=arguments.short)), encoding="utf-8")
        return 0
    uv = shutil.which("uv")
    if uv is None:
        print("uv is not installed", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "figures.json"
        words = [uv, "run", "--quiet", "--isolated", "--no-project", "--with-editable", str(ROOT)]
        words += [word for peer in PEERS for word in ("--with", peer)]
        words += ["python", __file__, "--inside", str(file)]
        done = subprocess.run([*words, *(["--short"] if arguments.short else [])], check=False)
        if done.returncode != 0:
            return 2
        figures = json.loads(file.read_text(encoding="utf-8"))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return report(figures)


if __name__ == "__main__":
    sys.exit(main())
