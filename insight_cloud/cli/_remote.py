"""Code that the server analyses: packed, sent, watched, and called off with Ctrl-C."""

from __future__ import annotations

import asyncio
import io
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from insight_cloud.cli._output import say

if TYPE_CHECKING:
    from insight_cloud.app.client import Client
    from insight_cloud.app.detectors import Tree

__all__ = ["analyse", "packed"]

_INCOMPLETE = 3
_FAILED = 4
_LOOK_SECONDS = 1.0


async def analyse(
    path: Path,
    server: str | None,
    *,
    project: str | None,
    branch: str | None,
    commit: str | None,
    pr: int | None,
    base: str | None,
) -> int:
    """Send the code at `path` and wait for its analysis; return the exit status."""
    from insight_cloud import settings
    from insight_cloud.app import detectors
    from insight_cloud.app.client import Client
    from insight_cloud.cli import _checkout
    from insight_cloud.core.errors import InsightError

    tree = await detectors.read(path)
    if not tree.files:
        raise click.BadParameter(f"there are no files in {path}", param_hint="PATH")
    try:
        place = await _checkout.describe(tree.root, project=project, branch=branch, commit=commit)
        base_commit = await _checkout.merge_base(tree.root, base) if base or pr else ""
        archive = await asyncio.to_thread(packed, tree)
        async with Client.from_settings(settings.load(), server) as client:
            say(f"sending {len(tree.files):,} files, {len(archive) / 2**20:.1f} MiB packed")
            source = await client.hand_in(
                archive,
                project=place.project,
                branch=place.branch,
                commit=place.commit,
                pr=pr,
                base=base,
                base_commit=base_commit,
            )
            source = await _ended(client, place.project, source)
            return await _told(client, place.project, source)
    except InsightError as error:
        say(f"insight: not analysed: {error}")
        return _FAILED


def packed(tree: Tree) -> bytes:
    """The files of a tree as tar.zst: the same files give the same bytes."""
    import zstandard

    out = io.BytesIO()
    with (
        zstandard.ZstdCompressor(level=9).stream_writer(out, closefd=False) as packer,
        tarfile.open(fileobj=packer, mode="w|", format=tarfile.PAX_FORMAT) as archive,
    ):
        for file in tree.files:
            data = Path(file.path).read_bytes()
            info = tarfile.TarInfo(file.name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


async def _ended(client: Client, project: str, source: dict[str, Any]) -> dict[str, Any]:
    """Watch until the end. Who goes away in between calls it off."""
    from insight_cloud.core.errors import InsightError

    path = f"/api/v1/projects/{project}/sources/{source['id']}"
    line = _Line()
    try:
        while source["state"] in {"queued", "running"}:
            line.show(source)
            await asyncio.sleep(_LOOK_SECONDS)
            source = await client.call("GET", path)
    except asyncio.CancelledError:
        line.clear()
        try:
            await client.call("POST", f"{path}/cancel")
            say("cancelled on the server, too")
        except InsightError as error:
            say(f"not cancelled: {error}")
        raise
    line.clear()
    return source


async def _told(client: Client, project: str, source: dict[str, Any]) -> int:
    if source["state"] != "done" or source["analysis"] is None:
        say(f"insight: {source['state']}: {source['detail']}")
        return _FAILED
    path = f"/api/v1/projects/{project}/analyses/{source['analysis']}"
    detail = await client.call("GET", path)
    analysis = detail["analysis"]
    for run in detail["runs"]:
        if run["state"] in {"failed", "timed_out"}:
            say(f"incomplete: {run['tool']} {run['state'].replace('_', ' ')}: {run['detail']}")
    new = analysis["new"] + analysis["reopened"]
    say(f"{new} new, {analysis['fixed']} fixed, {analysis['open']} open")
    click.echo(f"{client.server}/projects/{project}/analyses/{source['analysis']}")
    return 0 if analysis["complete"] else _INCOMPLETE


class _Line:
    """One line on a terminal that says how far it is; elsewhere, each state once."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()
        self._said = ""

    def show(self, source: dict[str, Any]) -> None:
        running = [step["name"] for step in source["steps"] if step["state"] == "running"]
        text = f"{source['state']}: {' '.join(running)}" if running else source["state"]
        if self._shown:
            click.echo(f"\r\x1b[K{text}", nl=False, err=True)
        elif source["state"] != self._said:
            self._said = source["state"]
            say(source["state"])

    def clear(self) -> None:
        if self._shown:
            click.echo("\r\x1b[K", nl=False, err=True)
