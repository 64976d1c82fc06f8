"""Sources as the API and the pages see them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

__all__ = ["Place", "Source", "SourcePage", "State", "Step", "StepState"]

State = Literal["queued", "running", "done", "failed", "cancelled"]
"""`done`: there is an analysis, complete or not. `failed`: there is none, and `detail` says why."""

StepState = Literal["running", "ended"]


@dataclass(frozen=True, slots=True)
class Step:
    """One part of the work: fetching, unpacking, a detector."""

    name: str
    state: StepState
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """Which code a source is about: the same that a client says of an upload of findings."""

    branch: str | None = None
    commit: str = ""
    base: str | None = None
    base_commit: str = ""
    pr: int | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """Code that was handed in to be analysed, and how far that is."""

    id: UUID
    kind: Literal["archive", "clone"]
    url: str
    ref: str
    branch: str | None
    commit: str
    pr: int | None
    author: str
    size_bytes: int
    state: State
    steps: tuple[Step, ...]
    detail: str
    tries: int
    analysis: UUID | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None

    @property
    def is_alive(self) -> bool:
        """Whether something may still happen to it."""
        return self.state in {"queued", "running"}


@dataclass(frozen=True, slots=True)
class SourcePage:
    """A part of the list, newest first, and the cursor of the next part."""

    items: tuple[Source, ...]
    next: str | None
