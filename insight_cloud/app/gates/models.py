"""Gates as other features and the API see them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from insight_cloud.app.issues.grade import Grade, Letter
from insight_cloud.app.sarif.model import Category, Severity

__all__ = ["DEFAULT", "Condition", "Gate", "Metric", "Outcome", "Result", "Verdict"]

Metric = Literal["complete", "new", "open", "grade"]
"""What a condition looks at: whether all tools finished, how many issues are new or open, the
grade."""

Verdict = Literal["passed", "failed", "incomplete"]
"""`incomplete`: nothing failed, but a tool did not finish, so nothing is known to be well."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One demand.

    `new` and `open` admit at most `most` issues of `severity` (None: any), of `category` (None:
    any). `grade` demands at least `grade`.
    """

    metric: Metric
    severity: tuple[Severity, ...] = ()
    category: Category | None = None
    most: int = 0
    grade: Letter | None = None


DEFAULT: tuple[Condition, ...] = (
    Condition("complete"),
    Condition("new", severity=("critical", "high")),
)
"""What a project demands that has not said otherwise."""


@dataclass(frozen=True, slots=True)
class Gate:
    """The demands of a project. `author` is empty for the default."""

    conditions: tuple[Condition, ...]
    is_default: bool
    author: str = ""
    changed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one condition ended; `skipped` says why it could not be judged and was let pass."""

    condition: Condition
    passed: bool
    found: str
    skipped: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """How an analysis did. `compared_with` is the commit or branch that `new` is relative to."""

    verdict: Verdict
    outcomes: tuple[Outcome, ...]
    grade: Grade | None = None
    compared_with: str = ""
