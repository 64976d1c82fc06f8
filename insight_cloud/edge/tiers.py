"""From the application's exact limits to the coarse ones that the edge can keep, and what is lost.

The edge must never stop what the application would admit, so a derived rule counts generously; the
exact limit stays the application's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from insight_cloud.core.errors import Invalid
from insight_cloud.edge.model import RateRule, TierShield
from insight_cloud.edge.phases import PlanName
from insight_cloud.edge.plans import PERIODS, PLANS

__all__ = ["Tier", "shields"]

_MOST_REQUESTS = 1_000_000


@dataclass(frozen=True, slots=True)
class Tier:
    """A limit of the application: at most `limit` requests in any window of `window_seconds`."""

    name: str
    limit: int
    window_seconds: float


def shields(
    wanted: Sequence[TierShield], tiers: Sequence[Tier], plan: PlanName, *, own_rules: int = 0
) -> tuple[tuple[RateRule, ...], tuple[str, ...]]:
    """The rate rules for `wanted`, and in sentences what `plan` cannot express.

    Raises:
        Invalid: there is no tier of that name.
    """
    known = {tier.name: tier for tier in tiers}
    left = max(0, PLANS[plan].rate_rules - own_rules)
    rules: list[RateRule] = []
    said: list[str] = []
    for shield in wanted:
        tier = known.get(shield.tier)
        if tier is None:
            raise Invalid(
                f"the application has no tier {shield.tier!r}; it has "
                + (", ".join(sorted(known)) or "none")
            )
        if len(rules) == left:
            said.append(
                f"{_sentence(tier)}: no rule at the edge; the plan {plan} has "
                f"{PLANS[plan].rate_rules}. The application alone keeps it."
            )
            continue
        rule = _rule(shield, tier, plan)
        rules.append(rule)
        said.append(_lost(rule, tier, shield, plan))
    said += _untold(wanted, known, plan)
    return tuple(rules), tuple(said)


def _rule(shield: TierShield, tier: Tier, plan: PlanName) -> RateRule:
    longest = min(PLANS[plan].rate_period, int(tier.window_seconds))
    period = max((seconds for seconds in PERIODS if seconds <= longest), default=PERIODS[0])
    return RateRule(
        name=f"tier-{tier.name}",
        when=shield.when,
        description=f"shield for the tier {tier.name}: {_sentence(tier)}",
        requests=min(_MOST_REQUESTS, tier.limit * shield.clients_per_address),
        period_seconds=period,
        timeout_seconds=min(period, PLANS[plan].rate_timeout),
    )


def _lost(rule: RateRule, tier: Tier, shield: TierShield, plan: PlanName) -> str:
    shared = f"{tier.limit} for each of {shield.clients_per_address} clients at one address"
    edge = f"more than {rule.requests} requests in {_time(rule.period_seconds)} ({shared})"
    if rule.period_seconds == tier.window_seconds:
        return (
            f"{_sentence(tier)}: the edge stops {edge} in one data centre; "
            "the application counts users and tokens, which the edge does not know."
        )
    spread = int(tier.window_seconds // rule.period_seconds) * rule.requests
    return (
        f"{_sentence(tier)}: the plan {plan} looks back {_time(rule.period_seconds)} at most, so "
        f"the edge stops {edge}. An address that spreads its requests can send {spread:,} in "
        f"{_time(tier.window_seconds)} to each data centre; the application alone keeps the limit."
    )


def _untold(wanted: Sequence[TierShield], known: Mapping[str, Tier], plan: PlanName) -> list[str]:
    named = {shield.tier for shield in wanted}
    return [
        f"{_sentence(tier)}: not asked for at the edge ([[rate.tiers]] with the plan {plan}); "
        "the application alone keeps it."
        for tier in known.values()
        if tier.name not in named
    ]


def _sentence(tier: Tier) -> str:
    return f"{tier.name}, {tier.limit} in any {_time(tier.window_seconds)}"


def _time(seconds: float) -> str:
    for unit, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= unit and seconds % unit == 0:
            return f"{int(seconds // unit)} {name}"
    return f"{seconds:g} s"
