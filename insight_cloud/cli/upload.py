"""`insight upload`: send the logs of any tool."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from insight_cloud.cli import _sending
from insight_cloud.cli._output import emit, json_option, say, statuses
from insight_cloud.cli._sending import Body, privacy_options

if TYPE_CHECKING:
    from insight_cloud.app.client import Uploaded
    from insight_cloud.app.privacy import Level
    from insight_cloud.app.sarif.model import Run
    from insight_cloud.cli._checkout import Checkout
    from insight_cloud.settings import Settings

__all__ = ["command", "describe"]


@click.command(epilog=statuses(3, 4, 6))
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("--project", help="Project on the server.  [default: from insight.toml or Git]")
@click.option("--branch", help="Branch of the code.  [default: from Git]")
@click.option("--commit", help="Commit of the code.  [default: from Git]")
@click.option("--base", help="The branch that this one goes into: compare with it.")
@click.option("--pr", type=click.IntRange(min=1), help="Number of the pull request.")
@click.option("--lines", type=click.IntRange(min=0), help="Lines of code, for the grade.")
@click.option("--category", default="", help="Keeps several runs of one tool apart.")
@click.option(
    "--queue",
    type=click.Path(path_type=Path, file_okay=False),
    help="While the server is away, keep uploads in this folder and send them with the next one.",
)
@click.option("--server", help="Server URL.  [default: the one signed in to]")
@click.option("--as-is", is_flag=True, help="Send files unchanged, or refuse those with more.")
@privacy_options
@json_option
def command(
    files: tuple[Path, ...],
    *,
    project: str | None,
    branch: str | None,
    commit: str | None,
    base: str | None,
    pr: int | None,
    lines: int | None,
    category: str,
    queue: Path | None,
    server: str | None,
    as_is: bool,
    privacy: Level | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Send FILES, logs of any tool, and say what each of them changed.

    They are SARIF 2.1.0 or Code Climate. Only what the privacy level allows is sent: whatever
    else a log holds is taken out before. At the level `counts` all files make one upload.
    """
    from insight_cloud import settings
    from insight_cloud.cli import _checkout

    found = settings.load()
    place = asyncio.run(_checkout.describe(Path(), project=project, branch=branch, commit=commit))
    base_commit = asyncio.run(_checkout.merge_base(Path(), base)) if base or pr else ""
    about = {
        "category": category,
        "base": base,
        "base_commit": base_commit,
        "pr": pr,
        "lines": lines,
    }
    level = _sending.level_of(found, privacy)
    bodies = _bodies(files, level, place, about, found, as_is=as_is)
    if dry_run:
        for _, body in bodies:
            _sending.printed(body)
        return
    uploads = asyncio.run(_sent([body for _, body in bodies], found, server, queue))
    names = [name for name, _ in bodies]
    results = [
        {"file": name} | ({"waits": True} if upload is None else asdict(upload))
        for name, upload in zip(names, uploads, strict=True)
    ]

    def human() -> None:
        for name, upload in zip(names, uploads, strict=True):
            if upload is None:
                continue  # it was said when it was kept
            say(f"{name}: {describe(upload)}")
            click.echo(upload.url)

    emit(results, as_json=as_json, human=human)


def _bodies(
    files: Sequence[Path],
    level: Level,
    place: Checkout,
    about: dict[str, Any],
    settings: Settings,
    *,
    as_is: bool,
) -> list[tuple[str, Body]]:
    """Each body with the name of its file; all of them are made before the first is sent."""
    if as_is or level == "source":
        return [
            (str(file), _sending.checked(Body(file.read_bytes(), level, place, about)))
            for file in files
        ]
    logs = {str(file): _read(file) for file in files}
    if level == "counts":
        together = [run for runs in logs.values() for run in runs]
        return [(", ".join(logs), _sending.made(together, level, place, settings, **about))]
    return [
        (name, _sending.made(runs, level, place, settings, **about)) for name, runs in logs.items()
    ]


def _read(file: Path) -> tuple[Run, ...]:
    from insight_cloud.app.sarif import codeclimate, read

    data = file.read_bytes()
    log = (codeclimate.read if codeclimate.is_report(data) else read.log)(data)
    if log.warnings:
        passed = f"{len(log.warnings)} warning{'s' * (len(log.warnings) > 1)}"
        say(f"{file}: {passed}; `insight sarif check {file}` says more")
    return log.runs


async def _sent(
    bodies: Sequence[Body], settings: Settings, server: str | None, queue: Path | None
) -> list[Uploaded | None]:
    from insight_cloud.app.client import Client

    async with Client.from_settings(settings, server) as client:
        return [await _sending.send(client, body, queue) for body in bodies]


def describe(upload: Uploaded) -> str:
    """One line about what an upload changed."""
    changes = f"{upload.new} new, {upload.fixed} fixed, {upload.reopened} reopened"
    words = f"{changes}, {upload.unchanged} unchanged; {upload.open} open"
    if upload.verdict:
        words += f"; gate {upload.verdict}"
    if not upload.complete:
        words += "; incomplete: a tool failed"
    if upload.warnings_total:
        words += f"; {upload.warnings_total} warnings"
    return words
