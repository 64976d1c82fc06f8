"""What is used of the limits, as frozen data: bodies of answers and rows of pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from insight_cloud.settings import Preset

__all__ = ["Meter", "Overview", "ProjectUsage", "Usage", "UserUsage"]


@dataclass(frozen=True, slots=True)
class Meter:
    """How much is used of a limit (None: not limited), in any `window_seconds`.

    `next_seconds` is how long until more becomes free; 0 when nothing is used, or nothing frees.
    """

    used: int
    limit: int | None
    window_seconds: int | None = None
    next_seconds: int = 0

    @property
    def remaining(self) -> int | None:
        """What is left; None without a limit."""
        return None if self.limit is None else max(0, self.limit - self.used)


@dataclass(frozen=True, slots=True)
class ProjectUsage:
    """The uploads of one project."""

    project: str
    day: Meter
    month: Meter


@dataclass(frozen=True, slots=True)
class Usage:
    """What a caller uses: analyses on the server, projects, and uploads by project."""

    preset: Preset
    analyses: Meter
    projects: Meter
    members_limit: int | None
    uploads: Sequence[ProjectUsage]


@dataclass(frozen=True, slots=True)
class UserUsage:
    """The analyses on the server of one user or of one of the operator's tokens."""

    who: str
    analyses: Meter


@dataclass(frozen=True, slots=True)
class Overview:
    """What everybody uses, the most first, for administrators."""

    preset: Preset
    members_limit: int | None
    projects_limit: int | None
    users: Sequence[UserUsage]
    uploads: Sequence[ProjectUsage]
