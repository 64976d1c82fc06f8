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


@click.group()
def command() -> None:
    """The database: migrations and state."""


@command.command(epilog=statuses(5, 6, 7))
@click.option("--plan", "plan_only", is_flag=True, help="Show what would be done, and do nothing.")
@json_option
def migrate(*, plan_only: bool, as_json: bool) -> None:
    """Run the migrations that the database has not seen yet, each in a transaction."""
    changes = asyncio.run(_migrate(plan_only=plan_only))
    emit([str(change) for change in changes], as_json=as_json, human=lambda: click.echo(changes))
    if changes and not plan_only:
        say("The schema is up to date.")


@command.command(epilog=statuses(1, 6))
@json_option
@click.pass_context
def status(ctx: click.Context, *, as_json: bool) -> None:
    """Ask the database: how fast does it answer, which version, which migrations."""
    report = asyncio.run(_status())

    def human() -> None:
        for check in report.checks:
            click.echo(f"{check.status:4}  {check.name:22}  {check.detail}")

    emit(report.as_dict(), as_json=as_json, human=human)
    if report.status == "fail":
        ctx.exit(1)


async def _migrate(*, plan_only: bool) -> Plan:
    from insight_cloud.database import migrations

    async with _open() as pool:
        if not plan_only:
            return await migrations.apply(pool, _directory())
        return migrations.plan(await migrations.read(pool), migrations.wanted(_directory()))


async def _status() -> Report:
    from insight_cloud.core.report import Report
    from insight_cloud.database import check

    async with _open() as pool:
        return Report.of(await check(pool, migrations_directory=_directory()))


def _directory() -> Path:
    from insight_cloud import app

    return Path(app.__path__[0]) / "migrations"


@asynccontextmanager
async def _open() -> AsyncIterator[Pool]:
    from insight_cloud import settings, wiring

    async with wiring.database(settings.load().database) as pool:
        yield pool
