"""The named sets, and what an operator says otherwise."""

from __future__ import annotations

from datetime import timedelta
from typing import get_args

from insight_cloud.app.quotas import PRESETS, of
from insight_cloud.ratelimit import RateLimitSettings
from insight_cloud.settings import Preset, QuotasSettings

ANALYSIS = RateLimitSettings().policies()["analysis"]


def test_every_preset_has_its_limits() -> None:
    assert set(PRESETS) == set(get_args(Preset))
    found = {
        preset: (limits.uploads_per_month, limits.projects, limits.members)
        for preset in PRESETS
        for limits in (of(QuotasSettings(preset=preset), ANALYSIS),)
    }
    assert found == {
        "free": (10, 3, 1),
        "pro": (100, 10, 1),
        "team": (500, 50, 10),
        "unlimited": (None, None, None),
    }


def test_what_is_said_goes_before_the_preset() -> None:
    limits = of(QuotasSettings(preset="free", members=7, uploads_per_day=3), ANALYSIS)
    assert (limits.members, limits.projects, limits.uploads_per_day) == (7, 3, 3)


def test_analyses_are_the_rate_limit_of_that_name() -> None:
    limits = of(QuotasSettings(), ANALYSIS)
    assert (limits.analyses, limits.analyses_window) == (20, timedelta(days=1))
