"""`insight gate`: ask the server how a branch, a pull request or a commit did."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from insight_cloud.cli._output import emit, json_option, statuses

__all__ = ["command"]

_STATUS = {"passed": 0, "failed": 1, "incomplete": 3}
_SIGNS = {True: ("ok", "green"), False: ("no", "red")}


@click.command(
    epilog=statuses(
        4, 6, s0="passed", s1="failed", s3="incomplete: a tool did not finish; or not found"
    )
)
@click.option("--project", help="Project on the server.  [default: from insight.toml or Git]")
@click.option("--branch", help="Branch to ask about.  [default: from Git]")
@click.option("--pr", type=click.IntRange(min=1), help="Pull request to ask about, instead.")
@click.option("--commit", help="Only this commit.  [default: the newest that was analysed]")
@click.option("--server", help="Server URL.  [default: the one signed in to]")
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    *,
    project: str | None,
    branch: str | None,
    pr: int | None,
    commit: str | None,
    server: str | None,
    as_json: bool,
) -> None:
    """Say whether the quality gate is passed, and exit accordingly."""
    found = asyncio.run(_asked(project, branch, pr, commit, server))
    result = found["result"]

    def human() -> None:
        click.echo(f"{found['branch']} at {found['commit'][:12] or 'no commit'}")
        for one in result["outcomes"]:
            click.echo(_line(one))
        if result["grade"]:
            grade = result["grade"]
            click.echo(f"grade {grade['letter']}: {grade['score']:g} = {grade['formula']}")
        colour = {"passed": "green", "failed": "red"}.get(result["verdict"], "yellow")
        click.secho(result["verdict"], fg=colour, bold=True)

    emit(found, as_json=as_json, human=human)
    ctx.exit(_STATUS[result["verdict"]])


def _line(outcome: dict[str, Any]) -> str:
    import msgspec

    from insight_cloud.app.gates.judge import say
    from insight_cloud.app.gates.models import Condition

    words = say(msgspec.convert(outcome["condition"], Condition))
    if outcome["skipped"]:
        return f"  --  {words} (not judged: {outcome['skipped']})"
    sign, colour = _SIGNS[outcome["passed"]]
    return f"  {click.style(sign, fg=colour)}  {words} (found: {outcome['found']})"


async def _asked(
    project: str | None, branch: str | None, pr: int | None, commit: str | None, server: str | None
) -> dict[str, Any]:
    from insight_cloud import settings
    from insight_cloud.app.client import Client
    from insight_cloud.cli import _checkout

    place = await _checkout.describe(Path(), project=project, branch=branch, commit=commit)
    wanted = {"pr": pr, "commit": commit, "branch": None if pr else place.branch}
    async with Client.from_settings(settings.load(), server) as client:
        found: dict[str, Any] = await client.call(
            "GET",
            f"/api/v1/projects/{place.project}/gate/result",
            params={name: value for name, value in wanted.items() if value},
        )
    return found
