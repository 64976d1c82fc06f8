"""Judgements and suppressions as other features and the API see them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from insight_cloud.app.issues.models import Filter, TriageState

__all__ = ["Judged", "Selection", "Suppression", "Verdict"]


@dataclass(frozen=True, slots=True)
class Selection:
    """Which issues are meant: these, or those that fit a filter on one branch."""

    ids: tuple[UUID, ...] = ()
    filter: Filter | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is decided. `state` None takes back what was; `until` is the last day it holds."""

    state: TriageState | None
    reason: str = ""
    until: date | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """What a judgement changed: the issues that were meant, and all rows on all branches."""

    issues: int
    on_all_branches: int


@dataclass(frozen=True, slots=True)
class Suppression:
    """A rule that takes issues out of every count; None leaves a question open.

    `issues` is how many open ones it holds back now, over all branches.
    """

    id: UUID
    tool: str | None
    rule: str | None
    path: str | None
    reason: str
    until: date | None
    author: str
    created_at: datetime
    issues: int
