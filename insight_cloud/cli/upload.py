"""`insight upload`: send the SARIF logs of any tool."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from insight_cloud.cli._output import emit, json_option, say, statuses

if TYPE_CHECKING:
    from insight_cloud.app.client import Uploaded
    from insight_cloud.cli._checkout import Checkout

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
    as_json: bool,
) -> None:
    """Send FILES, SARIF 2.1.0 logs, one after the other, and say what each of them changed."""
    from insight_cloud.cli import _checkout

    place = asyncio.run(_checkout.describe(Path(), project=project, branch=branch, commit=commit))
    about = {"category": category, "base": base, "pr": pr, "lines": lines}
    uploads = asyncio.run(_upload(files, place, about, server, queue))
    results = [
        {"file": str(file)} | ({"waits": True} if upload is None else asdict(upload))
        for file, upload in zip(files, uploads, strict=True)
    ]

    def human() -> None:
        for file, upload in zip(files, uploads, strict=True):
            if upload is None:
                continue  # it was said when it was kept
            say(f"{file}: {describe(upload)}")
            click.echo(upload.url)

    emit(results, as_json=as_json, human=human)


async def _upload(
    files: tuple[Path, ...],
    place: Checkout,
    about: dict[str, Any],
    server: str | None,
    queue: Path | None,
) -> list[Uploaded | None]:
    from insight_cloud import settings
    from insight_cloud.app.client import Client
    from insight_cloud.cli import _checkout, _queue

    base = about["base"]
    base_commit = await _checkout.merge_base(Path(), base) if base or about["pr"] else ""

    async with Client.from_settings(settings.load(), server) as client:
        return [
            await _queue.send(
                client,
                queue,
                await asyncio.to_thread(file.read_bytes),
                {
                    "project": place.project,
                    "branch": place.branch,
                    "commit": place.commit,
                    "base_commit": base_commit,
                    **about,
                },
            )
            for file in files
        ]


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
