"""The fields of the rules language: their types, the plan that each needs, and where it exists."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

from insight_cloud.edge.language.types import Type, read

__all__ = ["FIELDS", "Known"]


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a field; `instead` names what to use, when it is deprecated."""

    type: Type
    plan: str = "free"
    phases: tuple[str, ...] = ()
    instead: str = ""


def _load() -> Mapping[str, Known]:
    text = resources.files("insight_cloud.edge.language").joinpath("fields.json").read_text("utf-8")
    return {
        name: Known(
            read(entry["type"]),
            entry.get("plan", "free"),
            tuple(entry.get("phases", ())),
            entry.get("instead", ""),
        )
        for name, entry in json.loads(text)["fields"].items()
    }


FIELDS: Mapping[str, Known] = _load()
