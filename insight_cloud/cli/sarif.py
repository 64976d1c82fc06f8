"""`insight sarif`: what the server would make of a log, without a server."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from insight_cloud.cli._output import emit, json_option, statuses
from insight_cloud.core.errors import CHECK_FAILED, Invalid

if TYPE_CHECKING:
    from insight_cloud.app.sarif.model import Run, Warned

__all__ = ["command"]


@click.group("sarif")
def command() -> None:
    """Look at SARIF logs the way the server does."""


@command.command(
    epilog=statuses(s1="a log would be refused or breaks the schema"),
)
@click.argument(
    "logs",
    metavar="FILE...",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
@click.option("--root", help="The source root on the machine that made the log.")
@json_option
@click.pass_context
def check(ctx: click.Context, logs: tuple[Path, ...], root: str | None, *, as_json: bool) -> None:
    """Say what the server would take from each FILE, and what is wrong with it.

    Prints the runs with their findings by severity, everything that would be passed over, and
    where a log that is taken breaks the schema of SARIF 2.1.0, each with its JSON pointer.
    """
    answers = [_checked(log, root) for log in logs]
    emit(answers, as_json=as_json, human=lambda: _print(answers))
    if any(answer["refused"] or answer["schema_faults"] for answer in answers):
        ctx.exit(CHECK_FAILED)


def _checked(path: Path, root: str | None) -> dict[str, Any]:
    from insight_cloud.app.sarif import read, schema

    data = path.read_bytes()
    answer: dict[str, Any] = {
        "file": str(path),
        "refused": None,
        "problems": [],
        "runs": [],
        "warnings": [],
        "schema_faults": [],
    }
    try:
        log = read.log(data, root=root)
    except Invalid as error:
        answer["refused"] = str(error)
        answer["problems"] = [{"pointer": at, "detail": why} for at, why in error.problems]
    else:
        answer["runs"] = [_counted(run) for run in log.runs]
        answer["warnings"] = _listed(log.warnings)
        answer["schema_faults"] = _listed(schema.faults(data))
    return answer


def _counted(run: Run) -> dict[str, Any]:
    from insight_cloud.app.sarif.model import SEVERITIES

    counts = Counter(finding.severity for finding in run.findings)
    return {
        "tool": run.tool,
        "version": run.version,
        "category": run.category,
        "state": run.state,
        "detail": run.detail,
        "findings": len(run.findings),
        "suppressed": sum(finding.suppressed for finding in run.findings),
        "outside": sum(
            finding.location is not None and finding.location.external for finding in run.findings
        ),
        "severities": {severity: counts[severity] for severity in SEVERITIES},
    }


def _listed(warnings: tuple[Warned, ...] | list[Warned]) -> list[dict[str, str]]:
    return [{"pointer": warning.pointer, "detail": warning.detail} for warning in warnings]


def _print(answers: list[dict[str, Any]]) -> None:
    for answer in answers:
        verdict = f"refused: {answer['refused']}" if answer["refused"] else "taken"
        click.secho(f"{answer['file']}: {verdict}", fg="red" if answer["refused"] else "green")
        for run in answer["runs"]:
            _print_run(run)
        _print_places("refused", answer["problems"])
        _print_places("warning", answer["warnings"])
        _print_places("schema", answer["schema_faults"])


def _print_run(run: dict[str, Any]) -> None:
    counts = ", ".join(f"{count} {name}" for name, count in run["severities"].items() if count)
    name = " ".join(part for part in (run["tool"], run["version"], run["category"]) if part)
    notes = [f"{run[what]} {what}" for what in ("suppressed", "outside") if run[what]]
    line = f"  {name}: {run['state']}, {run['findings']} findings"
    click.echo(line + (f" ({counts})" if counts else "") + "".join(f", {note}" for note in notes))
    if run["detail"]:
        click.echo(f"    {run['detail']}")


def _print_places(kind: str, places: list[dict[str, str]]) -> None:
    for place in places:
        click.echo(f"  {kind} {place['pointer'] or '/'}: {place['detail']}")
