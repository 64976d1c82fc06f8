"""`insight diff`: what one result has that another has not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from insight_cloud.cli._fail import FailOn, fail_on_option
from insight_cloud.cli._output import emit, json_option, statuses

if TYPE_CHECKING:
    from insight_cloud.app.issues.compare import Difference
    from insight_cloud.app.sarif.model import Finding

__all__ = ["command"]

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(epilog=statuses(s0="compared", s1="a new finding of --fail-on or worse"))
@click.argument("old", type=_FILE)
@click.argument("new", type=_FILE)
@fail_on_option("Exit 1 for a new one of this severity or worse.")
@json_option
@click.pass_context
def command(
    ctx: click.Context, old: Path, new: Path, *, fail_on: FailOn | None, as_json: bool
) -> None:
    """Compare two SARIF logs, OLD and NEW, tool by tool.

    A finding is the same one when its lines or its file moved meanwhile, as on the server.
    """
    from insight_cloud.app.issues.compare import difference
    from insight_cloud.cli.analyze import read_log

    found = difference(read_log(old), read_log(new))

    def human() -> None:
        for one in found:
            _tell(one)
        new_ones, fixed = (sum(len(getattr(one, name)) for one in found) for name in _SIDES)
        click.echo(f"{new_ones} new, {fixed} fixed")

    emit(found, as_json=as_json, human=human)
    ctx.exit(int(bool(fail_on and fail_on.hit(f for one in found for f in one.new))))


_SIDES = ("new", "fixed")


def _tell(one: Difference) -> None:
    for sign, findings in (("+", one.new), ("-", one.fixed)):
        for finding in findings:
            colour = "red" if sign == "+" else "green"
            click.echo(f"{click.style(sign, fg=colour)} {_line(one.tool, finding)}")
    if one.unknown:
        click.echo(f"? {one.tool} did not finish, so nothing of it is called fixed")


def _line(tool: str, finding: Finding) -> str:
    place = finding.location
    where = "the project" if place is None else f"{place.path}:{place.line or 1}"
    text = f"{where}: {finding.severity} {finding.message} [{tool} {finding.rule}]"
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
