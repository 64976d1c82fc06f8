"""A site made ready to be deployed: images, assets, pages, compressed forms. Components meet."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from insight_cloud.cli._output import say

if TYPE_CHECKING:
    from insight_cloud.cdn import File
    from insight_cloud.settings import Settings

__all__ = ["read"]

_SECONDS = 300  # of CPU for one image with all its variants
_TEXTS = frozenset(
    {".html", ".htm", ".css", ".js", ".mjs", ".json", ".svg", ".txt", ".xml", ".webmanifest", ".md"}
)
_MOST_BYTES = 32 * 1024 * 1024


async def read(found: Settings, directory: Path, *, make: bool) -> tuple[File, ...]:
    """Return every file of the site; with `make`, after the steps that the settings name.

    Pages are built last, because they name the files that were hashed before:
    `images/images.json` and `assets/manifest.json` below `cdn.prepared` know them.

    Raises:
        Invalid: an image cannot be read, or the pages cannot be built.
        InsightError: what the components raise.
    """
    from insight_cloud.cdn import read_build

    wanted = found.cdn
    if make:
        await _make(found, directory)
    also = _places(found)
    rules = wanted.rules()
    if wanted.images is not None:  # their names hold what they were made from, and how
        rules = replace(rules, immutable=(*rules.immutable, f"{_address(wanted.images)}*"))
    files = await asyncio.to_thread(read_build, directory, rules, also)
    indexes = {wanted.prepared / "images/images.json", wanted.prepared / "assets/manifest.json"}
    return tuple(file for file in files if file.source not in indexes)


async def _make(found: Settings, directory: Path) -> None:
    wanted = found.cdn
    if wanted.images is not None:
        await _optimise(found, _folder(wanted.images), wanted.prepared / "images")
    if wanted.assets is not None:
        await asyncio.to_thread(_hash, _folder(wanted.assets), wanted.prepared / "assets")
    if wanted.build:
        await _build(wanted.build, wanted.build_seconds)
    if wanted.compress:
        await asyncio.to_thread(_compress, directory, wanted.prepared / "compressed")


def _places(found: Settings) -> Mapping[Path, str]:
    """Where what was made appears in the site, by its folder."""
    wanted = found.cdn
    places = {
        wanted.prepared / "images": _address(wanted.images) if wanted.images else None,
        wanted.prepared / "assets": _address(wanted.assets) if wanted.assets else None,
        wanted.prepared / "compressed": "" if wanted.compress else None,
    }
    return {folder: below for folder, below in places.items() if below is not None}


def _address(text: str) -> str:
    return text.partition("=")[0].removeprefix("/")


def _folder(text: str) -> Path:
    return Path(text.partition("=")[2])


async def _optimise(found: Settings, folder: Path, output: Path) -> None:
    """Make every width and format of what has changed."""
    from insight_cloud.core.errors import Invalid
    from insight_cloud.images import Choices, Limits, Outcome, Workers, batch

    limits = found.images
    choices = Choices()
    output.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - nobody else runs here
    sources = batch.read(folder, output, limits.source_bytes)
    planned = batch.plan(sources, batch.stored(output), choices)
    if not planned:
        return
    problems: list[str] = []

    def done(outcome: Outcome) -> None:
        say(f"image {outcome.source}")
        if outcome.problem:
            problems.append(f"{outcome.source}: {outcome.problem}")

    processes = os.cpu_count() or 1
    async with Workers(
        processes=processes,
        seconds=_SECONDS,
        limits=Limits(limits.source_bytes, limits.source_pixels, limits.source_side),
    ) as workers:
        await batch.apply(planned, folder, output, choices, workers, jobs=processes, done=done)
    if problems:
        raise Invalid("; ".join(sorted(problems)))


def _hash(folder: Path, output: Path) -> None:
    from insight_cloud.assets import Assets

    Assets.prepare(folder, kept=output)


async def _build(command: tuple[str, ...], seconds: float) -> None:
    from insight_cloud.core import process
    from insight_cloud.core.errors import Invalid
    from insight_cloud.settings import foreign_environment

    say(f"building: {' '.join(command)}")
    ended = await process.run(command, timeout_seconds=seconds, environment=foreign_environment())
    if ended.timed_out:
        raise Invalid(f"{command[0]} was not done after {seconds:g} s: {ended.stderr_tail}")
    if ended.status != 0:
        said = ended.stderr_tail or ended.stdout.decode("utf-8", "replace").strip()[-2000:]
        raise Invalid(f"{command[0]} ended with status {ended.status}: {said}")


def _compress(directory: Path, output: Path) -> None:
    """Put the forms of each text of the build into `output`, and nothing else."""
    from insight_cloud.assets import encode
    from insight_cloud.core import files

    suffixes = {"br": ".br", "zstd": ".zst", "gzip": ".gz"}
    output.mkdir(parents=True, exist_ok=True)
    wanted = set()
    for source in filter(_is_text, sorted(directory.rglob("*"))):
        for name, packed in encode(source.read_bytes()).items():
            place = output / f"{source.relative_to(directory)}{suffixes[name]}"
            if not source.with_name(place.name).exists():  # a build may bring its own
                wanted.add(place)
                files.write(place, packed)
    for old in output.rglob("*"):
        if old.is_file() and old not in wanted:
            old.unlink()


def _is_text(path: Path) -> bool:
    if path.suffix not in _TEXTS or path.is_symlink() or not path.is_file():
        return False
    return path.stat().st_size <= _MOST_BYTES
