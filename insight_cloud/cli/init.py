"""`insight init`: a settings file for the repository in this folder."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import click

from insight_cloud.cli._output import emit, json_option, say, statuses
from insight_cloud.core.errors import Conflict

__all__ = ["command"]


@click.command(epilog=statuses(5))
@click.option("--project", help="Project on the server.  [default: from Git]")
@click.option("--server", help="Server URL, so that nobody has to name it.")
@json_option
def command(project: str | None, server: str | None, *, as_json: bool) -> None:
    """Write insight.toml here: which project this repository is.

    A file that is there already is left as it is.
    """
    from insight_cloud.app.client import server_url
    from insight_cloud.cli import _checkout

    place = asyncio.run(_checkout.describe(Path(), project=project))
    lines = ["[project]", f"slug = {json.dumps(_checkout.slug(place.project))}"]
    if server:
        lines += ["", "[client]", f"server = {json.dumps(server_url(server))}"]
    file = Path("insight.toml")
    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write("\n".join(lines) + "\n")
    except FileExistsError as error:
        raise Conflict(f"{file} is there already; nothing was written") from error

    def human() -> None:
        say(f"Wrote {file} for project {place.project}. Next:")
        say("  insight analyze .            what is wrong, offline and without an account")
        say("  insight login URL            sign in to your server")
        say("  insight analyze . --upload   track it there")

    emit({"file": str(file), "project": place.project}, as_json=as_json, human=human)
