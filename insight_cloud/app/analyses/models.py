"""Analyses as other features and the API see them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from insight_cloud.app.gates.models import Result, Verdict
from insight_cloud.app.issues.models import Counts
from insight_cloud.app.sarif.model import RunState

__all__ = [
    "Analysis",
    "AnalysisDetail",
    "AnalysisPage",
    "BranchPage",
    "BranchState",
    "PassedOver",
    "Submission",
    "ToolRun",
    "Upload",
]


@dataclass(frozen=True, slots=True)
class Upload:
    """What a client sends beside the log: which code it is about.

    With `base`, a branch, or `pr`, the number of a pull request, the branch is compared with
    what the base had at `base_commit`, and holds only the difference.
    """

    branch: str | None = None
    commit: str = ""
    category: str = ""
    root: str | None = None
    base: str | None = None
    base_commit: str = ""
    pr: int | None = None
    lines: int | None = None


@dataclass(frozen=True, slots=True)
class Analysis:
    """One upload and what it changed. Not `complete`: a tool failed, so it is never green.

    On a branch with a `base`, `new` and `fixed` are what it adds to its base and takes from it.
    """

    id: UUID
    branch: str
    commit: str
    category: str
    complete: bool
    new: int
    fixed: int
    reopened: int
    unchanged: int
    open: int
    suppressed: int
    warnings_total: int
    seconds: float
    uploader: str
    created_at: datetime
    base: str | None
    pr: int | None
    lines: int | None
    verdict: Verdict | None


@dataclass(frozen=True, slots=True)
class ToolRun:
    """How one tool's run ended."""

    tool: str
    version: str
    category: str
    state: RunState
    detail: str
    results: int
    seconds: float


@dataclass(frozen=True, slots=True)
class PassedOver:
    """Something in the log that was not taken as it stood, and where (JSON pointer)."""

    pointer: str
    detail: str


@dataclass(frozen=True, slots=True)
class AnalysisDetail:
    """An analysis with its tools and with what was passed over in its log."""

    analysis: Analysis
    runs: tuple[ToolRun, ...]
    warnings: tuple[PassedOver, ...]
    gate: Result | None = None


@dataclass(frozen=True, slots=True)
class Submission:
    """The answer to an upload. `repeated`: the newest analysis held exactly this already."""

    analysis: Analysis
    runs: tuple[ToolRun, ...]
    warnings: tuple[PassedOver, ...]
    url: str
    repeated: bool = False
    gate: Result | None = None


@dataclass(frozen=True, slots=True)
class AnalysisPage:
    """A part of the list of analyses, newest first, and the cursor of the next part."""

    items: tuple[Analysis, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class BranchState:
    """A branch as it stands: what is open on it, and how its newest analysis did.

    A `long` branch holds its full state; a `short` one and a pull request (`pr`) hold what they
    add to `base`. `fixed` is how many issues of the base are gone.
    """

    name: str
    kind: Literal["long", "short", "pr"]
    base: str | None
    pr: int | None
    head: str
    open: Counts
    fixed: int
    commit: str
    analysed_at: datetime | None
    verdict: Verdict | None
    closed_at: datetime | None


@dataclass(frozen=True, slots=True)
class BranchPage:
    """A part of the list of branches, and the cursor of the next part."""

    items: tuple[BranchState, ...]
    next: str | None
