"""Analyses as other features and the API see them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from insight_cloud.app.sarif.model import RunState

__all__ = [
    "Analysis",
    "AnalysisDetail",
    "AnalysisPage",
    "PassedOver",
    "Submission",
    "ToolRun",
    "Upload",
]


@dataclass(frozen=True, slots=True)
class Upload:
    """What a client sends beside the log: which code it is about."""

    branch: str | None = None
    commit: str = ""
    category: str = ""
    root: str | None = None


@dataclass(frozen=True, slots=True)
class Analysis:
    """One upload and what it changed. Not `complete`: a tool failed, so it is never green."""

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


@dataclass(frozen=True, slots=True)
class Submission:
    """The answer to an upload. `repeated`: the newest analysis held exactly this already."""

    analysis: Analysis
    runs: tuple[ToolRun, ...]
    warnings: tuple[PassedOver, ...]
    url: str
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class AnalysisPage:
    """A part of the list of analyses, newest first, and the cursor of the next part."""

    items: tuple[Analysis, ...]
    next: str | None
