"""A derived rule never stops what the application admits, and what is lost is said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insight_cloud.core.errors import Invalid
from insight_cloud.edge.model import TierShield
from insight_cloud.edge.phases import PlanName
from insight_cloud.edge.plans import PERIODS, PLANS, needs
from insight_cloud.edge.tiers import Tier, shields
from insight_cloud.edge.wanted import made
from tests.edge.support import TIERS

_PATH = 'starts_with(http.request.uri.path, "/api/")'
_API = TierShield(tier="api", when=_PATH)
_plans = st.sampled_from(list(PLANS))


@given(_plans, st.integers(1, 5000), st.integers(10, 200_000), st.integers(1, 50))
def test_the_rule_admits_what_the_application_admits_and_fits_the_plan(
    plan: PlanName, limit: int, window: int, clients: int
) -> None:
    shield = TierShield(tier="t", when=_PATH, clients_per_address=clients)
    (rule,), (said,) = shields([shield], [Tier("t", limit, window)], plan)
    # All of a window's requests may come within one period, from each client of the address.
    assert rule.requests >= limit * clients
    assert rule.period_seconds <= min(window, PLANS[plan].rate_period)
    assert rule.period_seconds in PERIODS
    assert list(needs(made(rule), "http_ratelimit", plan)) == []
    assert str(limit) in said


def test_the_free_plan_says_what_it_cannot() -> None:
    (rule,), said = shields([_API], TIERS, "free")
    assert (rule.requests, rule.period_seconds, rule.timeout_seconds) == (500, 10, 10)
    assert "the plan free looks back 10 s at most" in said[0]
    assert "45,000 in 15 min" in said[0]
    assert [text.partition(",")[0] for text in said] == ["api", "auth", "strict", "analysis"]


def test_enterprise_keeps_the_window_itself() -> None:
    (rule,), said = shields([_API], [Tier("api", 100, 900)], "enterprise")
    assert rule.period_seconds == 900
    assert "does not know" in said[0]


def test_tiers_beyond_the_plans_rules_are_told() -> None:
    auth = TierShield(tier="auth", when=_PATH)
    rules, said = shields([_API, auth], TIERS, "free")
    assert [rule.name for rule in rules] == ["tier-api"]
    assert "auth, 5 in any 15 min: no rule at the edge; the plan free has 1" in said[1]
    rules, _ = shields([_API], TIERS, "free", own_rules=1)
    assert rules == ()


def test_a_tier_that_does_not_exist_is_told() -> None:
    with pytest.raises(Invalid, match="no tier 'x'; it has none"):
        shields([TierShield(tier="x", when=_PATH)], [], "free")
