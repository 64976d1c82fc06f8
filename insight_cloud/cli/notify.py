"""`insight notify`: see where messages for the operator go, and try every channel."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from insight_cloud.cli._output import emit, json_option, say, statuses

if TYPE_CHECKING:
    from insight_cloud.core.report import Report
    from insight_cloud.notify import Channel, Severity

__all__ = ["command"]


@click.group()
def command() -> None:
    """See where messages for the operator go, and try every channel.

    Channels are set in the section [notify], or by SLACK_WEBHOOK_URL.
    """


@command.command("list", epilog=statuses())
@json_option
def list_(*, as_json: bool) -> None:
    """List the channels, and how bad a message must be to get there."""
    rows = [{"name": channel.name, "minimum": minimum} for channel, minimum in _channels()]

    def human() -> None:
        for row in rows:
            click.echo(f"{row['name']:12} {row['minimum']} and worse")
        if not rows:
            say("no channel is set: nobody is told anything; see the section [notify]")

    emit(rows, as_json=as_json, human=human)


@command.command(epilog=statuses(1))
@click.option("--channel", "names", multiple=True, help="Only this one; may be given repeatedly.")
@json_option
def test(names: tuple[str, ...], *, as_json: bool) -> None:
    """Send one message to every channel, whatever its minimum, and report each.

    A channel that fails is tried again like any other message, so this may take half a minute.
    """
    import logging

    from insight_cloud.core.errors import CHECK_FAILED, Missing, SettingsError

    # The report says it all; without a handler Python would print the log as well.
    logging.getLogger("insight_cloud.notify").addHandler(logging.NullHandler())
    found = [channel for channel, _ in _channels()]
    if not found:
        raise SettingsError(
            "no channel is set, so nobody is told anything; set SLACK_WEBHOOK_URL, or another "
            "channel in the section [notify]"
        )
    known = {channel.name for channel in found}
    if unknown := set(names) - known:
        raise Missing(f"there is no channel {min(unknown)}; there are: {', '.join(sorted(known))}")
    chosen = [channel for channel in found if not names or channel.name in names]
    say(f"sending a message to {', '.join(channel.name for channel in chosen)} ...")
    report = asyncio.run(_send(chosen))

    def human() -> None:
        for check in report.checks:
            name = check.name.removeprefix("notify.")
            # A failure names its channel by itself.
            click.echo(f"{name:12} {check.status}  {check.detail.removeprefix(f'{name}: ')}")

    emit(report.as_dict(), as_json=as_json, human=human)
    if report.failed:
        raise SystemExit(CHECK_FAILED)


async def _send(channels: list[Channel]) -> Report:
    from insight_cloud.notify import Message, Notifier

    message = Message(
        "Test message",
        "Somebody ran `insight notify test`. Nothing is wrong.",
        source="notify.test",
    )
    return await Notifier(channels).send(message)


def _channels() -> list[tuple[Channel, Severity]]:
    from insight_cloud import settings, wiring

    return wiring.channels(settings.load())
