"""A letter for a branch: how much is wrong for its size. Pure, and shown wherever the letter is.

Not a measure of time or money: nobody can know those.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from insight_cloud.app.issues.models import Counts
from insight_cloud.app.sarif.model import SEVERITIES, Severity

__all__ = ["FORMULA", "LETTERS", "LIMITS", "WEIGHTS", "Grade", "Letter", "of"]

Letter = Literal["A", "B", "C", "D", "E"]
LETTERS: tuple[Letter, ...] = get_args(Letter)
"""The best first."""

WEIGHTS: dict[Severity, float] = {
    "critical": 10.0,
    "high": 5.0,
    "medium": 1.0,
    "low": 0.2,
    "info": 0.0,
}

LIMITS: dict[Letter, float] = {"A": 1.0, "B": 4.0, "C": 10.0, "D": 25.0}
"""The highest score of each letter; beyond the last it is E."""

FORMULA = (
    "(10 × critical + 5 × high + 1 × medium + 0.2 × low) ÷ thousand lines; "  # noqa: RUF001 - a times sign
    "A up to 1, B up to 4, C up to 10, D up to 25, E beyond"
)


@dataclass(frozen=True, slots=True)
class Grade:
    """A letter, and the numbers that it was made of."""

    letter: Letter
    score: float
    lines: int
    formula: str = FORMULA


def of(counts: Counts, lines: int | None) -> Grade | None:
    """Grade what is open in `lines` lines; None when their number is not known."""
    if not lines or lines < 0:
        return None
    weighted = sum(WEIGHTS[severity] * getattr(counts, severity) for severity in SEVERITIES)
    score = round(weighted * 1000 / lines, 2)
    return Grade(_letter(score), score, lines)


def _letter(score: float) -> Letter:
    return next((letter for letter, most in LIMITS.items() if score <= most), LETTERS[-1])
