"""`insight backup schedule`: let the machine's scheduler make the backups."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from insight_cloud.cli._output import emit, json_option, say, statuses
from insight_cloud.core.errors import CHECK_FAILED

if TYPE_CHECKING:
    from insight_cloud.core.plan import Plan
    from insight_cloud.core.report import Check
    from insight_cloud.core.schedule import Choice, Job, Scope
    from insight_cloud.settings import Settings

__all__ = ["schedule", "scheduled"]

_scope = click.option(
    "--scope",
    type=click.Choice(["system", "user"]),
    help="Whose scheduler.  [system for root, else user]",
)
_config = click.option("--config", type=click.Path(path_type=Path), help="Settings file.")
_plan = click.option("--plan", "plan_only", is_flag=True, help="Print what would be done.")


@click.group()
def schedule() -> None:
    """Make backups at their times: by systemd, cron, launchd or Windows.

    The times are backup.daily, backup.weekly and backup.monthly in the settings. A run that was
    missed is caught up; after each backup the retention is applied.
    """


@schedule.command("install", epilog=statuses(2, 3, 4, 6))
@_config
@_scope
@_plan
@click.option("--no-first", is_flag=True, help="Do not make the first backup at once.")
@json_option
@click.pass_context
def install(
    ctx: click.Context,
    config: Path | None,
    scope: Scope | None,
    *,
    plan_only: bool,
    no_first: bool,
    as_json: bool,
) -> None:
    """Install the jobs, or change them; make the first backup at once, and list the recent ones."""
    from insight_cloud import settings
    from insight_cloud.cli import backup

    jobs = _jobs(settings.load(config), config)
    changes = asyncio.run(_apply(jobs, scope, plan_only=plan_only))
    emit(tuple(changes), as_json=as_json, human=lambda: click.echo(str(changes)))
    if plan_only or no_first:
        return
    say("making the first backup")
    shared = {"config": config, "url": None, "name": None, "stores": ()}
    ctx.invoke(backup.create, type_="daily", prune=True, **shared)
    ctx.invoke(backup.list_, **shared)


@schedule.command("status", epilog=statuses(1, 3, 6))
@_config
@_scope
@json_option
def status(config: Path | None, scope: Scope | None, *, as_json: bool) -> None:
    """Say of each job whether it is installed, when it runs next, and how it ended last."""
    from insight_cloud import settings
    from insight_cloud.core.report import Report

    report = Report.of(asyncio.run(_status(_jobs(settings.load(config), config), scope)))

    def human() -> None:
        for check in report.checks:
            click.echo(f"{check.status:4}  {check.name:24}  {check.detail}")

    emit(report.as_dict(), as_json=as_json, human=human)
    if report.failed:
        raise SystemExit(CHECK_FAILED)


@schedule.command("uninstall", epilog=statuses(3, 4, 6))
@_scope
@_plan
@json_option
def uninstall(scope: Scope | None, *, plan_only: bool, as_json: bool) -> None:
    """Remove the jobs; the backups stay."""
    changes = asyncio.run(_apply((), scope, plan_only=plan_only))
    emit(tuple(changes), as_json=as_json, human=lambda: click.echo(str(changes)))


def _jobs(settings: Settings, config: Path | None) -> tuple[Job, ...]:
    from insight_cloud import wiring
    from insight_cloud.backup import schedules

    wanted = settings.backup
    return schedules.jobs(
        {"daily": wanted.daily, "weekly": wanted.weekly, "monthly": wanted.monthly},
        base=wanted.base,
        program=_program(),
        options=("--config", str(config.absolute())) if config else (),
        directory=Path.cwd(),
        writes=wiring.backup_writes(settings),
    )


async def scheduled(settings: Settings, config: Path | None) -> list[Check]:
    """When the jobs of this machine run next; where it has none, that is no failure."""
    from insight_cloud.core.errors import InsightError
    from insight_cloud.core.report import Check

    try:
        found = await _status(_jobs(settings, config), None)
    except InsightError as error:
        return [Check("schedule", "skip", str(error))]
    if all(check.detail.startswith("not installed") for check in found):
        advice = "no job on this machine: `insight backup schedule install`, unless another has it"
        return [Check("schedule", "skip", advice)]
    return found


def _program() -> tuple[str, ...]:
    """How a scheduler calls what runs here now."""
    program = shutil.which(sys.argv[0]) or sys.argv[0]
    if Path(program).name.startswith("insight"):
        return (str(Path(program).absolute()),)
    return (sys.executable, "-m", "insight_cloud.cli")


async def _apply(jobs: Sequence[Job], scope: Scope | None, *, plan_only: bool) -> Plan:
    from insight_cloud.backup import schedules
    from insight_cloud.core import schedule as scheduling

    choice = await _chosen(scope)
    changes = scheduling.plan(choice.scheduler, jobs, await choice.scheduler.read(schedules.GROUP))
    if not plan_only:
        await scheduling.apply(choice.scheduler, changes)
    say(f"{choice.scheduler.kind}: {choice.reason}")
    return changes


async def _status(jobs: Sequence[Job], scope: Scope | None) -> list[Check]:
    from datetime import UTC, datetime

    from insight_cloud.backup import schedules
    from insight_cloud.core import schedule as scheduling

    scheduler = (await _chosen(scope)).scheduler
    return await scheduling.check(scheduler, schedules.GROUP, jobs, datetime.now(UTC))


async def _chosen(scope: Scope | None) -> Choice:
    from insight_cloud.core import schedule as scheduling

    return await scheduling.choose(scope or scheduling.default_scope())
