"""What `--fail-on` means: from which severity on, and whether only for what is new."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from insight_cloud.app.sarif.model import Finding

__all__ = ["FailOn", "fail_on_option"]

_SEVERITIES = ("critical", "high", "medium", "low", "info")


@dataclass(frozen=True, slots=True)
class FailOn:
    """The mildest severity that fails, and whether it must be new."""

    severity: str
    only_new: bool = False

    def hit(self, findings: Iterable[Finding]) -> bool:
        """Whether any of `findings` is bad enough and not suppressed."""
        bad = set(_SEVERITIES[: _SEVERITIES.index(self.severity) + 1])
        return any(one.severity in bad and not one.suppressed for one in findings)


def fail_on_option(text: str) -> Callable[[Any], Any]:
    """The option `--fail-on`: `high`, or `new:high`."""
    return click.option("--fail-on", metavar="[new:]SEVERITY", callback=_parsed, help=text)


def _parsed(ctx: click.Context, param: click.Parameter, value: str | None) -> FailOn | None:
    if value is None:
        return None
    severity = value.removeprefix("new:")
    if severity not in _SEVERITIES:
        raise click.BadParameter(
            f"{value!r} is none of {', '.join(_SEVERITIES)}, nor new:high or the like", ctx, param
        )
    return FailOn(severity, only_new=severity != value)
