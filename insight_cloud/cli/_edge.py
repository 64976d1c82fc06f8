"""How the commands of the edge print: plans with signs and colours, tables of what was tested."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from insight_cloud.core.report import Report
from insight_cloud.edge import render

if TYPE_CHECKING:
    from insight_cloud.edge.mutants import Coverage, Mutant
    from insight_cloud.edge.planning import EdgePlan
    from insight_cloud.edge.samples import Outcome
    from insight_cloud.edge.state import State

__all__ = ["print_plan", "print_report", "print_state", "print_tested", "tested"]

_COLOURS = {"+": "green", "~": "yellow", "-": "red", ">": "cyan", " ": None}
_STATUS = {"pass": "green", "warn": "yellow", "fail": "red", "skip": "cyan"}


def print_plan(plan: EdgePlan, *, notes: bool = True) -> None:
    """Print the changes and what there is to know about them."""
    for sign, text in render.lines(plan):
        if sign == " ":
            click.secho(f"      {text}", dim=True)
        else:
            click.secho(f"  {sign} {text}", fg=_COLOURS[sign])
    click.echo(render.summary(plan))
    _list("cannot be applied", plan.unavailable, "red")
    _list("rules of others, left alone", plan.unmanaged, None)
    _list("to know", plan.notes if notes else (), None)


def _list(title: str, entries: Iterable[str], colour: str | None) -> None:
    entries = list(entries)
    if entries:
        click.secho(f"{title}:", fg=colour)
        for entry in entries:
            click.echo(f"  - {entry}")


def print_state(state: State) -> None:
    """Print what is on the zone."""
    zone = state.zone
    click.echo(f"{zone.name}  {zone.status}, plan {zone.plan}, {zone.id}")
    for name, found in sorted(state.items.items()):
        suffix = "" if found.editable else "  (not on this plan)"
        click.echo(f"  {name:26} {_value(found.value)}{suffix}")
    for phase, ruleset in state.rulesets.items():
        if ruleset.rules:
            click.echo(f"  {phase}, version {ruleset.version}")
        for rule in ruleset.rules:
            off = "" if rule.get("enabled") is not False else "  (off)"
            label = rule.get("description") or rule.get("ref")
            click.echo(f"    {rule['action']:18} {label}{off}")
    for name, said in state.unread.items():
        click.secho(f"  {name} cannot be read: {said}", fg="yellow")


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(
            f"{key} {_value(inner)}" for key, inner in value.items() if inner is not None
        )
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)


def print_report(report: Report) -> None:
    """Print every check, one line each."""
    for check in report.checks:
        status = click.style(f"{check.status:5}", fg=_STATUS[check.status])
        click.echo(f"{status} {check.name:20} {check.detail}")


def tested(
    outcomes: Sequence[Outcome],
    covered: Sequence[Coverage],
    changed: Sequence[Mutant],
    routes: Report | None,
) -> dict[str, Any]:
    """What a test found, as plain data."""
    noticed = sum(mutant.noticed for mutant in changed)
    return {
        "samples": [
            {
                "name": outcome.sample.name,
                "action": outcome.verdict.action,
                "rule": outcome.verdict.rule,
                "problems": list(outcome.problems),
            }
            for outcome in outcomes
        ],
        "coverage": [
            {"phase": c.phase, "rule": c.rule, "status": c.status, "matched": c.matched}
            for c in covered
        ],
        "mutants": {
            "made": len(changed),
            "noticed": noticed,
            "unnoticed": [
                {"phase": m.phase, "rule": m.rule, "change": m.change}
                for m in changed
                if not m.noticed
            ],
        },
        "routes": None if routes is None else routes.as_dict(),
    }


def print_tested(found: dict[str, Any]) -> None:
    """Print what `tested` returned."""
    _print_samples(found["samples"])
    for covered in found["coverage"]:
        if covered["status"] != "met":
            said = f"  {covered['phase']}/{covered['rule']}: {covered['status']}"
            click.secho(said, fg="yellow")
    changed = found["mutants"]
    if changed["made"]:
        click.echo(f"{changed['noticed']} of {changed['made']} small changes of rules are noticed")
    for mutant in changed["unnoticed"]:
        click.secho(f"  unnoticed: {mutant['rule']}: {mutant['change']}", fg="yellow")
    if found["routes"] is not None:
        _print_routes(found["routes"]["checks"])


def _print_samples(samples: Sequence[dict[str, Any]]) -> None:
    failed = [sample for sample in samples if sample["problems"]]
    for sample in failed:
        click.secho(f"  {sample['name']}", fg="red")
        for problem in sample["problems"]:
            click.echo(f"      {problem}")
    click.echo(f"{len(samples) - len(failed)} of {len(samples)} samples as expected")


def _print_routes(checks: Sequence[dict[str, Any]]) -> None:
    for check in checks:
        if check["status"] != "pass":
            status = click.style(f"{check['status']:5}", fg=_STATUS[check["status"]])
            click.echo(f"  {status} {check['name']}: {check['detail']}")
    passed = sum(check["status"] == "pass" for check in checks)
    click.echo(f"{passed} of {len(checks)} routes pass")
