"""`insight tune`: what makes the service slow, how that is known, and what mends it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from insight_cloud.cli import _tune
from insight_cloud.cli._output import emit, json_option, say, statuses

if TYPE_CHECKING:
    from insight_cloud.cli._tune import Outcome

__all__ = ["command"]


@click.group(epilog=statuses(1, 3, 4, 5, 6, 7))
def command() -> None:
    """Find what makes the service slow; change it only with --apply.

    Each run writes a report (JSON and HTML) and compares it with the run before. The thresholds
    are in [performance] of the settings.
    """


def _common(function: Callable[..., None]) -> Callable[..., None]:
    """The options of every subject."""
    options = (
        click.option(
            "--config", type=click.Path(path_type=Path), help="Settings file.  [insight.toml]"
        ),
        click.option("--no-report", is_flag=True, help="Write no report and compare with none."),
        json_option,
    )
    for option in reversed(options):
        function = option(function)
    return function


@command.command(epilog=statuses(1, 4, 5, 6))
@click.option(
    "--url",
    callback=_tune.refuse_password,
    help="Another database, without a password in it.  [the service's own]",
)
@click.option(
    "--log",
    type=click.Path(path_type=Path),
    help="PostgreSQL's log with log_min_duration_statement: what runs, with values.",
)
@click.option(
    "--statements",
    type=click.Path(path_type=Path),
    help="What runs: SQL, each ended by a semicolon, or JSON with text, calls and total_ms.",
)
@click.option("--no-advice", is_flag=True, help="Propose no new indexes.")
@click.option(
    "--clone",
    callback=_tune.refuse_password,
    help="A copy, such as a restored backup, on which new indexes are tried out and removed.",
)
@click.option("--only", multiple=True, metavar="KIND", help="Mend this kind of finding only.")
@click.option("--apply", "apply", is_flag=True, help="Carry the plan out.")
@_common
@click.pass_context
def database(ctx: click.Context, *, as_json: bool, no_report: bool, **options: Any) -> None:
    """Look at a PostgreSQL: indexes, bloat, vacuum, sequences, locks, slow statements, settings.

    New indexes are proposed for the statements of pg_stat_statements, a log or a file. They are
    reckoned with by hypopg where the database has it, else in a throwaway PostgreSQL 18 that
    carries its statistics: nothing is asked of the database but its catalogue.
    """
    from insight_cloud.cli import _tune_database

    _finish(ctx, asyncio.run(_tune_database.run(**options)), as_json, no_report)


@command.command(epilog=statuses(3, 4, 5, 6))
@click.option(
    "--url",
    callback=_tune.refuse_password,
    help="Another database, without a password in it.  [the service's own]",
)
@click.option("--config", type=click.Path(path_type=Path), help="Settings file.  [insight.toml]")
@click.option("--yes", is_flag=True, help="Do it; without this the plan is printed.")
@click.argument("journal", type=click.Path(path_type=Path), required=False)
@json_option
def undo(
    url: str | None, config: Path | None, journal: Path | None, *, yes: bool, as_json: bool
) -> None:
    """Take back what `insight tune database --apply` has done, the last first.

    JOURNAL is the file that it has written; by default the newest in the folder of reports.
    """
    from insight_cloud.cli import _tune_database

    plan = asyncio.run(_tune_database.undo(url, config, journal, yes=yes))
    rows = [{"target": change.target, "statement": change.after} for change in plan]

    def human() -> None:
        for row in rows:
            click.echo(row["statement"])
        if not rows:
            click.echo("nothing to do")

    emit(rows, as_json=as_json, human=human)
    if rows and not yes:
        say("Nothing was changed: add --yes to do it.")


def _finish(ctx: click.Context, outcome: Outcome, as_json: bool, no_report: bool) -> None:  # noqa: FBT001 - two flags, passed on
    """Write the report, print, and say by the exit status whether a check failed."""
    saved = None if no_report else _tune.save(outcome)
    emit(_tune.data(outcome, saved), as_json=as_json, human=lambda: _tune.show(outcome, saved))
    if outcome.document.status == "fail":
        ctx.exit(1)
