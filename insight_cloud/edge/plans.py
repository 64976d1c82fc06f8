"""What each Cloudflare plan allows, as data, and what in a configuration it would refuse.

From the availability tables of the documentation. The real API has the last word, and is asked by a
dry run before anything is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from insight_cloud.edge.language import parse, parse_value
from insight_cloud.edge.language.fields import FIELDS
from insight_cloud.edge.language.functions import FUNCTIONS
from insight_cloud.edge.language.syntax import Call, Compare, Field, Node, walk
from insight_cloud.edge.phases import Phase, PlanName

__all__ = ["PERIODS", "PLANS", "Limits", "excess", "needs", "value_expressions"]

PERIODS = (
    *(10, 15, 20, 30, 40, 45, 60, 90, 120, 180, 240, 300, 480, 600),
    *(900, 1200, 1800, 2400, 3600, 65535),
)
"""The periods that Cloudflare counts in, in seconds."""
_TIMEOUTS = (0, *PERIODS, 86400)

_ORDER: tuple[PlanName, ...] = ("free", "pro", "business", "enterprise")
_RATE_FREE = ("http.request.uri.path", "raw.http.request.uri.path", "cf.client.bot")
_RATE_PRO = (
    *_RATE_FREE,
    "http.host",
    "http.request.uri",
    "http.request.full_uri",
    "http.request.uri.query",
    "cf.verified_bot_category",
)
_RATE_BUSINESS = (*_RATE_PRO, "http.request.method", "ip.src", "http.user_agent")


@dataclass(frozen=True, slots=True)
class Limits:
    """The numbers of one plan."""

    firewall_rules: int
    rate_rules: int
    other_rules: int
    """In each other phase."""
    rate_period: int
    """Longest period of a rate rule, in seconds."""
    rate_timeout: int
    """Longest time that a client is stopped, in seconds."""
    rate_fields: tuple[str, ...]
    """Fields in the filter of a rate rule; empty means all."""
    edge_seconds: int
    """Shortest time in the edge's cache."""


PLANS: Mapping[PlanName, Limits] = {
    "free": Limits(5, 1, 10, 10, 10, _RATE_FREE, 7200),
    "pro": Limits(20, 2, 25, 60, 3600, _RATE_PRO, 3600),
    "business": Limits(100, 5, 50, 600, 86400, _RATE_BUSINESS, 1),
    "enterprise": Limits(1000, 100, 300, 65535, 86400, (), 1),
}


def at_least(plan: PlanName, needed: str) -> bool:
    """Whether `plan` includes what `needed` includes."""
    return _ORDER.index(plan) >= _ORDER.index(needed)


def most_rules(phase: Phase, plan: PlanName) -> int:
    """How many rules `phase` may hold."""
    limits = PLANS[plan]
    if phase == "http_request_firewall_custom":
        return limits.firewall_rules
    return limits.rate_rules if phase == "http_ratelimit" else limits.other_rules


def excess(rules: Sequence[Any], phase: Phase, plan: PlanName) -> str:
    """What to say when a phase has too many rules; empty when it has not."""
    most = most_rules(phase, plan)
    if len(rules) <= most:
        return ""
    return f"{len(rules)} rules in {phase}, and the plan {plan} has {most}"


def needs(rule: Mapping[str, Any], phase: Phase, plan: PlanName) -> Iterator[str]:
    """What `rule`, as the API has it, would need beyond `plan`; its expressions must be valid."""
    yield from _expression_needs(parse(rule["expression"], phase=phase), plan)
    if rule["action"] == "log" and plan != "enterprise":
        yield "the action log needs the plan enterprise"
    yield from _parameter_needs(rule.get("action_parameters") or {}, plan)
    if phase == "http_ratelimit":
        yield from _rate_needs(rule, plan)


def _expression_needs(node: Node, plan: PlanName) -> Iterator[str]:
    for part in walk(node):
        match part:
            case Compare(operator="matches") if not at_least(plan, "business"):
                yield (
                    "regular expressions (matches) need the plan business; "
                    "wildcard, contains and starts_with() work on every plan"
                )
            case Field(name=name) if not at_least(plan, FIELDS[name].plan):
                yield f"the field {name} needs the plan {FIELDS[name].plan}"
            case Call(name=name) if name in FUNCTIONS and not at_least(plan, FUNCTIONS[name].plan):
                yield f"the function {name}() needs the plan {FUNCTIONS[name].plan}"
            case _:
                pass


def _parameter_needs(parameters: Mapping[str, Any], plan: PlanName) -> Iterator[str]:
    edge = parameters.get("edge_ttl") or {}
    shortest = PLANS[plan].edge_seconds
    if edge.get("mode") == "override_origin" and 0 < edge.get("default", shortest) < shortest:
        yield f"the plan {plan} keeps copies for at least {shortest} s; this says {edge['default']}"
    if "response" in parameters and not at_least(plan, "pro"):
        yield "a response of one's own needs the plan pro"
    for value in value_expressions(parameters):
        yield from _expression_needs(parse_value(value), plan)


def value_expressions(found: Any) -> Iterator[str]:
    """The value expressions anywhere inside action parameters."""
    if isinstance(found, Mapping):
        for key, inner in found.items():
            if key == "expression" and isinstance(inner, str):
                yield inner
            else:
                yield from value_expressions(inner)
    elif isinstance(found, list | tuple):
        for inner in found:
            yield from value_expressions(inner)


def _rate_needs(rule: Mapping[str, Any], plan: PlanName) -> Iterator[str]:
    limits, rate = PLANS[plan], rule.get("ratelimit") or {}
    period, timeout = rate.get("period", 0), rate.get("mitigation_timeout", 0)
    if period not in PERIODS:
        yield f"a period of {period} s; Cloudflare counts in {', '.join(map(str, PERIODS))} s"
    elif period > limits.rate_period:
        yield f"a period of {period} s; the plan {plan} looks back {limits.rate_period} s at most"
    if timeout not in _TIMEOUTS:
        yield f"a timeout of {timeout} s; Cloudflare knows {', '.join(map(str, _TIMEOUTS))} s"
    elif timeout > limits.rate_timeout:
        yield f"a timeout of {timeout} s; the plan {plan} stops {limits.rate_timeout} s at most"
    by = [name for name in rate.get("characteristics", ()) if name not in {"cf.colo.id", "ip.src"}]
    if by and not at_least(plan, "business"):
        yield f"counting by {', '.join(by)} needs the plan business"
    if rate.get("counting_expression") and not at_least(plan, "business"):
        yield "a counting expression of its own needs the plan business"
    yield from _rate_field_needs(rule["expression"], plan)


def _rate_field_needs(expression: str, plan: PlanName) -> Iterator[str]:
    allowed = PLANS[plan].rate_fields
    names = {part.name for part in walk(parse(expression)) if isinstance(part, Field)}
    for name in sorted(names - set(allowed)) if allowed else ():
        yield f"{name} in the filter of a rate rule; the plan {plan} has {', '.join(allowed)}"
