"""What the commands of `insight tune` share: one outcome, printed, saved, compared."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from insight_cloud.core.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from insight_cloud.tuning.reports import Comparison, Document

__all__ = ["Outcome", "Saved", "data", "refuse_password", "save", "show"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run found, and where its report goes."""

    document: Document
    folder: Path
    keep: int


@dataclass(frozen=True, slots=True)
class Saved:
    """A written report, and what moved since the one before."""

    path: Path
    comparison: Comparison


def refuse_password(
    ctx: click.Context,  # noqa: ARG001 - click's signature
    param: click.Parameter,  # noqa: ARG001 - click's signature
    url: str | None,
) -> str | None:
    """Refuse a URL with a password: everybody on the machine can read a command's words."""
    if url is None:
        return None
    with contextlib.suppress(ValueError):
        if urlsplit(url).password is None and "password=" not in url:
            return url
    raise SettingsError(
        "the database URL holds a password, which everybody on this machine can read while the"
        " command runs: give the URL as DATABASE_URL, or the password in ~/.pgpass or PGPASSWORD"
    )


def save(outcome: Outcome) -> Saved:
    """Write the report beside its page."""
    from insight_cloud.tuning import reports

    return Saved(*reports.save(outcome.folder, outcome.document, keep=outcome.keep))


def data(outcome: Outcome, saved: Saved | None) -> dict[str, Any]:
    """The same for `--json`."""
    import msgspec

    found: dict[str, Any] = msgspec.to_builtins(outcome.document)
    if saved is not None:
        found |= {"report": str(saved.path), "compared": saved.comparison.as_dict()}
    return found


def show(outcome: Outcome, saved: Saved | None) -> None:
    """Print it for people: checks, then what would be done or was done."""
    document = outcome.document
    click.echo(f"{document.kind} of {document.subject}")
    for check in document.checks:
        _check(check)
    for finding in document.findings:
        if finding["severity"] == "advice":
            click.echo(f"hint  {finding['target']} {finding['detail']}")
        if finding["remedy"]:
            click.echo(f"      {finding['target']}: {finding['remedy']}")
    if document.changes:
        click.echo("Done:" if document.applied else "Planned; add --apply to do it:")
        for change in document.changes:
            click.echo(f"  {change['after']};")
            click.echo(f"      -- {change['reason']}")
    if saved is not None:
        _compared(saved)


def _check(check: Mapping[str, Any]) -> None:
    colour = {"fail": "red", "warn": "yellow", "pass": "green"}.get(check["status"])
    name = check["name"].partition(".")[2]
    click.echo(click.style(f"{check['status']:4}", fg=colour) + f"  {name:28}  {check['detail']}")


def _compared(saved: Saved) -> None:
    comparison = saved.comparison
    if comparison.previous is not None:
        new, gone = len(comparison.new), len(comparison.gone)
        click.echo(
            f"Since {comparison.previous:%Y-%m-%d %H:%M} UTC: {new} new findings, {gone} gone."
        )
    click.echo(f"Report: {saved.path.with_suffix('.html')}")
