"""`insight osv`: the database of known vulnerabilities on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from insight_cloud.cli._output import emit, json_option, say, statuses

if TYPE_CHECKING:
    from insight_cloud.app.detectors.advisories import State

__all__ = ["command"]

_SECONDS = 60.0


@click.group(name="osv", epilog=statuses(3, 4, 6, 7))
def command() -> None:
    """Keep the known vulnerabilities of packages, which `insight analyze` looks up, here."""


@command.command(epilog=statuses(4, 6))
@click.option(
    "--from",
    "given",
    metavar="URL|FILE|FOLDER",
    help="A mirror, or archives that were brought here.  [default: osv.url of the settings]",
)
@click.option(
    "--config", type=click.Path(path_type=Path), help="Settings file.  [default: insight.toml]"
)
@json_option
def sync(given: str | None, config: Path | None, *, as_json: bool) -> None:
    """Make the database anew from OSV's archives, and put it in place as a whole.

    A mirror has `PyPI/all.zip` and `npm/all.zip`; a FOLDER has zip files; a FILE is one. Without
    the internet: fetch the archives elsewhere, bring them here, and name them. When anything
    fails, the database stays as it was.
    """
    from insight_cloud import settings as settings_module

    settings = settings_module.load(config)
    state = asyncio.run(_synced(settings, given))
    emit(_shown(state), as_json=as_json, human=lambda: click.echo(_line(state)))


@command.command(epilog=statuses(3, 7))
@json_option
def status(*, as_json: bool) -> None:
    """Say how old the database is, and how much it knows."""
    from insight_cloud.app.detectors.advisories import Database
    from insight_cloud.core import places

    with contextlib.closing(Database(places.advisories())) as database:
        state = database.state
    emit(_shown(state), as_json=as_json, human=lambda: click.echo(_line(state)))


async def _synced(settings: Any, given: str | None) -> State:
    from insight_cloud.app.detectors import advisories
    from insight_cloud.core import places

    source = given or settings.osv.url
    with tempfile.TemporaryDirectory(prefix="insight-osv-") as folder:
        if source.startswith(("https://", "http://")):
            archives = await _fetched(settings, source.rstrip("/"), Path(folder))
        else:
            archives = _brought(Path(source))
        return await asyncio.to_thread(
            advisories.build, archives, places.own_advisories(), source=source
        )


def _brought(path: Path) -> list[Path]:
    from insight_cloud.core.errors import Missing

    archives = sorted(path.rglob("*.zip")) if path.is_dir() else [path]
    if not archives or not archives[0].is_file():
        raise Missing(f"there is no archive at {path}: name a zip file of OSV, or their folder")
    return archives


async def _fetched(settings: Any, url: str, folder: Path) -> list[Path]:
    import httpx

    from insight_cloud.core.errors import Unavailable

    archives = []
    async with httpx.AsyncClient(timeout=_SECONDS, follow_redirects=False) as client:
        for ecosystem in settings.osv.ecosystems:
            say(f"fetching {url}/{ecosystem}/all.zip")
            archive = folder / f"{ecosystem}.zip"
            try:
                await _fetch(
                    client, f"{url}/{ecosystem}/all.zip", archive, settings.osv.archive_bytes
                )
            except httpx.HTTPError as error:
                why = str(error) or type(error).__name__
                raise Unavailable(f"cannot fetch {url}/{ecosystem}/all.zip: {why}") from error
            archives.append(archive)
    return archives


async def _fetch(client: Any, url: str, archive: Path, limit: int) -> None:
    from insight_cloud.core.errors import TooLarge, Unavailable

    size = 0
    async with client.stream("GET", url) as answer:
        if answer.status_code != 200:
            raise Unavailable(f"{url} answered {answer.status_code}")
        with archive.open("wb") as stream:
            async for chunk in answer.aiter_bytes():
                size += len(chunk)
                if size > limit:
                    raise TooLarge(f"{url} is larger than {limit:,} bytes (osv.archive_bytes)")
                stream.write(chunk)


def _line(state: State) -> str:
    made = f"{state.made_at:%Y-%m-%d %H:%M} UTC"
    return f"{state.advisories:,} advisories, as of {made}, from {state.source}"


def _shown(state: State) -> dict[str, Any]:
    return {
        "made_at": state.made_at,
        "advisories": state.advisories,
        "source": state.source,
    }
