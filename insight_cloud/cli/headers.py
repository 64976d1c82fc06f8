"""`insight headers`: what the answers of a site say to browsers, as a score."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click

from insight_cloud.cli._output import emit, json_option, statuses
from insight_cloud.core.errors import CHECK_FAILED

if TYPE_CHECKING:
    from insight_cloud.headers import Score, Site

__all__ = ["command"]


@click.group()
def command() -> None:
    """Score the security headers of a site."""


@command.command(name="score", epilog=statuses(4, 6, s1="a score is below --at-least"))
@click.argument("urls", nargs=-1, required=True, metavar="URL...")
@click.option(
    "--at-least", type=click.IntRange(0, 145), default=0, help="Fail when a URL scores less."
)
@click.option(
    "--preloaded",
    multiple=True,
    metavar="DOMAIN",
    help="A domain on the browsers' HTTPS-only list, with its subdomains; may be repeated.",
)
@click.option(
    "--ca-file",
    type=click.Path(exists=True, dir_okay=False),
    help="Certificates to trust instead of the machine's.",
)
@json_option
@click.pass_context
def score(
    ctx: click.Context,
    urls: tuple[str, ...],
    *,
    at_least: int,
    preloaded: tuple[str, ...],
    ca_file: str | None,
    as_json: bool,
) -> None:
    """Score each URL by the ten tests of MDN's HTTP Observatory: 100 is A+, 145 the most."""
    found = asyncio.run(_score(urls, preloaded, ca_file))
    data = [
        {
            "url": url,
            "status": seen.main.status,
            "score": result.score,
            "grade": result.grade,
            "tests": [
                {"test": r.test, "outcome": r.outcome, "modifier": r.modifier, "reason": r.reason}
                for r in result.results
            ],
        }
        for url, (seen, result) in zip(urls, found, strict=True)
    ]
    emit(data, as_json=as_json, human=lambda: _print(data))
    if any(result.score < at_least for _, result in found):
        ctx.exit(CHECK_FAILED)


async def _score(
    urls: tuple[str, ...], preloaded: tuple[str, ...], ca_file: str | None
) -> list[tuple[Site, Score]]:
    from insight_cloud.headers import score as points
    from insight_cloud.headers import site

    sites = [await site.read(url, preloaded=preloaded, ca_file=ca_file) for url in urls]
    return [(seen, points(seen)) for seen in sites]


def _print(data: list[dict[str, Any]]) -> None:
    for scored in data:
        grade, points, status = scored["grade"], scored["score"], scored["status"]
        click.echo(f"{scored['url']}  {grade} {points}  (HTTP {status})")
        for test in scored["tests"]:
            click.echo(f"  {test['modifier']:+4d}  {test['test']:<30} {test['reason']}")
