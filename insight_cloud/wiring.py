"""Settings in, open components out: the only place where components meet."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from insight_cloud.database import Pool, SlowQueries, embedded
from insight_cloud.notify import Apprise, Channel, Mail, Notifier, Severity, Slack, Webhook
from insight_cloud.settings import Settings

__all__ = ["Components", "channels", "database_directory", "database_url", "notifier", "opened"]

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


def notifier(settings: Settings) -> Notifier:
    """Return what tells the operator; open it (`async with`) to have summaries sent."""
    found = channels(settings)
    return Notifier(
        [channel for channel, _ in found],
        minimum={channel.name: minimum for channel, minimum in found},
        repeat_seconds=settings.notify.repeat_seconds,
        burst=settings.notify.burst,
        deadline_seconds=settings.notify.deadline_seconds,
    )


def channels(settings: Settings) -> list[tuple[Channel, Severity]]:
    """Return each channel that `settings` ask for, with the mildest severity it gets."""
    notify = settings.notify
    found: list[tuple[Channel, Severity]] = []
    if notify.slack_webhook_url is not None:
        found.append((Slack(notify.slack_webhook_url.get_secret_value()), notify.slack_minimum))
    if notify.smtp_host is not None:
        found.append((_mail(settings, notify.smtp_host), notify.email_minimum))
    if notify.webhook_url is not None and notify.webhook_secret is not None:
        url, secret = notify.webhook_url, notify.webhook_secret
        hook = Webhook(url.get_secret_value(), secret.get_secret_value())
        found.append((hook, notify.webhook_minimum))
    names = {channel.name for channel, _ in found}
    for url in notify.apprise_urls:
        service = Apprise(url.get_secret_value())
        number = 2
        while service.name in names:  # two of one kind, or Slack by another way
            service.name = f"{service.name.partition('-')[0]}-{number}"
            number += 1
        names.add(service.name)
        found.append((service, notify.apprise_minimum))
    return found


def _mail(settings: Settings, host: str) -> Mail:
    notify = settings.notify
    password = notify.smtp_password
    return Mail(
        host,
        to=notify.email_to,
        sender=notify.email_from or "",
        port=notify.smtp_port,
        security=notify.smtp_security,
        username=notify.smtp_username,
        password=None if password is None else password.get_secret_value(),
    )
