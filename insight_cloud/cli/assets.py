"""`insight assets`: build the files of a site, and say how heavy they are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from insight_cloud.cli._output import emit, json_option, statuses

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from insight_cloud.assets import Release
    from insight_cloud.core.plan import Plan

__all__ = ["command"]

_TEXTS = frozenset(
    {".html", ".htm", ".jinja", ".j2", ".py", ".js", ".mjs", ".ts", ".tsx", ".jsx", ".md", ".vue"}
)
_MOST_TEXT = 2 * 1024 * 1024


@click.group()
def command() -> None:
    """Build stylesheets, scripts and other files: minified, hashed, compressed."""


_folder = click.argument("folder", type=click.Path(path_type=Path))
_output = click.option(
    "--output", type=click.Path(path_type=Path), required=True, help="Folder for the results."
)


@command.command(epilog=statuses(3, 4, 7))
@_folder
@_output
@json_option
def plan(folder: Path, output: Path, *, as_json: bool) -> None:
    """Show which files of FOLDER a build would add, change and remove."""
    planned, _, _ = _planned(folder, output)
    emit(_changes(planned), as_json=as_json, human=lambda: click.echo(str(planned)))


@command.command(epilog=statuses(3, 4, 7))
@_folder
@_output
@json_option
def build(folder: Path, output: Path, *, as_json: bool) -> None:
    """Build FOLDER for any web server.

    Every file gets the hash of its content into its name, is compressed with Brotli, Zstandard
    and gzip, and against the last three releases (RFC 9842), whose files stay there.
    `manifest.json` knows all of them.
    """
    from insight_cloud.assets import folder as on_disk

    planned, release, before = _planned(folder, output)
    kept = on_disk.apply(planned, release, before, output)
    rows = _rows(kept[0])
    data = {"output": str(output), "changes": _changes(planned), "files": rows}

    def human() -> None:
        click.echo(str(planned))
        _table(rows)

    emit(data, as_json=as_json, human=human)


@command.command(epilog=statuses(1, 3, 4, 7))
@_folder
@click.option(
    "--used-in",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Folder with the pages or the code that name the files; finds those nobody uses.",
)
@json_option
def report(folder: Path, used_in: tuple[Path, ...], *, as_json: bool) -> None:
    """Weigh the files of FOLDER against their budgets; exit with 1 if one is exceeded."""
    from dataclasses import asdict

    from insight_cloud import settings
    from insight_cloud.assets import build as make
    from insight_cloud.assets import check, unused, weigh
    from insight_cloud.assets import folder as on_disk
    from insight_cloud.core.report import Report

    budgets = settings.load().assets.budgets()
    release = make(on_disk.sources(folder))
    dead = unused(release, _texts(used_in, folder)) if used_in else None
    checks = Report.of(check(release, budgets, dead))
    rows = [asdict(weight) for weight in weigh(release, budgets)]

    def human() -> None:
        _table(rows)
        for one in checks.checks:
            click.echo(f"{one.status:4}  {one.name}: {one.detail}")

    emit({"files": rows, **checks.as_dict()}, as_json=as_json, human=human)
    if checks.failed:
        raise SystemExit(1)


def _planned(folder: Path, output: Path) -> tuple[Plan, Release, Sequence[Release]]:
    from insight_cloud.assets import build as make
    from insight_cloud.assets import folder as on_disk
    from insight_cloud.assets import with_deltas
    from insight_cloud.core.errors import SettingsError

    if output.resolve().is_relative_to(folder.resolve()):
        raise SettingsError(f"{output} lies in {folder}: a build would build its own results")
    found = on_disk.sources(folder)
    before = on_disk.load(output)
    release = make(found, (a for one in before for a in one.assets.values()))
    release = with_deltas(release, before)
    return on_disk.plan(release, before), release, before


def _texts(folders: Sequence[Path], built: Path) -> Iterator[str]:
    """What stands in pages and code, but not in the assets themselves."""
    from insight_cloud.core.errors import Missing

    skipped = built.resolve()
    for folder in folders:
        if not folder.is_dir():
            raise Missing(f"there is no folder {folder}")
        for path in sorted(folder.rglob("*")):
            inside = path.resolve().is_relative_to(skipped)
            if path.suffix in _TEXTS and not inside and path.is_file():
                with path.open(encoding="utf-8", errors="replace") as file:
                    yield file.read(_MOST_TEXT)


def _changes(planned: Plan) -> list[dict[str, Any]]:
    return [
        {"verb": c.verb, "name": c.target, "path": c.after, "reason": c.reason} for c in planned
    ]


def _rows(release: Release) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "path": asset.path,
            "bytes": len(asset.body),
            "best": min([len(asset.body), *map(len, asset.encodings.values())]),
            "delta": min(map(len, asset.deltas.values()), default=None),
        }
        for name, asset in release.assets.items()
    ]


def _table(rows: list[dict[str, Any]]) -> None:
    wide = max([len(row["name"]) for row in rows] or [4])
    click.echo(f"{'file':{wide}}  {'bytes':>10}  {'sent':>10}  {'delta':>8}")
    for row in rows:
        delta = row.get("delta")
        told = f"{delta:>8,}" if delta is not None else f"{'-':>8}"
        click.echo(f"{row['name']:{wide}}  {row['bytes']:>10,}  {row['best']:>10,}  {told}")
