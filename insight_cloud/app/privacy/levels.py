"""The five levels in their order, and what each of them means to people."""

from __future__ import annotations

from typing import get_args

from insight_cloud.settings import PrivacyLevel

__all__ = ["LEVELS", "MEANINGS", "Level", "admits"]

Level = PrivacyLevel
LEVELS: tuple[Level, ...] = get_args(Level)
"""From what says least to what says most."""

MEANINGS: dict[Level, str] = {
    "counts": "Counts: numbers only, no rule, path or line",
    "metadata": "Metadata: rules, paths and lines, no messages",
    "findings": "Findings: messages too, credentials masked",
    "snippets": "Snippets: three lines around a finding too",
    "source": "Source: any log as it is, and archives of the code",
}


def admits(ceiling: Level, level: Level) -> bool:
    """Whether a project that accepts `ceiling` at most takes what is of `level`."""
    return LEVELS.index(level) <= LEVELS.index(ceiling)
