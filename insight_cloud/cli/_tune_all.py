"""`insight tune all`: every subject that there is something of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from insight_cloud.cli._output import say

if TYPE_CHECKING:
    from pathlib import Path

    from insight_cloud.cli._tune import Outcome

__all__ = ["run"]


async def run(
    images: Path | None, bundle: Path | None, app: str | None, config: Path | None
) -> list[Outcome]:
    """One outcome of each subject; what was not named is said to be left out."""
    from insight_cloud import settings
    from insight_cloud.cli import _tune_database, _tune_memory, _tune_others

    wanted = settings.load(config)
    found = [
        await _tune_database.run(
            url=None, log=None, statements=None, no_advice=False, clone=None, only=(), apply=False,
            config=config,
        )
    ]  # fmt: skip
    if wanted.cache.url is not None:
        found.append(await _tune_others.cache(config))
    else:
        say("cache: left out, there is no Redis")
    if images is not None:
        found.append(_tune_others.images(images, None, config))
    else:
        say("images: left out, name a folder with --images")
    if bundle is not None:
        found.append(_tune_others.bundle(bundle, config))
    else:
        say("bundle: left out, name a folder with --bundle")
    if app is not None:
        found.append(
            await _tune_memory.run(
                app=app, factory=False, directory=".", paths=(), rate=200, seconds=110,
                config=config,
            )
        )  # fmt: skip
    else:
        say("memory: left out, name an application with --app")
    return found
