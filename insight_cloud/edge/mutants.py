"""How much a table of samples would notice: coverage of the rules, and small changes of each.

A rule that no sample meets, or a change of it that no sample notices, could be wrong, or become
wrong, without a test failing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from insight_cloud.edge.language import parse, tree
from insight_cloud.edge.language.syntax import Call, Compare, Items, Logic, Node, Not
from insight_cloud.edge.language.syntax import Literal as Constant
from insight_cloud.edge.language.types import BOOL
from insight_cloud.edge.phases import ENDING
from insight_cloud.edge.samples import Outcome, Samples, run
from insight_cloud.edge.simulate import Compiled, Simulator, Verdict

__all__ = ["Coverage", "Mutant", "coverage", "mutants"]

_OPPOSITE: Mapping[str, str] = {
    "eq": "ne",
    "ne": "eq",
    "lt": "ge",
    "ge": "lt",
    "gt": "le",
    "le": "gt",
}
_FEW_ITEMS = 4


@dataclass(frozen=True, slots=True)
class Coverage:
    """How often a rule was met."""

    phase: str
    rule: str
    status: Literal["met", "never matched", "shadowed", "always true"]
    matched: int
    """How many samples it matches on its own."""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Mutant:
    """A small change of one rule, and whether a sample noticed it."""

    phase: str
    rule: str
    change: str
    noticed: bool


def coverage(samples: Samples, simulator: Simulator, zone: str) -> list[Coverage]:
    """How the samples meet each rule, one entry a rule."""
    outcomes = run(samples, simulator, zone)
    return [_covered(rule, samples, outcomes, simulator, zone) for rule in simulator.rules]


def _covered(
    rule: Compiled,
    samples: Samples,
    outcomes: Sequence[Outcome],
    simulator: Simulator,
    zone: str,
) -> Coverage:
    met = sum((rule.phase, rule.name) in outcome.verdict.matched for outcome in outcomes)
    alone = run(samples, simulator.with_rules([rule]), zone)
    matched = [outcome for outcome in alone if (rule.phase, rule.name) in outcome.verdict.matched]
    if not matched:
        return Coverage(rule.phase, rule.name, "never matched", 0)
    if not _has_effect(rule, samples, outcomes, simulator, zone):
        by = sorted(
            {
                o.verdict.rule or o.verdict.cache_rule
                for o in outcomes
                if o.sample in [m.sample for m in matched]
            }
            - {"", rule.name}
        )
        return Coverage(rule.phase, rule.name, "shadowed", len(matched), "by " + ", ".join(by))
    if len(matched) == len(alone) > 1 and rule.rule["expression"].strip(" ()") != "true":
        return Coverage(rule.phase, rule.name, "always true", len(matched))
    return Coverage(rule.phase, rule.name, "met", met)


def _has_effect(
    rule: Compiled,
    samples: Samples,
    outcomes: Sequence[Outcome],
    simulator: Simulator,
    zone: str,
) -> bool:
    """Whether any verdict is another one without the rule."""
    without = simulator.with_rules(other for other in simulator.rules if other is not rule)
    others = run(samples, without, zone)
    return any(
        _shape(outcome.verdict) != _shape(other.verdict)
        for outcome, other in zip(outcomes, others, strict=True)
    )


def _shape(verdict: Verdict) -> tuple[Any, ...]:
    """What a client, the cache or the origin would notice."""
    return (
        verdict.action,
        verdict.rule,
        verdict.location,
        verdict.status,
        verdict.cache,
        verdict.cache_rule,
        verdict.edge_seconds,
        verdict.browser_seconds,
        verdict.target,
        tuple(verdict.counted),
        repr(sorted(verdict.config.items())),
        tuple(sorted(verdict.request_headers.items())),
        tuple(sorted(verdict.response_headers.items())),
        tuple(verdict.compression),
        frozenset(verdict.skipped),
    )


def mutants(samples: Samples, simulator: Simulator, zone: str) -> list[Mutant]:
    """Change each rule in each small way, and see whether a sample that was right goes wrong."""
    right = {
        outcome.sample.name for outcome in run(samples, simulator, zone) if not outcome.problems
    }
    found = []
    for rule in simulator.rules:
        for change, other in _changed(rule):
            rules = [other if known is rule else known for known in simulator.rules]
            kept = [known for known in rules if known is not None]
            outcomes = run(samples, simulator.with_rules(kept), zone)
            noticed = any(o.problems and o.sample.name in right for o in outcomes)
            found.append(Mutant(rule.phase, rule.name, change, noticed))
    return found


def _changed(rule: Compiled) -> Iterator[tuple[str, Compiled | None]]:
    yield "removed", None
    yield from _other_effects(rule)
    node = parse(str(rule.rule["expression"]))
    seen = {str(node)}
    for change, other in _variants(node):
        if str(other) not in seen:
            seen.add(str(other))
            yield change, replace(rule, matches=tree(other))


def _other_effects(rule: Compiled) -> Iterator[tuple[str, Compiled]]:
    action = rule.rule["action"]
    if action in ENDING - {"redirect"} and rule.phase == "http_request_firewall_custom":
        other = "managed_challenge" if action == "block" else "block"
        yield f"{other} instead of {action}", replace(rule, rule={**rule.rule, "action": other})
    parameters = rule.rule.get("action_parameters") or {}
    if "cache" in parameters:
        flipped = {**parameters, "cache": not parameters["cache"]}
        said = "bypass instead of cache" if parameters["cache"] else "cache instead of bypass"
        yield said, replace(rule, rule={**rule.rule, "action_parameters": flipped})
    for key in ("edge_ttl", "browser_ttl"):
        if "default" in parameters.get(key, {}):
            longer = {**parameters[key], "default": parameters[key]["default"] + 1}
            changed = {**rule.rule, "action_parameters": {**parameters, key: longer}}
            yield f"{key} one second longer", replace(rule, rule=changed)


def _variants(node: Node) -> Iterator[tuple[str, Node]]:
    """`node` with one small change, in every way that is tried."""
    match node:
        case Logic(operator=operator, parts=parts):
            yield from _of_logic(node, operator, parts)
        case Not(of=of):
            yield f"without not: {of}", of
            for change, other in _variants(of):
                yield change, Not(other)
        case Compare():
            yield from _of_compare(node)
        case Call(type=kind) if kind == BOOL:
            yield f"not {node}", Not(node)
            yield from _of_call(node)
        case _ if node.type == BOOL:
            yield f"not {node}", Not(node)


def _of_logic(node: Logic, operator: str, parts: tuple[Node, ...]) -> Iterator[tuple[str, Node]]:
    for number, part in enumerate(parts):
        rest = parts[:number] + parts[number + 1 :]
        yield f"without: {part}", rest[0] if len(rest) == 1 else Logic(operator, rest)
        for change, other in _variants(part):
            yield change, Logic(operator, (*parts[:number], other, *parts[number + 1 :]))
    swapped = "or" if operator == "and" else "and"
    yield f"{swapped} instead of {operator}", replace(node, operator=swapped)


def _of_compare(node: Compare) -> Iterator[tuple[str, Node]]:
    if node.operator in _OPPOSITE:
        other = _OPPOSITE[node.operator]
        yield f"{other} instead of {node.operator}: {node}", replace(node, operator=other)
    else:
        yield f"not {node}", Not(node)
    right = node.right
    if isinstance(right, Constant) and isinstance(right.value, bytes):
        longer = replace(right, value=right.value + b"x")
        yield f"{longer} instead of {right}", replace(node, right=longer)
    if isinstance(right, Items) and 1 < len(right.items) <= _FEW_ITEMS:
        for number, item in enumerate(right.items):
            rest = Items(right.items[:number] + right.items[number + 1 :])
            yield f"without {item} in {right}", replace(node, right=rest)


def _of_call(node: Call) -> Iterator[tuple[str, Node]]:
    if node.name in {"any", "all"}:
        other = "all" if node.name == "any" else "any"
        yield f"{other} instead of {node.name}", replace(node, name=other)
        for change, inner in _variants(node.arguments[0]):
            yield change, replace(node, arguments=(inner,))
        return
    last = node.arguments[-1]
    if isinstance(last, Constant) and isinstance(last.value, bytes):
        longer = replace(last, value=last.value + b"x")
        changed = replace(node, arguments=(*node.arguments[:-1], longer))
        yield f"{longer} instead of {last}", changed
