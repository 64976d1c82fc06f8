"""The limits of this service: a named set, and what the operator says otherwise. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from insight_cloud.ratelimit import Policy
from insight_cloud.settings import Preset, QuotasSettings

__all__ = ["DAY", "MONTH", "PRESETS", "Limits", "of"]

DAY, MONTH = timedelta(days=1), timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Limits:
    """What may be used; None is not limited.

    Attributes:
        analyses: on the server, of each user, in any `analyses_window`.
        uploads_per_day: of each project, in any 24 hours.
        uploads_per_month: of each project, in any 30 days.
        projects: that one user made or maintains.
        members: of each project.
    """

    preset: Preset
    analyses: int
    analyses_window: timedelta
    uploads_per_day: int | None
    uploads_per_month: int | None
    projects: int | None
    members: int | None


@dataclass(frozen=True, slots=True)
class _Named:
    uploads_per_month: int | None
    projects: int | None
    members: int | None


PRESETS: dict[Preset, _Named] = {
    "free": _Named(10, 3, 1),
    "pro": _Named(100, 10, 1),
    "team": _Named(500, 50, 10),
    "unlimited": _Named(None, None, None),
}


def of(settings: QuotasSettings, analysis: Policy) -> Limits:
    """The limits that `settings` mean; `analysis` is the rate limit of that name."""
    named = PRESETS[settings.preset]
    limits = Limits(
        settings.preset,
        analyses=analysis.limit,
        analyses_window=timedelta(seconds=analysis.seconds),
        uploads_per_day=settings.uploads_per_day,
        uploads_per_month=named.uploads_per_month,
        projects=named.projects,
        members=named.members,
    )
    told = {
        name: value
        for name in ("uploads_per_month", "projects", "members")
        if (value := getattr(settings, name)) is not None
    }
    return replace(limits, **told)
