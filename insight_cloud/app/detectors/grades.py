"""Severity and category of our own detectors' rules, from the one catalogue of all tools."""

from __future__ import annotations

from insight_cloud.app.sarif import catalogue
from insight_cloud.app.sarif.model import Category, Severity

__all__ = ["graded"]


def graded(
    tool: str, rule: str, *, severity: Severity = "medium", category: Category = "style"
) -> tuple[Severity, Category]:
    """Severity and category of `rule` of `tool`; the tool's own where the catalogue has none."""
    meaning = catalogue.find(tool, rule)
    if meaning is None:
        return severity, category
    return meaning.severity or severity, meaning.category or category
