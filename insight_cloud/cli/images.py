"""`insight images`: make a folder of images ready for the web, look at one, sign an address."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from insight_cloud.cli._output import emit, json_option, say, statuses

if TYPE_CHECKING:
    from insight_cloud.core.plan import Plan
    from insight_cloud.images import Catalogue, Choices, Limits

__all__ = ["command"]

_WIDTHS = "640,750,828,1080,1200,1920,2048,3840"
_SECONDS = 300  # of CPU for one image with all its variants


@click.group()
def command() -> None:
    """Make images smaller, in every width that a page needs."""


def _choices(function: Any) -> Any:
    options = (
        click.argument("folder", type=click.Path(path_type=Path)),
        click.option(
            "--output",
            type=click.Path(path_type=Path),
            help="Folder for the results; by default `_images` in FOLDER.",
        ),
        click.option("--widths", default=_WIDTHS, show_default=True, help="Widths in pixels."),
        click.option(
            "--formats", default="avif,webp,jpeg", show_default=True, help="Formats to write."
        ),
        click.option(
            "--quality",
            type=click.Choice(["thumbnail", "standard", "high"]),
            default="standard",
            show_default=True,
            help="60, 75 or 85 as WebP counts; the other formats look alike.",
        ),
        json_option,
    )
    for option in reversed(options):
        function = option(function)
    return function


@command.command(epilog=statuses(3, 4, 7))
@_choices
def plan(
    folder: Path, output: Path | None, widths: str, formats: str, quality: str, *, as_json: bool
) -> None:
    """Show what `optimize` would do."""
    choices = _read_choices(widths, formats, quality)
    planned, _ = _plan(folder, output or folder / "_images", choices)
    data = [{"verb": c.verb, "image": c.target, "reason": c.reason} for c in planned]
    emit(data, as_json=as_json, human=lambda: click.echo(str(planned)))


@command.command(epilog=statuses(1, 3, 4, 6, 7))
@_choices
@click.option("--jobs", type=click.IntRange(1, 64), help="Images at a time; one a processor.")
def optimize(
    folder: Path,
    output: Path | None,
    widths: str,
    formats: str,
    quality: str,
    *,
    as_json: bool,
    jobs: int | None,
) -> None:
    """Write every image of FOLDER in all widths and formats; nothing larger than the original.

    Originals stay as they are. What has not changed since the last time is not made again. An
    image that cannot be read is named, the others are made, and the exit status is 1.
    """
    choices = _read_choices(widths, formats, quality)
    output = output or folder / "_images"
    planned, before = _plan(folder, output, choices)
    after = before
    problems: dict[str, str] = {}
    if planned:
        after, problems = asyncio.run(_optimize(planned, folder, output, choices, jobs))
    made = {change.target for change in planned}
    rows = _rows(after, made)
    data = {
        "output": str(output),
        "images": rows,
        "problems": problems,
        "removed": [change.target for change in planned if change.verb == "delete"],
    }
    emit(data, as_json=as_json, human=lambda: _table(rows, len(planned), output))
    for source, problem in problems.items():
        say(f"{source}: {problem}")
    if problems:
        raise SystemExit(1)


@command.command(epilog=statuses(3, 4))
@click.argument("file", type=click.Path(path_type=Path))
@json_option
def inspect(file: Path, *, as_json: bool) -> None:
    """Say what FILE declares to be, and whether it would be accepted. Nothing is decoded."""
    from dataclasses import asdict

    from insight_cloud.core.errors import Missing
    from insight_cloud.images.header import read

    limits = _limits()
    try:
        with file.open("rb") as opened:
            data = opened.read(limits.size + 1)
    except OSError as error:
        raise Missing(f"cannot read {file}: {error.strerror}") from error
    header = read(data, limits)
    frames = f", {header.frames} frames" if header.frames > 1 else ""
    text = f"{header.format}, {header.width} × {header.height} pixels{frames}"  # noqa: RUF001
    emit(asdict(header), as_json=as_json, human=lambda: click.echo(text))


@command.command(epilog=statuses())
@click.argument("url")
@click.option("--days", type=click.IntRange(0), default=0, help="Days it counts; 0 for ever.")
@json_option
def sign(url: str, days: int, *, as_json: bool) -> None:
    """Sign the image at URL with the newest of `images.keys`; print what belongs in an address."""
    import time
    from urllib.parse import quote

    from insight_cloud import settings
    from insight_cloud.core.errors import SettingsError
    from insight_cloud.images import Signer

    keys = settings.load().images.keys
    if not keys:
        raise SettingsError("there is no key to sign with: set images.keys")
    expires = int(time.time()) + days * 86_400 if days else 0
    signature = Signer([key.get_secret_value() for key in keys]).sign(url, expires)
    query = f"url={quote(url, safe='/:')}&s={signature}" + (f"&exp={expires}" if expires else "")
    emit(
        {"url": url, "expires": expires, "signature": signature, "query": query},
        as_json=as_json,
        human=lambda: click.echo(query),
    )


def _read_choices(widths: str, formats: str, quality: str) -> Choices:
    from insight_cloud.core.errors import Invalid
    from insight_cloud.images import QUALITIES, Choices
    from insight_cloud.images.variants import parse_format

    try:
        wanted = tuple(sorted({int(width) for width in widths.split(",")}))
    except ValueError:
        wanted = ()
    if not wanted or wanted[0] < 1 or wanted[-1] > 16_384 or len(wanted) > 32:
        raise click.BadParameter("up to 32 numbers from 1 to 16384", param_hint="--widths")
    try:
        chosen = tuple(dict.fromkeys(parse_format(name.strip()) for name in formats.split(",")))
    except Invalid as error:
        raise click.BadParameter(str(error), param_hint="--formats") from error
    return Choices(wanted, chosen, QUALITIES[quality])


def _limits() -> Limits:
    from insight_cloud import settings
    from insight_cloud.images import Limits

    found = settings.load().images
    return Limits(found.source_bytes, found.source_pixels, found.source_side)


def _plan(folder: Path, output: Path, choices: Choices) -> tuple[Plan, Catalogue]:
    from insight_cloud.images import batch

    before = batch.stored(output)
    return batch.plan(batch.read(folder, output, _limits().size), before, choices), before


async def _optimize(
    planned: Plan, folder: Path, output: Path, choices: Choices, jobs: int | None
) -> tuple[Catalogue, dict[str, str]]:
    import os

    from insight_cloud.images import Outcome, Workers, batch

    problems: dict[str, str] = {}
    total = sum(change.verb != "delete" for change in planned)
    finished = 0

    def done(outcome: Outcome) -> None:
        nonlocal finished
        finished += 1
        if outcome.problem:
            problems[outcome.source] = outcome.problem
        say(f"[{finished}/{total}] {outcome.source}")

    processes = jobs or os.cpu_count() or 1
    workers = Workers(processes=min(processes, max(total, 1)), seconds=_SECONDS, limits=_limits())
    async with workers:
        after = await batch.apply(
            planned, folder, output, choices, workers, jobs=processes, done=done
        )
    return after, dict(sorted(problems.items()))


def _rows(catalogue: Catalogue, made: set[str]) -> list[dict[str, Any]]:
    return [
        {
            "image": source,
            "width": entry.width,
            "height": entry.height,
            "bytes": entry.bytes,
            "best_bytes": entry.best,
            "files": len(entry.files),
            "made": source in made,
        }
        for source, entry in sorted(catalogue.images.items())
    ]


def _table(rows: list[dict[str, Any]], changes: int, output: Path) -> None:
    if not changes:
        click.echo(f"nothing to do: {len(rows)} images are up to date in {output}")
        return
    wide = max([len(row["image"]) for row in rows] or [5])
    click.echo(f"{'image':{wide}}  {'before':>10}  {'after':>10}  {'saved':>5}  files")
    for row in rows:
        if row["made"]:
            click.echo(_line(row["image"], row["bytes"], row["best_bytes"], row["files"], wide))
    before, after = (sum(row[key] for row in rows) for key in ("bytes", "best_bytes"))
    click.echo(_line("all", before, after, sum(row["files"] for row in rows), wide))


def _line(name: str, before: int, after: int, files: int, wide: int) -> str:
    saved = 1 - after / before if before else 0
    return f"{name:{wide}}  {before:>10,}  {after:>10,}  {saved:>5.0%}  {files:>5}"
