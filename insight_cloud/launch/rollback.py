"""The way back as a plan: steps in their order, with the values of this launch filled in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from insight_cloud.core.errors import Missing
from insight_cloud.core.plan import Change, Plan
from insight_cloud.launch.conditions import PLACEHOLDER
from insight_cloud.launch.file import LaunchFile, Message

__all__ = ["filled", "plan"]

_ORDER = ("traffic", "edge", "application", "database", "certificate", "dns")


def plan(file: LaunchFile, known: Mapping[str, Any]) -> Plan:
    """The steps of launch.toml: first what stops the harm, then what brings back.

    `known` fills placeholders such as `{previous_release}`; one that is not known stays, so that
    whoever reads the plan sees what to find out.

    Raises:
        Missing: the file has no steps.
    """
    steps = file.rollback.steps
    if not steps:
        raise Missing("launch.toml has no [[rollback.steps]], so there is no way back to plan")
    ordered = sorted(steps, key=lambda step: _place(step.part))
    return Plan(
        tuple(
            Change(
                "run",
                step.part,
                before=known.get("release"),
                after=filled(step.do, known),
                reason=_reason(step.who or file.rollback.owner, step.minutes, step.reason),
            )
            for step in ordered
        )
    )


def _place(part: str) -> int:
    return _ORDER.index(part) if part in _ORDER else len(_ORDER)


def _reason(who: str, minutes: float, reason: str) -> str:
    words = [who, f"{minutes:g} min" if minutes else "", reason]
    return ", ".join(word for word in words if word)


def filled(text: str, known: Mapping[str, Any]) -> str:
    """`text` with the placeholders that are known."""
    return PLACEHOLDER.sub(lambda found: str(known.get(found[1], found[0])), text)


def message(one: Message, known: Mapping[str, Any]) -> tuple[str, str]:
    """Subject and text of a message, ready to be sent."""
    return filled(one.subject, known), filled(one.text, known)
