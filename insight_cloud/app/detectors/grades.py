"""Severity and category of our own detectors' rules, from the one catalogue of all tools."""

from __future__ import annotations

from insight_cloud.app.sarif.model import Category, Severity

__all__ = ["graded"]


def graded(tool: str, rule: str) -> tuple[Severity, Category]:
    """Severity and category of `rule` of `tool`."""
    if tool == "ruff" and rule.startswith("S"):
        return "medium", "security"
    return "low", "runtime"
