"""`insight worker`: analyse what was handed in, on this machine, beside the web service."""

from __future__ import annotations

import asyncio
import contextlib
import logging.config
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from insight_cloud.cli._output import say, statuses
from insight_cloud.core.errors import INTERRUPTED, Refused

if TYPE_CHECKING:
    from insight_cloud.settings import Settings

__all__ = ["command"]


@click.command(epilog=statuses(4, 6))
@click.option(
    "--at-once", type=click.IntRange(1, 64), default=1, show_default=True, help="Jobs at a time."
)
@click.option(
    "--config", type=click.Path(path_type=Path), help="Settings file.  [default: insight.toml]"
)
@click.pass_context
def command(ctx: click.Context, config: Path | None, at_once: int) -> None:
    """Analyse what people hand in, in the sandbox, until it is stopped.

    Any number of workers on any machines share the work of one database. One that dies loses
    nothing: another one does its jobs again. A machine that cannot isolate foreign code is
    refused. What is running at the end gets five seconds to finish, and is done elsewhere if
    it does not.
    """
    from insight_cloud import settings as settings_module
    from insight_cloud.telemetry import logs

    settings = settings_module.load(config)
    telemetry = settings.telemetry
    logging.config.dictConfig(logs.config(telemetry.log_format, telemetry.log_level))
    interrupted = asyncio.run(_work(settings, at_once))
    ctx.exit(INTERRUPTED if interrupted else 0)


async def _work(settings: Settings, at_once: int) -> bool:
    """Work until a signal; return whether it was Ctrl-C."""
    from insight_cloud import wiring
    from insight_cloud.app import api
    from insight_cloud.app.sources import work

    sandbox = wiring.sandbox(settings)
    isolation = await sandbox.isolation()
    if not isolation.active:
        raise Refused(f"this machine cannot isolate foreign code: {isolation.detail}")
    ended, interrupted = asyncio.Event(), False

    def stop(number: int) -> None:
        nonlocal interrupted
        interrupted |= number == signal.SIGINT
        ended.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop, number)
    async with contextlib.AsyncExitStack() as stack:
        components = await stack.enter_async_context(wiring.opened(settings))
        context = api.Context.of(components, settings)
        await stack.enter_async_context(work.working(context, sandbox, at_once=at_once))
        say(f"working, {at_once} at a time: {isolation.detail}")
        await ended.wait()
    return interrupted
