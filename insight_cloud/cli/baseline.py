"""`insight baseline`: keep what is known today, so that tomorrow only what is new counts."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from insight_cloud.cli._output import say, statuses

__all__ = ["command"]


@click.command(epilog=statuses(s0="written", s3="incomplete: a detector failed; nothing written"))
@click.argument("path", default=".", type=click.Path(path_type=Path))
@click.option(
    "--output",
    default=Path("insight-baseline.sarif"),
    show_default=True,
    type=click.Path(path_type=Path),
    help="Where to write it.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    help="Seconds for each detector.",
)
@click.option("--no-cache", is_flag=True, help="Neither use nor keep results of other runs.")
@click.pass_context
def command(
    ctx: click.Context, *, path: Path, output: Path, timeout: float, no_cache: bool
) -> None:
    """Analyse PATH and keep the findings as the baseline.

    `insight analyze --baseline FILE --fail-on new:high` then fails only for what is not in it,
    although lines and files moved meanwhile.
    """
    from insight_cloud.app.detectors.kept import replace
    from insight_cloud.app.sarif import write
    from insight_cloud.cli import analyze

    work = analyze.Work(None, timeout, analyze.kept_in(None, no_cache=no_cache))
    _, runs = asyncio.run(analyze.analyzed(path, work))
    unfinished = [run.tool for run in runs if run.state in {"failed", "timed_out"}]
    if unfinished:
        say(f"insight: {', '.join(unfinished)} did not finish; {output} was not written")
        ctx.exit(3)
    try:
        replace(output, write.log(runs))
    except OSError as error:
        raise click.BadParameter(
            f"cannot write {output}: {error.strerror}", param_hint="--output"
        ) from error
    say(f"{sum(len(run.findings) for run in runs)} findings written to {output}")
