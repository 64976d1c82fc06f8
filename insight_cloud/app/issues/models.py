"""Issues as other features and the API see them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal
from uuid import UUID

from insight_cloud.app.sarif.model import SEVERITIES, Category, Severity

__all__ = [
    "RANKS",
    "Change",
    "Code",
    "Counts",
    "Day",
    "Decision",
    "Event",
    "Filter",
    "Issue",
    "IssueDetail",
    "IssuePage",
    "Muted",
    "Place",
    "ProjectState",
    "State",
    "Top",
    "TriageState",
]

State = Literal["open", "fixed"]

TriageState = Literal["false_positive", "wont_fix", "accepted"]
"""What a person decided about an issue: it is none, it stays, or it stays until a date."""

Muted = Literal["false_positive", "wont_fix", "accepted", "source", "rule"]
"""Why an issue does not count: a judgement, a comment in the source, a suppression."""

RANKS: dict[Severity, int] = {name: 5 - index for index, name in enumerate(SEVERITIES)}
"""How the table stores a severity: 5 is critical, 1 is info."""


@dataclass(frozen=True, slots=True)
class Issue:
    """One row of the list: what is wrong and where."""

    id: UUID
    tool: str
    rule: str
    severity: Severity
    category: Category
    state: State
    suppressed: bool
    message: str
    path: str | None
    line: int | None
    created_at: datetime
    triage: TriageState | None


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to an issue: the analysis that saw it, or the person who did it."""

    event: Literal[
        "new", "fixed", "reopened", "triaged", "reset", "expired", "suppressed", "unsuppressed"
    ]
    analysis: UUID | None
    commit: str
    created_at: datetime
    actor: str = ""
    triage: TriageState | None = None
    reason: str = ""
    until: date | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """Who decided that an issue does not count, why, and until which day (it included)."""

    reason: str
    until: date | None
    author: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Place:
    """Another place that has to do with an issue, or a step of the way to it."""

    path: str
    line: int | None = None
    end_line: int | None = None
    column: int | None = None
    end_column: int | None = None
    message: str = ""
    external: bool = False


@dataclass(frozen=True, slots=True)
class Code:
    """A few lines of the code around an issue, from `line` on; credentials are masked."""

    line: int
    text: str


@dataclass(frozen=True, slots=True)
class IssueDetail:
    """Everything known about one issue."""

    issue: Issue
    branch: str
    end_line: int | None
    column: int | None
    end_column: int | None
    rule_name: str
    rule_summary: str
    rule_help: str
    rule_help_uri: str
    first_analysis: UUID
    in_source: bool = False
    judgement: Decision | None = None
    suppression: Decision | None = None
    related: tuple[Place, ...] = ()
    flow: tuple[Place, ...] = ()
    events: tuple[Event, ...] = ()
    code: Code | None = None


@dataclass(frozen=True, slots=True)
class IssuePage:
    """A part of a list, and the cursor of the next part (None at the end)."""

    items: tuple[Issue, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class Filter:
    """Which issues to list; None leaves a question open.

    `path` is a prefix, `text` is searched in the message without regard to case. Suppressed
    issues are listed only on request, or alone by what took them out (`muted`). `branch` is the
    project's default branch when None. `new_in` and `fixed_in` name an analysis.
    `gone` lists what the base of a short branch has and the branch has no longer.
    """

    branch: str | None = None
    state: State | None = "open"
    severity: tuple[Severity, ...] = ()
    category: Category | None = None
    tool: str | None = None
    rule: str | None = None
    path: str | None = None
    text: str | None = None
    suppressed: bool = False
    muted: Muted | None = None
    gone: bool = False
    new_in: UUID | None = None
    fixed_in: UUID | None = None


@dataclass(frozen=True, slots=True)
class Counts:
    """Open issues that are not suppressed, by severity."""

    critical: int = 0
    high: int = 0
    medium: int = 0
    low: int = 0
    info: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.critical + self.high + self.medium + self.low + self.info


@dataclass(frozen=True, slots=True)
class Day:
    """One day of a trend: what was open at its end, what came and what went."""

    day: date
    open: Counts
    new: int
    fixed: int


@dataclass(frozen=True, slots=True)
class Top:
    """A rule, path or category and how many open issues it has."""

    name: str
    open: int
    worst: Severity


@dataclass(frozen=True, slots=True)
class ProjectState:
    """A project in the overview: its default branch now, and what the last 7 days changed."""

    slug: str
    name: str
    branch: str
    open: Counts
    new_7_days: int
    fixed_7_days: int
    trend_30_days: tuple[int, ...]
    analysed_at: datetime | None
    complete: bool | None


@dataclass(frozen=True, slots=True)
class Change:
    """What one run of a tool did to the issues of a branch."""

    new: int = 0
    fixed: int = 0
    reopened: int = 0
    unchanged: int = 0
    suppressed: int = 0

    def __add__(self, other: Change) -> Change:
        return Change(
            self.new + other.new,
            self.fixed + other.fixed,
            self.reopened + other.reopened,
            self.unchanged + other.unchanged,
            self.suppressed + other.suppressed,
        )
