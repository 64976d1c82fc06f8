"""Severity and category of our own detectors' rules, from the one catalogue of all tools."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files

from insight_cloud.app.sarif import catalogue
from insight_cloud.app.sarif.model import Category, Severity

__all__ = ["graded", "identity"]


@cache
def identity() -> str:
    """What the catalogue says, as a digest: kept findings have their severities from it."""
    text = files(catalogue.__package__).joinpath("catalogue.toml").read_bytes()
    return hashlib.blake2b(text, digest_size=16).hexdigest()


def graded(
    tool: str, rule: str, *, severity: Severity = "medium", category: Category = "style"
) -> tuple[Severity, Category]:
    """Severity and category of `rule` of `tool`; the tool's own where the catalogue has none."""
    meaning = catalogue.find(tool, rule)
    if meaning is None:
        return severity, category
    return meaning.severity or severity, meaning.category or category
