"""A target from the settings of this program: where other components are asked for their part."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from insight_cloud.core.errors import SettingsError
from insight_cloud.launch.file import LaunchFile
from insight_cloud.launch.items import Checklist
from insight_cloud.launch.target import Cloudflare, Target, git_values
from insight_cloud.settings import Settings

__all__ = ["target"]


async def target(
    settings: Settings,
    file: LaunchFile,
    checklist: Checklist,
    *,
    url: str | None,
    folder: Path,
    now: datetime,
    timeout_seconds: float = 10.0,
) -> Target:
    """What is known of a deployment: by launch.toml, by `url`, and by the settings.

    Raises:
        SettingsError: the address is none.
    """
    address = (url or file.about.url or settings.server.public_url or "").rstrip("/")
    if address and (
        urlsplit(address).scheme not in {"http", "https"} or not urlsplit(address).hostname
    ):
        raise SettingsError(f"{address!r} is no address: it begins with https:// or http://")
    computed = await git_values(folder, file.about.release)
    if file.about.at is not None:
        computed["since"] = file.about.at.isoformat()
    redis = settings.cache.url
    return Target(
        now=now,
        checklist=checklist,
        file=file,
        url=address or None,
        database_url=_plain(settings.database.url),
        redis_url=_plain(redis),
        folder=folder,
        ca_file=_beside(folder, file.about.ca_file),
        cloudflare=_cloudflare(settings),
        backups=_backups(settings),
        edge_plan=_edge(settings),
        computed=computed,
        timeout_seconds=timeout_seconds,
    )


def _plain(value: Any) -> str | None:
    """The text of a setting, secret or not."""
    if value is None:
        return None
    return str(value.get_secret_value() if hasattr(value, "get_secret_value") else value)


def _beside(folder: Path, path: Path | None) -> Path | None:
    return None if path is None else folder / path


def _cloudflare(settings: Settings) -> Cloudflare | None:
    edge = settings.edge
    if edge.api_token is None or edge.zone_id is None:
        return None
    return Cloudflare(edge.api_url, edge.zone_id, edge.api_token.get_secret_value())


def _backups(settings: Settings) -> Callable[[], Awaitable[Any]] | None:
    if not settings.backup.stores:
        return None

    async def read() -> Any:
        from insight_cloud import wiring
        from insight_cloud.launch.probes import backups

        async with wiring.backups(settings, database=False) as job:
            return await backups.document(job)

    return read


def _edge(settings: Settings) -> Callable[[], Awaitable[Any]] | None:
    edge = settings.edge
    if edge.api_token is None or not re.fullmatch("[0-9a-f]{32}", edge.zone_id or ""):
        return None
    if not edge.file.exists():
        return None

    async def read() -> Any:
        from datetime import UTC

        from insight_cloud import wiring
        from insight_cloud.edge import Cloudflare as Api
        from insight_cloud.edge import Zone, compile_file, load_file, plan

        assert edge.api_token is not None  # noqa: S101 - see above
        file = load_file(edge.file)
        async with Api(
            edge.api_token.get_secret_value(),
            url=edge.api_url,
            timeout_seconds=edge.timeout_seconds,
            concurrency=edge.concurrency,
        ) as api:
            zone = Zone(api, edge.zone_id or "", snapshots=edge.snapshots)
            state = await zone.read(list(file.edge.settings))
            wanted = compile_file(
                file,
                today=datetime.now(UTC).date(),
                tiers=wiring.edge_tiers(settings),
                plan=state.zone.plan,
            )
            found = plan(state, wanted)
            return {"zone": found.zone, "changes": [*map(str, found.changes), *found.unavailable]}

    return read
