"""`insight comment`: tell a pull request how it did, in one comment that is kept up to date."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from insight_cloud.cli._output import emit, json_option, say, statuses

if TYPE_CHECKING:
    from insight_cloud.cli._provider import Name

__all__ = ["command"]

_LISTED = 200


@click.command(epilog=statuses(3, 4, 6))
@click.option("--pr", required=True, type=click.IntRange(min=1), help="Number of the pull request.")
@click.option("--repository", required=True, metavar="OWNER/NAME", help="At the provider.")
@click.option(
    "--provider",
    type=click.Choice(("github", "gitlab")),
    default="github",
    show_default=True,
    help="Whose pull request it is.",
)
@click.option("--api", help="API of the provider.  [default: that of github.com or gitlab.com]")
@click.option("--project", help="Project on the server.  [default: from insight.toml or Git]")
@click.option("--server", help="Server URL.  [default: the one signed in to]")
@click.option("--summary", type=click.Path(path_type=Path), help="Append the same to this file.")
@click.option("--annotate", is_flag=True, help="Print at most ten annotations for GitHub.")
@json_option
def command(
    *,
    pr: int,
    repository: str,
    provider: Name,
    api: str | None,
    project: str | None,
    server: str | None,
    summary: Path | None,
    annotate: bool,
    as_json: bool,
) -> None:
    """Write what a pull request adds and fixes into one comment, and update it in place.

    The provider's token is client.provider_token: GITHUB_TOKEN, or
    INSIGHT_CLIENT__PROVIDER_TOKEN. The server's token needs the scope `read`.
    """
    from insight_cloud.cli import _comment

    found = asyncio.run(_told(pr, repository, provider, api, project, server))
    if summary is not None:
        with summary.open("a", encoding="utf-8") as out:
            out.write(found["body"])
    if annotate:
        for line in _comment.notices(found["issues"]):
            click.echo(line)
    data = {name: found[name] for name in ("result", "verdict", "new", "fixed", "commit")}
    words = f"{data['result']}: {data['new']} new, {data['fixed']} fixed, gate {data['verdict']}"
    emit(data, as_json=as_json, human=lambda: say(words))


async def _told(  # noqa: PLR0917 - the options of the command
    pr: int,
    repository: str,
    provider: Name,
    api: str | None,
    project: str | None,
    server: str | None,
) -> dict[str, Any]:
    from insight_cloud import settings
    from insight_cloud.app.client import Client
    from insight_cloud.cli import _checkout, _comment, _provider
    from insight_cloud.core.errors import SettingsError

    wanted = settings.load()
    token = wanted.client.provider_token
    if token is None:
        raise SettingsError("no token of the provider is known: set GITHUB_TOKEN")
    place = await _checkout.describe(Path(), project=project)
    async with Client.from_settings(wanted, server) as client:
        base = f"/api/v1/projects/{place.project}"
        pull = await client.call("GET", f"{base}/pulls/{pr}")
        gate = await client.call("GET", f"{base}/gate/result", params={"pr": pr})
        page = await client.call("GET", f"{base}/issues", params={"pr": pr, "limit": _LISTED})
        body = _comment.render(place.project, pull, gate, page["items"], client.server)
    async with _provider.Comments(
        provider, api or _provider.APIS[provider], repository, pr, token.get_secret_value()
    ) as comments:
        result = await comments.put(_comment.marker(place.project), body)
    return {
        "result": result,
        "verdict": gate["result"]["verdict"],
        "new": sum(count for count in pull["open"].values() if isinstance(count, int)),
        "fixed": pull["fixed"],
        "commit": pull["commit"],
        "body": body,
        "issues": page["items"],
    }
