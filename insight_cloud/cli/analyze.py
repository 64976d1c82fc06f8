"""`insight analyze`: run the detectors on a working copy, show or upload what they find."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click
import msgspec

from insight_cloud.cli._fail import FailOn, fail_on_option
from insight_cloud.cli._output import say, statuses

if TYPE_CHECKING:
    from insight_cloud.app.detectors import Detector, Tree
    from insight_cloud.app.sarif.model import Finding, Run

__all__ = ["Work", "analyzed", "command", "kept_in", "read_log"]

_INCOMPLETE = 3
_UPLOAD_FAILED = 4


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
@fail_on_option(
    "Exit 1 at this severity or worse; `new:high` counts only what --since or --baseline has not."
)
@click.option("--changed-only", is_flag=True, help="Report only findings in files that changed.")
@click.option(
    "--since",
    metavar="REF",
    help="Compare with this commit: it is what --changed-only and `new:` mean.",
)
@click.option(
    "--baseline",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A result of `insight baseline` that `new:` is compared with.",
)
@click.option("--pr", type=click.IntRange(min=1), help="Number of the pull request.")
@click.option("--base", help="The branch that this one goes into: the server compares with it.")
@click.option("--upload", is_flag=True, help="Send the findings to the server.")
@click.option("--project", help="Project on the server.  [default: from insight.toml or Git]")
@click.option("--branch", help="Branch of the code.  [default: from Git]")
@click.option("--commit", help="Commit of the code.  [default: from Git]")
@click.option(
    "--queue",
    type=click.Path(path_type=Path, file_okay=False),
    help="While the server is away, keep uploads in this folder and send them with the next one.",
)
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
    fail_on: FailOn | None,
    changed_only: bool,
    since: str | None,
    baseline: Path | None,
    pr: int | None,
    base: str | None,
    upload: bool,
    project: str | None,
    branch: str | None,
    commit: str | None,
    queue: Path | None,
    server: str | None,
) -> None:
    """Find what is wrong with the code in PATH: offline, without an account.

    Only files that git tracks or would track are looked at. The configuration that the code
    brings for these tools is not used, and nothing of it is executed.
    """
    before = Before(since, baseline)
    _check_comparison(fail_on, before)
    work = Work(_chosen(names), timeout, kept_in(cache_dir, no_cache=no_cache))
    tree, runs = asyncio.run(analyzed(path, work))
    if changed_only:
        runs = asyncio.run(_only_changed(tree, runs, since or "HEAD"))
    _deliver(_text(shape, tree, runs, limit=limit, colours=output is None), output)
    if output is not None:
        _say_written(output, runs)
    status = 0
    if upload:
        status = asyncio.run(
            _uploaded(
                tree,
                runs,
                project=project,
                branch=branch,
                commit=commit,
                server=server,
                pr=pr,
                base=base,
                queue=queue,
            )
        )
    judged = asyncio.run(_judged(tree, runs, work, fail_on, before))
    ctx.exit(_status(runs, judged, fail_on) or status)


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


@dataclass(frozen=True, slots=True)
class Work:
    """How to analyse: by which detectors, how long, with which kept results."""

    detectors: tuple[Detector, ...]
    timeout_seconds: float
    cache_directory: Path | None


def kept_in(directory: Path | None, *, no_cache: bool) -> Path | None:
    """Where results are kept; None keeps none."""
    return None if no_cache else directory or Path.home() / ".cache/insight-cloud"


async def analyzed(path: Path, work: Work) -> tuple[Tree, list[Run]]:
    """Run the detectors over `path`, with a line about them on a terminal."""
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
            detectors=work.detectors,
            timeout_seconds=work.timeout_seconds,
            cache=None if work.cache_directory is None else detectors.Kept(work.cache_directory),
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


@dataclass(frozen=True, slots=True)
class Before:
    """What `new:` is compared with: a commit, or a log that was kept."""

    since: str | None
    baseline: Path | None


def _check_comparison(fail_on: FailOn | None, before: Before) -> None:
    if before.since is not None and before.baseline is not None:
        raise click.UsageError("give --since or --baseline, not both")
    if fail_on and fail_on.only_new and before.since is None and before.baseline is None:
        raise click.UsageError("`new:` needs something to compare with: --since or --baseline")


async def _only_changed(tree: Tree, runs: list[Run], since: str) -> list[Run]:
    """The findings in files that differ from `since`; the runs say that they saw no others.

    Everything was looked at, because a change in one file shows in others: a duplicate, an
    import cycle. Only what is reported is narrowed.
    """
    from insight_cloud.cli import _checkout

    paths = await _checkout.changed(tree.root, since)
    return [
        msgspec.structs.replace(
            run,
            scope=paths,
            findings=tuple(
                one for one in run.findings if one.location and one.location.path in paths
            ),
        )
        for run in runs
    ]


async def _judged(
    tree: Tree,
    runs: list[Run],
    work: Work,
    fail_on: FailOn | None,
    before: Before,
) -> list[Finding]:
    """The findings that --fail-on is about: all, or those that were not there before."""
    if fail_on is None or not fail_on.only_new:
        return [finding for run in runs for finding in run.findings]
    from insight_cloud.app.issues.compare import difference

    known = await _known(tree, work, before)
    new = [finding for one in difference(known, runs) for finding in one.new]
    say(f"{len(new)} new since {before.since or before.baseline}")
    return new


async def _known(tree: Tree, work: Work, before: Before) -> list[Run]:
    from insight_cloud.cli import _checkout

    if before.baseline is not None:
        return read_log(before.baseline)
    async with _checkout.at(tree.root, before.since or "HEAD") as folder:
        if not any(folder.iterdir()):
            return []
        _, runs = await analyzed(folder, work)
    return runs


def read_log(file: Path) -> list[Run]:
    """The runs of a log that was written here before.

    Raises:
        Invalid: it is no SARIF log.
    """
    from insight_cloud.app.sarif import read

    return list(read.log(file.read_bytes()).runs)


def _status(runs: list[Run], judged: list[Finding], fail_on: FailOn | None) -> int:
    if fail_on and fail_on.hit(judged):
        return 1
    incomplete = any(run.state in {"failed", "timed_out"} for run in runs)
    return _INCOMPLETE if incomplete else 0


async def _uploaded(
    tree: Tree,
    runs: list[Run],
    *,
    project: str | None,
    branch: str | None,
    commit: str | None,
    server: str | None,
    pr: int | None,
    base: str | None,
    queue: Path | None,
) -> int:
    from insight_cloud import settings
    from insight_cloud.app.client import Client
    from insight_cloud.app.sarif import write
    from insight_cloud.cli import _checkout, _queue
    from insight_cloud.cli.upload import describe
    from insight_cloud.core.errors import InsightError

    try:
        folder = tree.root
        place = await _checkout.describe(folder, project=project, branch=branch, commit=commit)
        base_commit = await _checkout.merge_base(folder, base) if base or pr else ""
        async with Client.from_settings(settings.load(), server) as client:
            about = {
                "project": place.project,
                "branch": place.branch,
                "commit": place.commit,
                "base": base,
                "base_commit": base_commit,
                "pr": pr,
                "lines": await asyncio.to_thread(_lines, tree),
            }
            uploaded = await _queue.send(client, queue, write.log(runs), about)
    except InsightError as error:
        say(f"insight: not uploaded: {error}")
        return _UPLOAD_FAILED
    if uploaded is not None:
        say(f"{describe(uploaded)}: {uploaded.url}")
    return 0


def _lines(tree: Tree) -> int:
    """The lines of all files that were looked at, for the grade."""
    total = 0
    for file in tree.files:
        data = Path(tree.root, file.name).read_bytes()
        total += data.count(b"\n") + (not data.endswith(b"\n") and bool(data))
    return total
