"""`insight database`: bring the schema up to date, and see where it stands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from insight_cloud.cli._output import emit, json_option, say, statuses

if TYPE_CHECKING:
    from insight_cloud.core.plan import Plan
    from insight_cloud.core.report import Report
    from insight_cloud.database import Pool

__all__ = ["command"]

_config = click.option(
    "--config", type=click.Path(path_type=Path), help="Settings file.  [default: insight.toml]"
)


@click.group(epilog=statuses(1, 5, 6, 7))
def command() -> None:
    """Bring the database's schema up to date, and see where it stands."""


@command.command(epilog=statuses(5, 6, 7))
@click.option("--plan", "plan_only", is_flag=True, help="Print what would be done, do nothing.")
@_config
@json_option
def migrate(config: Path | None, *, plan_only: bool, as_json: bool) -> None:
    """Run the migrations that the database has not seen, each in a transaction of its own."""
    changes = asyncio.run(_migrate(config, plan_only=plan_only))
    emit(tuple(changes), as_json=as_json, human=lambda: click.echo(str(changes)))
    if not plan_only:
        say("The schema is up to date.")


@command.command(epilog=statuses(1, 5, 6))
@_config
@json_option
@click.pass_context
def status(ctx: click.Context, config: Path | None, *, as_json: bool) -> None:
    """Ask the database: how fast does it answer, which version, which migrations."""
    report = asyncio.run(_status(config))

    def human() -> None:
        for check in report.checks:
            click.echo(f"{check.status:4}  {check.name:20}  {check.detail}")

    emit(report.as_dict(), as_json=as_json, human=human)
    if report.failed:
        ctx.exit(1)


async def _migrate(config: Path | None, *, plan_only: bool) -> Plan:
    from insight_cloud.app.jobs import schema
    from insight_cloud.core.plan import Plan
    from insight_cloud.database import migrations

    async with _pool(config) as pool:
        if plan_only:
            ours = migrations.plan(await migrations.read(pool), migrations.wanted(_directory()))
            return Plan((*ours, *await schema.plan(pool)))
        ours = await migrations.apply(pool, _directory())
        return Plan((*ours, *await schema.apply(pool)))


async def _status(config: Path | None) -> Report:
    from insight_cloud.core.report import Report
    from insight_cloud.database import check

    async with _pool(config) as pool:
        return Report.of(await check(pool, migrations_directory=_directory()))


def _directory() -> Path:
    """Where the product's migrations are; its web half, which knows too, is slow to import."""
    from insight_cloud import app

    return Path(app.__path__[0]) / "migrations"


@asynccontextmanager
async def _pool(config: Path | None) -> AsyncIterator[Pool]:
    from insight_cloud import settings, wiring

    async with wiring.opened(settings.load(config)) as components:
        yield components.pool
