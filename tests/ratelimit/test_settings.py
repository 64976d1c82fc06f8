from __future__ import annotations

from datetime import timedelta

import pytest
from pydantic import ValidationError

from insight_cloud.ratelimit import RateLimitSettings


def test_the_four_tiers_are_there_from_the_start() -> None:
    policies = RateLimitSettings().policies()
    assert {name: (p.limit, p.window, p.on_failure) for name, p in policies.items()} == {
        "api": (100, timedelta(minutes=15), "open"),
        "auth": (5, timedelta(minutes=15), "closed"),
        "strict": (10, timedelta(hours=1), "local"),
        "analysis": (20, timedelta(days=1), "local"),
    }


def test_any_number_of_limits_may_be_added() -> None:
    settings = RateLimitSettings(api="7/1h", more=("export=3/1d closed", "search = 50/1m"))
    policies = settings.policies()
    assert list(policies) == ["api", "auth", "strict", "analysis", "export", "search"]
    assert policies["api"].limit == 7
    assert policies["export"].on_failure == "closed"
    assert policies["search"].window == timedelta(minutes=1)


@pytest.mark.parametrize(
    "fields",
    [
        {"api": "many"},
        {"more": ("export",)},
        {"more": ("api=1/1h",)},
        {"more": ("Export=1/1h",)},
        {"trusted_proxies": ("10.0.0.0/8", "proxy.example")},
        {"cloudflare_ranges": ("104.16.0.0/99",)},
        {"ipv6_prefix": 8},
        {"apis": "1/1h"},
    ],
)
def test_what_cannot_be_used_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        RateLimitSettings.model_validate(fields)


def test_every_field_says_what_it_is_for() -> None:
    for name, field in RateLimitSettings.model_fields.items():
        assert field.description, name
