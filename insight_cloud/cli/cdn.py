"""`insight cdn`: send a built site to where people get it, and purge what caches hold of it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from insight_cloud.cli._output import emit, json_option, say, statuses

if TYPE_CHECKING:
    from insight_cloud.cdn import (
        Cloudflare,
        CloudFront,
        Deployment,
        Outcome,
        Site,
        Workers,
    )
    from insight_cloud.cdn.site import Progress
    from insight_cloud.core.report import Report
    from insight_cloud.settings import Settings

__all__ = ["command"]

_directory = click.argument(
    "directory", required=False, type=click.Path(path_type=Path, file_okay=False)
)

_no_build = click.option(
    "--no-build", is_flag=True, help="Make nothing: take what was made the last time."
)


@click.group()
def command() -> None:
    """Build a site, send it to a store or to Cloudflare Workers, and purge caches.

    What is made first is said by cdn.images, cdn.assets, cdn.build and cdn.compress, each of
    which may be left out. Only what changed is sent: files with a hash in their name first,
    pages last. The place is cdn.target, for example s3://bucket/prefix; the DIRECTORY is
    cdn.directory when it is left out.
    """


@command.command(epilog=statuses(3, 4, 6, 7))
@_directory
@_no_build
@json_option
def plan(directory: Path | None, *, no_build: bool, as_json: bool) -> None:
    """Show what `apply` would send, remove and purge; nothing of that is done."""
    deployment = asyncio.run(_plan(directory, make=not no_build))
    emit(_changes(deployment), as_json=as_json, human=lambda: _show(deployment))


@command.command(epilog=statuses(3, 4, 5, 6, 7))
@_directory
@_no_build
@json_option
def apply(directory: Path | None, *, no_build: bool, as_json: bool) -> None:
    """Build, send what changed, remove what nobody needs any more, purge, and notify.

    Whatever fails or is interrupted leaves a site that works; do it again. The operator is told
    by the channels of [notify].
    """
    deployment, outcome = asyncio.run(_apply(directory, make=not no_build))
    data = {**_changes(deployment), "outcome": outcome}
    emit(data, as_json=as_json, human=lambda: _show(deployment, outcome))


@command.command(epilog=statuses(4, 6))
@click.argument("urls", nargs=-1)
@click.option("--tag", "tags", multiple=True, help="What was sent with this Cache-Tag; repeatable.")
@click.option("--everything", is_flag=True, help="All that the caches hold of the zone.")
@json_option
def purge(urls: tuple[str, ...], tags: tuple[str, ...], *, everything: bool, as_json: bool) -> None:
    """Purge URLS, tags or everything from Cloudflare and CloudFront.

    `apply` purges what it changed by itself. CloudFront knows no tags. Softly, as cdn.purge
    says by default, an old copy is asked about and still sent when the origin is away.
    """
    if sum(map(bool, (urls, tags, everything))) != 1:
        raise click.UsageError("name URLS, or --tag, or --everything: one of them")
    for url in urls:
        if not url.startswith(("https://", "http://")):
            raise click.UsageError(f"{url!r} is no URL; write https://host/path")
    named = asyncio.run(_purge(urls, tags))
    data = {"purged": named, "urls": list(urls), "tags": list(tags), "everything": everything}
    what = f"{len(urls or tags)} {'addresses' if urls else 'tags'}" if urls or tags else "all"
    emit(data, as_json=as_json, human=lambda: click.echo(f"purged {what}: {', '.join(named)}"))


@command.command(epilog=statuses(1, 4, 6, 7))
@click.option("--verify", is_flag=True, help="Read every byte and compare it.")
@json_option
def status(*, verify: bool, as_json: bool) -> None:
    """Show what is deployed, and whether all of it is there."""
    from insight_cloud.core.errors import CHECK_FAILED

    report = asyncio.run(_status(verify=verify))

    def human() -> None:
        for check in report.checks:
            click.echo(f"{check.status:5} {check.name:15} {check.detail}")

    emit(report.as_dict(), as_json=as_json, human=human)
    if report.failed:
        raise SystemExit(CHECK_FAILED)


async def _plan(directory: Path | None, *, make: bool) -> Deployment:
    from insight_cloud.cdn import now
    from insight_cloud.cli import _site

    found, target = _opened()
    wanted = await _site.read(found, _chosen(found, directory), make=make)
    return target.plan(wanted, await target.read(), now())


async def _apply(directory: Path | None, *, make: bool) -> tuple[Deployment, Outcome]:
    from insight_cloud import wiring
    from insight_cloud.cdn import deploy, now
    from insight_cloud.cli import _site
    from insight_cloud.core.errors import InsightError
    from insight_cloud.notify import Message

    found, target = _opened()
    chosen = _chosen(found, directory)
    place = str(found.cdn.target)
    async with wiring.notifier(found) as notifier:

        async def notify(text: str, *, well: bool) -> None:
            message = (
                Message(place, text, severity="info", source="cdn.deployed")
                if well
                else Message(place, text, severity="error", source="cdn.failed")
            )
            await notifier.send(message)

        try:
            wanted = await _site.read(found, chosen, make=make)
        except InsightError as error:
            await notify(f"the site cannot be built: {error}", well=False)
            raise
        return await deploy(target, wanted, now(), notify=notify, progress=_progress())


async def _purge(urls: Sequence[str], tags: Sequence[str]) -> list[str]:
    from insight_cloud import settings, wiring
    from insight_cloud.core.errors import SettingsError

    found = settings.load()
    cloudflare, cloudfront = wiring.cloudflare_caches(found), wiring.cloudfront(found)
    if cloudflare is None and (cloudfront is None or tags):
        raise SettingsError(
            "no cache is known: set CLOUDFLARE_API_TOKEN and CLOUDFLARE_ZONE_ID"
            + (" (CloudFront knows no tags)" if tags else ", or cdn.cloudfront_distribution")
        )
    named = []
    if cloudflare is not None:
        await _purge_cloudflare(cloudflare, urls, tags)
        named.append("Cloudflare")
    if cloudfront is not None and not tags:
        await _purge_cloudfront(cloudfront, urls)
        named.append("CloudFront")
    return named


async def _purge_cloudflare(caches: Cloudflare, urls: Sequence[str], tags: Sequence[str]) -> None:
    if urls:
        await caches.purge(urls)
    elif tags:
        await caches.purge_tags(tags)
    else:
        await caches.purge_everything()


async def _purge_cloudfront(caches: CloudFront, urls: Sequence[str]) -> None:
    await caches.purge(urls or ["https://all/*"])  # of which only the path counts


async def _status(*, verify: bool) -> Report:
    from insight_cloud.cdn import now
    from insight_cloud.core.report import Report

    _, target = _opened()
    return Report.of(await target.check(await target.read(), now(), verify=verify))


def _opened() -> tuple[Settings, Site | Workers]:
    from insight_cloud import settings, wiring

    found = settings.load()
    return found, wiring.site(found)


def _chosen(found: Settings, directory: Path | None) -> Path:
    from insight_cloud.core.errors import SettingsError

    chosen = directory or found.cdn.directory
    if chosen is None:
        raise SettingsError("which site? name its DIRECTORY, or set cdn.directory")
    return chosen


def _progress() -> Progress:
    """One line that is written over, for a person who waits."""
    if not sys.stderr.isatty():
        return lambda _done, _total: None

    def show(done: int, total: int) -> None:
        share = 100 * done // total if total else 100
        end = "\n" if done == total else ""
        click.echo(
            f"\r{done / 1e6:8.1f} of {total / 1e6:.1f} MB sent ({share} %){end}", err=True, nl=False
        )

    return show


def _changes(deployment: Deployment) -> dict[str, Any]:
    return {
        "changes": [
            {"verb": one.verb, "target": one.target, "reason": one.reason}
            for one in deployment.changes
        ],
        "purge": list(deployment.changed),
    }


def _show(deployment: Deployment, outcome: Outcome | None = None) -> None:
    click.echo(str(deployment.changes))
    for url in deployment.changed:
        click.echo(f"    {url}")
    if outcome is not None and deployment.changes:
        say(str(outcome))
