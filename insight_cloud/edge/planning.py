"""What would be done to make the zone what is wanted: pure, from two states to changes and writes.

Rules are compared in one canonical form: without what only the server sets, without its defaults,
and with expressions by their meaning instead of their white space. So a zone that is as it shall be
shows no change at all.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_left
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal, TypeAlias

from insight_cloud.core.plan import Change, Plan
from insight_cloud.edge.items import ITEMS, PHASE_STEPS, item, same
from insight_cloud.edge.language import ExpressionError, parse, parse_value
from insight_cloud.edge.phases import Phase
from insight_cloud.edge.state import Ruleset, State
from insight_cloud.edge.wanted import PREFIX, Wanted

__all__ = ["EdgePlan", "Write", "canonical", "merged", "plan"]

Rule: TypeAlias = Mapping[str, Any]

_SENT = (
    "ref",
    "description",
    "enabled",
    "expression",
    "action",
    "action_parameters",
    "ratelimit",
    "logging",
    "exposed_credential_check",
)
"""What of a rule is sent. Its `ref` keeps its identity, so no `id` is needed."""
_DEFAULTS: Mapping[str, Any] = {
    "preserve_query_string": False,
    "requests_to_origin": False,
    "mitigation_timeout": 0,
}
"""What the server adds when nobody says it."""


@dataclass(frozen=True, slots=True)
class Write:
    """One call that changes something."""

    target: str
    """The name of a value, or a phase."""
    kind: Literal["item", "ruleset"]
    step: int
    value: Any


@dataclass(frozen=True)
class EdgePlan:
    """The changes, for people, and the writes that make them, in a safe order."""

    zone: str
    changes: Plan
    writes: tuple[Write, ...]
    found: Mapping[str, str]
    """The fingerprint of the zone for which this was planned."""
    unmanaged: tuple[str, ...] = ()
    """Rules of others, which stay where they are."""
    notes: tuple[str, ...] = ()
    unavailable: tuple[str, ...] = ()
    """What is wanted and cannot be had; nothing is applied while there is any."""
    places: Mapping[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.changes)

    @property
    def digest(self) -> str:
        """SHA-256 of what would be written and of the state that it was planned for."""
        body = {
            "zone": self.zone,
            "found": dict(self.found),
            "writes": [[w.target, w.kind, w.step, w.value] for w in self.writes],
        }
        text = json.dumps(body, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def plan(state: State, wanted: Wanted) -> EdgePlan:
    """What turns `state` into `wanted`."""
    changes: list[Change] = []
    writes: list[Write] = []
    unavailable: list[str] = []
    for name, value in wanted.items.items():
        found = state.items.get(name)
        place = wanted.places.get(name, "")
        if found is None:
            unavailable.append(f"{place}: {name} cannot be read: {state.unread.get(name, '')}")
        elif not same(name, found.value, value):
            if not found.editable:
                unavailable.append(
                    f"{place}: {name} cannot be changed on the plan {state.zone.plan}"
                )
            before, after = _item_difference(found.value, value)
            changes.append(Change("update", name, before, after))
            step = item(name).step if name in ITEMS else 4
            writes.append(Write(name, "item", step, _whole(found.value, value)))
    for phase in PHASE_STEPS:
        rules = wanted.rulesets.get(phase, ())
        live = state.rulesets.get(phase)
        if live is None:
            if rules:
                unavailable.append(f"{phase} cannot be read: {state.unread.get(phase, '')}")
            continue
        difference = list(_rule_changes(phase, live.rules, rules))
        if difference:
            changes += difference
            value = [sent(rule) for rule in merged(live.rules, rules)]
            writes.append(Write(phase, "ruleset", PHASE_STEPS[phase], value))
    return EdgePlan(
        state.zone.id,
        Plan(tuple(changes)),
        tuple(sorted(writes, key=_order)),
        state.fingerprint(),
        tuple(_unmanaged(state.rulesets, wanted)),
        wanted.notes,
        tuple(unavailable),
        wanted.places,
    )


def _order(write: Write) -> tuple[int, bool, int]:
    """Step by step; HSTS after everything, since browsers remember it when all else is undone."""
    ranks = [*ITEMS, *PHASE_STEPS]
    rank = ranks.index(write.target) if write.target in ranks else 0
    return (write.step, write.target == "security_header", rank)


# -- values --------------------------------------------------------------------------------


def _item_difference(found: Any, wanted: Any) -> tuple[Any, Any]:
    """The keys of an object that differ; a plain value as it is."""
    if not isinstance(wanted, dict) or not isinstance(found, dict):
        return found, wanted
    keys = [key for key, value in wanted.items() if found.get(key) != value]
    if len(keys) == 1 and isinstance(wanted[keys[0]], dict):
        return _item_difference(found.get(keys[0]) or {}, wanted[keys[0]])
    return {key: found.get(key) for key in keys}, {key: wanted[key] for key in keys}


def _whole(found: Any, wanted: Any) -> Any:
    """What is sent: an object's wanted keys, and inside a setting also the keys it has already."""
    if not isinstance(wanted, dict):
        return wanted
    return {
        key: {**(found.get(key) or {}), **value} if isinstance(value, dict) else value
        for key, value in wanted.items()
    }


# -- rules ---------------------------------------------------------------------------------


def is_ours(rule: Rule, wanted: Container[str] = ()) -> bool:
    """Whether we made `rule`, or the file names it by its `ref`."""
    ref = str(rule.get("ref", ""))
    return ref.startswith(PREFIX) or ref in wanted


def sent(rule: Rule) -> dict[str, Any]:
    """`rule` as it is sent."""
    return {key: rule[key] for key in _SENT if rule.get(key) is not None}


def canonical(rule: Rule) -> dict[str, Any]:
    """`rule` in the form in which two rules that do the same are equal."""
    kept = {key: _plain(rule[key]) for key in _SENT if rule.get(key) is not None}
    kept["enabled"] = rule.get("enabled") is not False
    kept["description"] = rule.get("description") or ""
    kept["expression"] = _expression(str(rule.get("expression", "")))
    if not kept.get("action_parameters"):
        kept.pop("action_parameters", None)
    return kept


def _plain(value: Any, *, key: str = "") -> Any:
    """Without nulls and the server's defaults; value expressions by their meaning."""
    if isinstance(value, dict):
        return {
            name: _plain(inner, key=name)
            for name, inner in value.items()
            if inner is not None and (name not in _DEFAULTS or inner != _DEFAULTS[name])
        }
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if key in {"expression", "counting_expression"} and isinstance(value, str):
        return _expression(value, filter_=key != "expression")
    return value


@lru_cache(maxsize=4096)
def _expression(text: str, *, filter_: bool = True) -> str:
    """One text for all ways to write the same expression; an unknown one without its margins."""
    try:
        return str(parse(text) if filter_ else parse_value(text))
    except ExpressionError:
        return text.strip()


def _rule_changes(phase: Phase, live: Sequence[Rule], wanted: Sequence[Rule]) -> Iterator[Change]:
    after = {str(rule["ref"]): rule for rule in wanted}
    before = {str(rule["ref"]): rule for rule in live if is_ours(rule, after)}
    for ref, rule in before.items():
        if ref not in after:
            yield Change("delete", _target(phase, ref), canonical(rule))
    moved = _moved(list(before), list(after))
    for position, (ref, rule) in enumerate(after.items()):
        target = _target(phase, ref)
        if ref not in before:
            yield Change("create", target, None, canonical(rule))
            continue
        old, new = canonical(before[ref]), canonical(rule)
        if "logging" not in new:  # the server adds it to rules that skip
            old.pop("logging", None)
        if old != new:
            keys = [key for key in (*old, *new) if old.get(key) != new.get(key)]
            keys = list(dict.fromkeys(keys))
            yield Change(
                "update",
                target,
                {key: old.get(key) for key in keys},
                {key: new.get(key) for key in keys},
            )
        if ref in moved:
            earlier = [other for other in before if other in after].index(ref)
            yield Change("move", target, earlier + 1, position + 1)


def _target(phase: Phase, ref: str) -> str:
    return f"{phase}/{ref.removeprefix(PREFIX)}"


def _moved(before: Sequence[str], after: Sequence[str]) -> set[str]:
    """The fewest rules that must move: those outside the longest run that keeps its order."""
    kept = [ref for ref in before if ref in set(after)]
    places = {ref: number for number, ref in enumerate(after)}
    return set(kept) - _longest_run(kept, places)


def _longest_run(refs: Sequence[str], places: Mapping[str, int]) -> set[str]:
    """A longest subsequence of `refs` whose places rise."""
    tails: list[int] = []
    last: list[int] = []
    previous: list[int] = []
    numbers = [places[ref] for ref in refs]
    for index, number in enumerate(numbers):
        spot = bisect_left(tails, number)
        previous.append(last[spot - 1] if spot else -1)
        tails[spot : spot + 1] = [number]
        last[spot : spot + 1] = [index]
    found: set[str] = set()
    index = last[-1] if last else -1
    while index >= 0:
        found.add(refs[index])
        index = previous[index]
    return found


def merged(live: Sequence[Rule], wanted: Sequence[Rule]) -> list[Rule]:
    """`wanted` in its order, with the rules of others where they are now.

    What keeps its order stays in place; a new or moved rule comes right behind its predecessor,
    and without one right before its successor.
    """
    after = {str(rule["ref"]): rule for rule in wanted}
    before = [str(rule["ref"]) for rule in live if is_ours(rule, after)]
    staying = set(before) & set(after) - _moved(before, list(after))
    result: list[Rule] = [
        after.get(str(rule.get("ref", "")), rule)
        for rule in live
        if not is_ours(rule, after) or str(rule["ref"]) in staying
    ]
    place = _first_place(result, after, staying)
    for ref, rule in after.items():
        if ref in staying:
            place = next(n for n, r in enumerate(result) if r.get("ref") == ref) + 1
        else:
            result.insert(place, rule)
            place += 1
    return result


def _first_place(result: Sequence[Rule], after: Mapping[str, Rule], staying: set[str]) -> int:
    first = next((ref for ref in after if ref in staying), None)
    if first is None:
        return len(result)
    return next(n for n, rule in enumerate(result) if rule.get("ref") == first)


def _unmanaged(rulesets: Mapping[Phase, Ruleset], wanted: Wanted) -> Iterator[str]:
    for phase, ruleset in rulesets.items():
        known = {str(rule["ref"]) for rule in wanted.rulesets.get(phase, ())}
        for rule in ruleset.rules:
            if not is_ours(rule, known):
                yield f"{phase}: {rule.get('description') or rule.get('ref') or rule.get('id')}"
