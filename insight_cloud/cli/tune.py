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
def database(ctx: click.Context, /, *, as_json: bool, no_report: bool, **options: Any) -> None:
    """Look at a PostgreSQL: indexes, bloat, vacuum, sequences, locks, slow statements, settings.

    New indexes are proposed for the statements of pg_stat_statements, a log or a file. They are
    reckoned with by hypopg where the database has it, else in a throwaway PostgreSQL 18 that
    carries its statistics: nothing is asked of the database but its catalogue.
    """
    from insight_cloud.cli import _tune_database

    _finish(ctx, asyncio.run(_tune_database.run(**options)), as_json, no_report)


@command.command(epilog=statuses(1, 3, 4, 7))
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--output", type=click.Path(path_type=Path), help="Folder of the results.  [FOLDER/_images]"
)
@_common
@click.pass_context
def images(
    ctx: click.Context,
    folder: Path,
    output: Path | None,
    config: Path | None,
    *,
    as_json: bool,
    no_report: bool,
) -> None:
    """Weigh the images of FOLDER as they are sent: which are large, which not made ready."""
    from insight_cloud.cli import _tune_others

    _finish(ctx, _tune_others.images(folder, output, config), as_json, no_report)


@command.command(epilog=statuses(1, 3, 4, 7))
@click.argument("folder", type=click.Path(path_type=Path))
@_common
@click.pass_context
def bundle(
    ctx: click.Context, folder: Path, config: Path | None, *, as_json: bool, no_report: bool
) -> None:
    """Weigh the stylesheets and scripts of FOLDER against the budgets of [assets]."""
    from insight_cloud.cli import _tune_others

    _finish(ctx, _tune_others.bundle(folder, config), as_json, no_report)


@command.command(epilog=statuses(1, 4, 6))
@_common
@click.pass_context
def cache(ctx: click.Context, config: Path | None, *, as_json: bool, no_report: bool) -> None:
    """Look at the Redis of [cache]: memory, evictions, hit rate, big and eternal keys, slow log."""
    from insight_cloud.cli import _tune_others

    _finish(ctx, asyncio.run(_tune_others.cache(config)), as_json, no_report)


@command.command(epilog=statuses(1, 4, 6, 7))
@click.option("--url", help="Where the service is.  [server.public_url]")
@_common
@click.pass_context
def service(
    ctx: click.Context, url: str | None, config: Path | None, *, as_json: bool, no_report: bool
) -> None:
    """Hold what a running service has measured of itself against the thresholds.

    Response times, errors and page speed (LCP, INP, CLS) come from its /metrics, which
    telemetry.metrics_token opens.
    """
    from insight_cloud.cli import _tune_others

    _finish(ctx, asyncio.run(_tune_others.service(url, config)), as_json, no_report)


@command.command(epilog=statuses(1, 4, 6))
@click.argument("app")
@click.option("--factory", is_flag=True, help="APP is a function that makes the application.")
@click.option(
    "--directory", default=".", show_default=True, help="Where modules are looked for first."
)
@click.option("--path", "paths", multiple=True, help="What is asked; may be repeated.  [/]")
@click.option(
    "--rate", type=click.FloatRange(0.1, 10_000), default=200, show_default=True,
    help="Requests a second.",
)  # fmt: skip
@click.option(
    "--seconds", type=click.FloatRange(10, 86_400), default=110, show_default=True,
    help="How long it is watched; tracing a leak takes about a minute more.",
)  # fmt: skip
@_common
@click.pass_context
def memory(ctx: click.Context, /, *, as_json: bool, no_report: bool, **options: Any) -> None:
    """Keep the ASGI application APP (module:attribute) busy; name the lines that leak memory.

    It runs in a process of its own and is asked evenly, without a network. Only when its memory
    grows for good is it traced: by memray (insight-cloud[memory]), else by tracemalloc; native
    memory that neither explains is attributed to lines by asking the C library.
    """
    from insight_cloud.cli import _tune_memory

    _finish(ctx, asyncio.run(_tune_memory.run(**options)), as_json, no_report)


@command.command(name="all", epilog=statuses(1, 3, 4, 5, 6, 7))
@click.option("--images", "image_folder", type=click.Path(path_type=Path), help="Folder of images.")
@click.option(
    "--bundle", "bundle_folder", type=click.Path(path_type=Path), help="Folder of assets."
)
@click.option("--app", help="ASGI application to be watched for leaks, as module:attribute.")
@_common
@click.pass_context
def everything(
    ctx: click.Context,
    image_folder: Path | None,
    bundle_folder: Path | None,
    app: str | None,
    config: Path | None,
    *,
    as_json: bool,
    no_report: bool,
) -> None:
    """Look at the database and the cache, and at images, a bundle and a service if named."""
    from insight_cloud.cli import _tune_all

    outcomes = asyncio.run(_tune_all.run(image_folder, bundle_folder, app, config))
    saved = [None if no_report else _tune.save(outcome) for outcome in outcomes]

    def human() -> None:
        for outcome, path in zip(outcomes, saved, strict=True):
            _tune.show(outcome, path)
            click.echo()

    rows = [_tune.data(outcome, path) for outcome, path in zip(outcomes, saved, strict=True)]
    emit(rows, as_json=as_json, human=human)
    if any(outcome.document.status == "fail" for outcome in outcomes):
        ctx.exit(1)


@command.command(epilog=statuses(4, 6))
@click.option(
    "--url",
    callback=_tune.refuse_password,
    help="Another database, without a password in it.  [the service's own]",
)
@click.option("--config", type=click.Path(path_type=Path), help="Settings file.  [insight.toml]")
@click.option(
    "--every", type=click.FloatRange(0.2, 3600), default=2, show_default=True, help="Seconds."
)
@click.option("--once", is_flag=True, help="Print it once, and end.")
@json_option
def top(url: str | None, config: Path | None, *, every: float, once: bool, as_json: bool) -> None:
    """Show what the database and the cache do now: statements, waits, locks, connections.

    Ctrl-C ends it. With --json each picture is one line.
    """
    from insight_cloud.cli import _tune_top

    asyncio.run(_tune_top.run(url, config, every=every, once=once, as_json=as_json))


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
