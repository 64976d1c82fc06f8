"""`insight analyze`: run the detectors on a working copy, show or upload what they find."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from insight_cloud.cli._output import say, statuses

if TYPE_CHECKING:
    from insight_cloud.app.detectors import Detector, Tree
    from insight_cloud.app.sarif.model import Run

__all__ = ["command"]

_INCOMPLETE = 3
_UPLOAD_FAILED = 4
_SEVERITIES = ("critical", "high", "medium", "low", "info")


@click.command(
    epilog=statuses(
        s0="analysed",
        s1="a finding of --fail-on or worse",
        s3="incomplete: a detector failed or timed out",
        s4="the upload failed",
    )
)
@click.argument("path", default=".", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "shape",
    type=click.Choice(["human", "json", "sarif"]),
    default="human",
    show_default=True,
    help="How the result is written.",
)
@click.option("--output", type=click.Path(path_type=Path), help="Write the result to this file.")
@click.option("--detectors", "names", help="Only these, by name, with commas between.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    help="Seconds for each detector.",
)
@click.option("--limit", default=50, show_default=True, help="Findings shown; 0 for all.")
@click.option("--no-cache", is_flag=True, help="Neither use nor keep results of other runs.")
@click.option(
    "--cache-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where results are kept.  [default: ~/.cache/insight-cloud]",
)
@click.option("--fail-on", type=click.Choice(_SEVERITIES), help="Exit 1 at this severity or worse.")
@click.option("--upload", is_flag=True, help="Send the findings to the server.")
@click.option("--project", help="Project on the server.  [default: from insight.toml or Git]")
@click.option("--branch", help="Branch of the code.  [default: from Git]")
@click.option("--commit", help="Commit of the code.  [default: from Git]")
@click.option("--server", help="Server URL.  [default: the one signed in to]")
@click.pass_context
def command(
    ctx: click.Context,
    *,
    path: Path,
    shape: Literal["human", "json", "sarif"],
    output: Path | None,
    names: str | None,
    timeout: float,
    limit: int,
    no_cache: bool,
    cache_dir: Path | None,
    fail_on: str | None,
    upload: bool,
    project: str | None,
    branch: str | None,
    commit: str | None,
    server: str | None,
) -> None:
    """Find what is wrong with the code in PATH: offline, without an account.

    Only files that git tracks or would track are looked at. The configuration that the code
    brings for these tools is not used, and nothing of it is executed.
    """
    chosen = _chosen(names)
    tree, runs = asyncio.run(
        _analyzed(
            path,
            chosen,
            timeout_seconds=timeout,
            cache_directory=None if no_cache else cache_dir or Path.home() / ".cache/insight-cloud",
        )
    )
    _deliver(_text(shape, tree, runs, limit=limit, colours=output is None), output)
    if output is not None:
        _say_written(output, runs)
    status = 0
    if upload:
        status = asyncio.run(
            _uploaded(tree.root, runs, project=project, branch=branch, commit=commit, server=server)
        )
    ctx.exit(_status(runs, fail_on) or status)


def _chosen(names: str | None) -> tuple[Detector, ...]:
    from insight_cloud.app.detectors import DETECTORS

    if names is None:
        return DETECTORS
    known = {detector.name: detector for detector in DETECTORS}
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    unknown = sorted(set(wanted) - known.keys())
    if unknown or not wanted:
        raise click.BadParameter(
            f"there is no {', '.join(unknown) or 'name'}; choose from {', '.join(sorted(known))}",
            param_hint="--detectors",
        )
    return tuple(detector for detector in DETECTORS if detector.name in wanted)


async def _analyzed(
    path: Path,
    chosen: tuple[Detector, ...],
    *,
    timeout_seconds: float,
    cache_directory: Path | None,
) -> tuple[Tree, list[Run]]:
    from insight_cloud.app import detectors
    from insight_cloud.core.errors import Missing, Refused

    try:
        tree = await detectors.read(path)
    except (Missing, Refused) as error:
        # Not their own exit statuses: 3 and 4 mean something else here.
        raise click.BadParameter(str(error), param_hint="PATH") from error
    if not tree.files:
        left_out = f"; {len(tree.left_out)} files were left out" if tree.left_out else ""
        raise click.BadParameter(
            f"there are no files to analyse in {path}{left_out}", param_hint="PATH"
        )
    progress = _Progress()
    try:
        runs = await detectors.analyze(
            tree,
            detectors=chosen,
            timeout_seconds=timeout_seconds,
            cache=None if cache_directory is None else detectors.Kept(cache_directory),
            progress=progress,
        )
    finally:
        progress.clear()
    return tree, runs


class _Progress:
    """One line on a terminal that names the detectors still running."""

    def __init__(self) -> None:
        self._running: list[str] = []
        self._shown = sys.stderr.isatty()

    def __call__(self, name: str, event: Literal["started", "ended"]) -> None:
        if event == "started":
            self._running.append(name)
        else:
            self._running.remove(name)
        if self._shown:
            click.echo(f"\r\x1b[Kanalysing: {' '.join(self._running)}", nl=False, err=True)

    def clear(self) -> None:
        if self._shown:
            click.echo("\r\x1b[K", nl=False, err=True)


def _text(
    shape: Literal["human", "json", "sarif"],
    tree: Tree,
    runs: list[Run],
    *,
    limit: int,
    colours: bool,
) -> bytes:
    from insight_cloud.cli import _findings

    if shape == "sarif":
        from insight_cloud.app.sarif import write

        return write.log(runs)
    if shape == "json":
        return _findings.as_json(tree, runs)
    text = _findings.as_text(tree, runs, limit=limit)
    return (text if colours else click.unstyle(text)).encode()


def _deliver(data: bytes, output: Path | None) -> None:
    if output is None:
        click.echo(data.decode().rstrip("\n"))
        return
    from insight_cloud.app.detectors.kept import replace

    try:
        replace(output, data)
    except OSError as error:
        raise click.BadParameter(
            f"cannot write {output}: {error.strerror}", param_hint="--output"
        ) from error


def _say_written(output: Path, runs: list[Run]) -> None:
    found = sum(not finding.suppressed for run in runs for finding in run.findings)
    say(f"{found} findings written to {output}")
    for run in runs:
        if run.state in {"failed", "timed_out"}:
            say(f"incomplete: {run.tool} {run.state.replace('_', ' ')}: {run.detail}")


def _status(runs: list[Run], fail_on: str | None) -> int:
    if fail_on:
        bad = set(_SEVERITIES[: _SEVERITIES.index(fail_on) + 1])
        found = (finding for run in runs for finding in run.findings)
        if any(finding.severity in bad and not finding.suppressed for finding in found):
            return 1
    incomplete = any(run.state in {"failed", "timed_out"} for run in runs)
    return _INCOMPLETE if incomplete else 0


async def _uploaded(
    folder: Path,
    runs: list[Run],
    *,
    project: str | None,
    branch: str | None,
    commit: str | None,
    server: str | None,
) -> int:
    from insight_cloud import settings
    from insight_cloud.app.client import Client
    from insight_cloud.app.sarif import write
    from insight_cloud.cli import _checkout
    from insight_cloud.cli.upload import describe
    from insight_cloud.core.errors import InsightError

    try:
        place = await _checkout.describe(folder, project=project, branch=branch, commit=commit)
        async with Client.from_settings(settings.load(), server) as client:
            uploaded = await client.upload(
                write.log(runs),
                project=place.project,
                branch=place.branch,
                commit=place.commit,
                category="",
            )
    except InsightError as error:
        say(f"insight: not uploaded: {error}")
        return _UPLOAD_FAILED
    say(f"{describe(uploaded)}: {uploaded.url}")
    return 0
