"""`insight serve`: the web service on this machine, with everything it needs."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging.config
import os
import signal
import socket
import ssl
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from insight_cloud.cli._output import say, statuses
from insight_cloud.core.errors import INTERRUPTED, SettingsError, Unavailable

if TYPE_CHECKING:
    from insight_cloud.settings import Settings

__all__ = ["command"]


@click.command(epilog=statuses(5, 6))
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="Port; 0 takes a free one.")
@click.option("--workers", type=click.IntRange(1, 64), help="Web processes.  [default: 1]")
@click.option(
    "--config", type=click.Path(path_type=Path), help="Settings file.  [default: insight.toml]"
)
@click.pass_context
def command(
    ctx: click.Context, host: str | None, port: int | None, workers: int | None, config: Path | None
) -> None:
    """Start the service and print where it is.

    Without `DATABASE_URL` a PostgreSQL of its own is started, and stopped at the end. The
    schema is brought up to date. Until there is an administrator, a link is printed with
    which the first one makes an account; it works once.
    """
    from insight_cloud import settings as settings_module

    wanted = {"host": host, "port": port, "workers": workers}
    overrides = {name: value for name, value in wanted.items() if value is not None}
    settings = settings_module.load(config, overrides={"server": overrides})
    logging.config.dictConfig(_logging(settings))
    stopping = _Stopping()
    with _listening(settings) as listener, contextlib.suppress(asyncio.CancelledError):
        settings = _at_port(settings, listener.getsockname()[1])
        run = _one_process if settings.server.workers == 1 else _many_processes
        with _certificate(settings):
            run(settings, listener, stopping)
    ctx.exit(INTERRUPTED if stopping.interrupted else 0)


class _Stopping:
    """SIGINT and SIGTERM while there is no web server yet to take them.

    The web server takes over both, and raises them again when it has stopped. Their default
    actions would end us there, before the database is stopped: so from `serving` on they are
    only remembered.
    """

    def __init__(self) -> None:
        self.interrupted = False
        self.serving = False

    def listen(self) -> None:
        """Cancel the present task on a signal, until `serving`."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None  # noqa: S101 - we are called from one

        def stop(number: int) -> None:
            self.interrupted |= number == signal.SIGINT
            if not self.serving:
                task.cancel()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop, number)
        # "Read your certificate again", which happens by itself here; by default it would end us.
        loop.add_signal_handler(signal.SIGHUP, lambda: None)


@contextlib.contextmanager
def _listening(settings: Settings) -> Iterator[socket.socket]:
    """Bind before anything else is started: a taken port is the commonest mistake."""
    host, port = settings.server.host, settings.server.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    with contextlib.closing(listener):
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise Unavailable(
                f"cannot listen on {host} port {port}: {error.strerror}; choose another by --port"
            ) from error
        listener.listen(2048)
        listener.set_inheritable(True)
        yield listener


@contextlib.contextmanager
def _certificate(settings: Settings) -> Iterator[None]:
    """With TLS, renew the certificate and serve the plain HTTP port beside the web server."""
    if not settings.server.tls:
        yield
        return
    from insight_cloud import wiring
    from insight_cloud.tls import serving

    wanted, keeper = settings.tls, wiring.certificate_keeper(settings)
    if not wanted.names and keeper.store.current() is None:
        raise SettingsError(
            "server.tls is on, but there is no certificate, and no name to get one for: "
            'set tls.names = ["www.example.com"], or run `insight tls install`'
        )
    plain = serving.PlainHttp(keeper.store, names=wanted.names, https_port=settings.server.port)
    http = serving.listen(wanted.http_host, wanted.http_port) if wanted.http_port else None
    with serving.beside(
        keeper=keeper if wanted.names or wanted.method == "custom" else None,
        http=http,
        plain=plain,
        minutes=wanted.renew_minutes,
    ):
        yield


def _context(settings: Settings, *_: Any) -> ssl.SSLContext:
    """Make the context of one web process, which follows the certificate that is installed."""
    from insight_cloud import wiring
    from insight_cloud.tls import serving

    return serving.followed(wiring.certificate_store(settings), settings.tls.names)


def _at_port(settings: Settings, port: int) -> Settings:
    """Note the port that was taken, and the name under which people reach us over HTTPS."""
    found: dict[str, Any] = {"port": port}
    names = [name for name in settings.tls.names if not name.startswith("*.")]
    if settings.server.tls and names and settings.server.public_url is None:
        host = f"[{names[0]}]" if ":" in names[0] else names[0]
        found["public_url"] = f"https://{host}" + ("" if port == 443 else f":{port}")
    server = settings.server.model_copy(update=found)
    return settings.model_copy(update={"server": server})


def _one_process(settings: Settings, listener: socket.socket, stopping: _Stopping) -> None:
    import uvicorn

    from insight_cloud import wiring
    from insight_cloud.app import web

    async def serve() -> None:
        stopping.listen()
        async with wiring.opened(settings) as components:
            await _prepare(settings, components)
            stopping.serving = True
            _prepare_interpreter()
            server = uvicorn.Server(_config(partial(web.create, settings, components), settings))
            await server.serve(sockets=[listener])

    _runner().run(serve())


def _many_processes(settings: Settings, listener: socket.socket, stopping: _Stopping) -> None:
    """Keep the database open here, while the workers come and go."""
    from uvicorn.supervisors import Multiprocess

    from insight_cloud import wiring

    with _runner() as runner, _shared_metrics(settings) as ours:
        stack = contextlib.AsyncExitStack()

        async def begin() -> None:
            stopping.listen()
            await stack.enter_async_context(wiring.database_url(ours))
            async with wiring.opened(ours) as components:
                await _prepare(ours, components)

        try:
            runner.run(begin())
            stopping.serving = True
            config = _config(partial(_worker, ours, os.getpid()), ours)
            config.workers = ours.server.workers
            Multiprocess(config, sockets=[listener]).run()
        finally:
            runner.run(stack.aclose())


@contextlib.contextmanager
def _shared_metrics(settings: Settings) -> Iterator[Settings]:
    """Give the processes a directory for their common numbers, if the settings name none."""
    from insight_cloud import telemetry

    if settings.telemetry.metrics_directory is not None:
        yield settings
        return
    with telemetry.directory_in_memory() as directory:
        ours = settings.telemetry.model_copy(update={"metrics_directory": directory})
        yield settings.model_copy(update={"telemetry": ours})


def _worker(settings: Settings, parent: int) -> Any:
    """Build the application in a process of its own, which must not outlive `parent`."""
    from insight_cloud.app import web
    from insight_cloud.core import process

    process.end_with_parent(parent)
    app = web.create(settings)
    _prepare_interpreter()
    return app


def _prepare_interpreter() -> None:
    """Look for cycles less often, and let a page have the interpreter sooner.

    A large upload makes 100,000 objects and no cycle: looking for some was a sixth of its time.
    What the start has made stays, and is not looked at again. While a thread reads a log, each
    answer of the database would wait up to 5 ms for the interpreter, and a page needs several.
    """
    sys.setswitchinterval(0.001)
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def _runner() -> asyncio.Runner:
    """A runner on uvloop."""
    import uvloop

    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


def _logging(settings: Settings) -> dict[str, Any]:
    from insight_cloud.telemetry import logs

    return logs.config(settings.telemetry.log_format, settings.telemetry.log_level)


def _config(factory: Any, settings: Settings) -> Any:
    import uvicorn

    return uvicorn.Config(
        factory,
        factory=True,
        loop="uvloop",
        http="httptools",
        log_config=_logging(settings),
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=10,
        limit_concurrency=None,
        ssl_context_factory=partial(_context, settings) if settings.server.tls else None,
    )


async def _prepare(settings: Settings, components: Any) -> None:
    """Bring the schema up to date and say where everything is."""
    from insight_cloud.app import api, web
    from insight_cloud.app.accounts import service as accounts
    from insight_cloud.app.jobs import schema as queue_schema
    from insight_cloud.database import migrations

    done = [
        *await migrations.apply(components.pool, web.MIGRATIONS),
        *await queue_schema.apply(components.pool),
    ]
    for change in done:
        say(f"database: {change}")
    url = settings.server.url
    link = await accounts.first_admin_link(api.Context.of(components, settings))
    if settings.server.workers > 1 and components.limits.store is None:
        say(
            f"rate limits: each of the {settings.server.workers} processes counts by itself; "
            "set REDIS_URL to limit them together"
        )
    say(f"Insight Cloud is on {url}")
    if link is not None:
        say(f"Make the first administrator's account (once, within 24 hours): {url}/welcome/{link}")
