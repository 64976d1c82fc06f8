"""`insight export`: the issues of a project as a file for other programs."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import click

from insight_cloud.cli._output import say, statuses

__all__ = ["command"]

_EXTENSIONS = {
    "sarif": "sarif",
    "csv": "csv",
    "jsonl": "jsonl",
    "codeclimate": "codeclimate.json",
}
_SEVERITIES = ("critical", "high", "medium", "low", "info")


@click.command(epilog=statuses(3, 4, 6))
@click.option(
    "--format",
    "form",
    type=click.Choice(list(_EXTENSIONS)),
    default="sarif",
    show_default=True,
    help="How it is written.",
)
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Write it here.")
@click.option("--project", help="Project on the server.  [default: from insight.toml or Git]")
@click.option("--branch", help="Branch.  [default: the project's default branch]")
@click.option("--pr", type=click.IntRange(min=1), help="What this pull request adds, instead.")
@click.option(
    "--state",
    type=click.Choice(["open", "fixed", "all"]),
    default="open",
    show_default=True,
    help="Which issues.",
)
@click.option("--severity", type=click.Choice(_SEVERITIES), multiple=True, help="Only these.")
@click.option("--tool", help="Only of this tool.")
@click.option("--rule", help="Only of this rule.")
@click.option("--path", help="Only where the path begins so.")
@click.option("--suppressed", is_flag=True, help="Also those that do not count.")
@click.option("--server", help="Server URL.  [default: the one signed in to]")
def command(
    *, form: str, output: Path | None, project: str | None, server: str | None, **wanted: Any
) -> None:
    """Write the issues of a project out, all that fit, however many they are.

    A file is there whole or not at all. In CSV no cell is a formula.
    """
    asyncio.run(_export(_EXTENSIONS[form], output, project, server, wanted))


async def _export(
    extension: str,
    output: Path | None,
    project: str | None,
    server: str | None,
    wanted: dict[str, Any],
) -> None:
    from insight_cloud import settings
    from insight_cloud.app.client import Client
    from insight_cloud.cli import _checkout

    place = await _checkout.describe(Path(), project=project, branch="", commit="")
    path = f"/api/v1/projects/{place.project}/issues.{extension}"
    parameters = {name: value for name, value in wanted.items() if value}
    async with Client.from_settings(settings.load(), server) as client:
        parts = client.download(path, parameters)
        if output is None:
            async for part in parts:
                sys.stdout.buffer.write(part)
            return
        size = await _write(output, parts)
    say(f"{size:,} bytes written to {output}")


async def _write(output: Path, parts: AsyncIterator[bytes]) -> int:
    """Write beside the file and put it in place when it is whole."""
    new = output.with_name(f".{output.name}.{os.getpid()}")
    size = 0
    try:
        with new.open("wb") as file:
            async for part in parts:
                size += file.write(part)
            file.flush()
            os.fsync(file.fileno())
        new.replace(output)
    except OSError as error:
        raise click.BadParameter(
            f"cannot write {output}: {error.strerror}", param_hint="--output"
        ) from error
    finally:
        new.unlink(missing_ok=True)
    return size
