"""`insight privacy`: what may leave a machine at each level, and whether a file holds more."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from insight_cloud.cli._output import emit, json_option, say, statuses
from insight_cloud.cli._sending import LEVELS

if TYPE_CHECKING:
    from insight_cloud.app.privacy import Level

__all__ = ["command"]

_level = click.argument("level", type=click.Choice(LEVELS[:-1]))


@click.group(epilog=statuses(1))
def command() -> None:
    """Say what leaves a machine at each privacy level."""


@command.command(epilog=statuses())
@_level
def schema(level: Level) -> None:
    """Print the allow-list of LEVEL as a JSON Schema: what a body may hold, and nothing else."""
    from insight_cloud.app import privacy

    emit(privacy.schema(level), as_json=True, human=lambda: None)


@command.command(epilog=statuses(s1="it holds more"))
@_level
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@json_option
@click.pass_context
def check(ctx: click.Context, level: Level, file: Path, *, as_json: bool) -> None:
    """Say what FILE holds that LEVEL does not allow, by JSON pointers; at most 50."""
    from insight_cloud.app import privacy
    from insight_cloud.app.detectors import tokens
    from insight_cloud.core.errors import Invalid

    found: tuple[tuple[str, str], ...] = ()
    try:
        privacy.require(file.read_bytes(), level, tokens.find)
    except Invalid as error:
        found = error.problems

    def human() -> None:
        for pointer, what in found:
            click.echo(f"{pointer or '(the whole file)'}: {what}")
        say(f"{file} holds {'more' if found else 'no more'} than the level {level} allows")

    emit([{"pointer": p, "detail": d} for p, d in found], as_json=as_json, human=human)
    ctx.exit(1 if found else 0)
