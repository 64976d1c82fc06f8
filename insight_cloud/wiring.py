"""Settings in, open components out: the only place where components meet."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from insight_cloud.core.storage import Credentials
from insight_cloud.database import Pool, SlowQueries, embedded
from insight_cloud.settings import Settings

__all__ = ["Components", "database_directory", "database_url", "opened", "store_credentials"]

_POOL_SIZES = {"production": (5, 20), "development": (2, 10)}


@dataclass(frozen=True, slots=True)
class Components:
    """The open components of one process."""

    pool: Pool


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Components]:
    """Open every component that `settings` ask for; close them in reverse order."""
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(database_url(settings))
        pool = await stack.enter_async_context(_pool(settings, url))
        yield Components(pool)


@asynccontextmanager
async def database_url(settings: Settings) -> AsyncIterator[str]:
    """Yield the URL of the database: the one given, or that of the embedded server, running."""
    if settings.database.url is not None:
        yield settings.database.url.get_secret_value()
        return
    async with embedded.server(database_directory(settings)) as url:
        yield url


def database_directory(settings: Settings) -> Path:
    """Return where the embedded server keeps its data."""
    if settings.database.directory is not None:
        return settings.database.directory.absolute()
    if os.geteuid() == 0:
        return Path("/var/lib/insight/postgres")
    return Path.home() / ".local/share/insight/postgres"


def store_credentials(settings: Settings) -> Credentials:
    """Return who we are at the object stores."""
    given = settings.storage
    return Credentials(
        aws_access_key_id=given.aws_access_key_id or "",
        aws_secret_access_key=_secret(given.aws_secret_access_key),
        aws_session_token=_secret(given.aws_session_token),
        aws_region=given.aws_region or "",
        aws_endpoint_url=given.aws_endpoint_url or "",
        azure_connection_string=_secret(given.azure_connection_string),
        google_credentials=given.google_credentials,
        machine_identity=given.machine_identity,
    )


def _secret(value: SecretStr | None) -> str:
    return "" if value is None else value.get_secret_value()


def _pool(settings: Settings, url: str) -> Pool:
    database = settings.database
    smallest, largest = _POOL_SIZES[settings.server.environment]
    return Pool(
        url,
        min_size=smallest if database.min_size is None else database.min_size,
        max_size=database.max_size or largest,
        acquire_timeout_seconds=database.acquire_timeout_seconds,
        max_idle_seconds=database.max_idle_seconds,
        max_lifetime_seconds=database.max_lifetime_seconds,
        statement_timeout_seconds=database.statement_timeout_seconds,
        pgbouncer=database.pgbouncer,
        slow=SlowQueries(
            warn_seconds=database.slow_warn_seconds, error_seconds=database.slow_error_seconds
        ),
    )
