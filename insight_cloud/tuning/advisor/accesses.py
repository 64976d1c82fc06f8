"""What a plan does with each table: conditions, orders, columns it needs. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from insight_cloud.tuning.advisor.conditions import (
    Condition,
    conditions,
    references,
    unqualified,
)

__all__ = ["Access", "Order", "accesses", "indexes_used", "nodes"]

_CONDITIONS = (
    "Filter", "Index Cond", "Recheck Cond", "Join Filter", "Hash Cond", "Merge Cond", "Order By",
)  # fmt: skip
_DIRECTION = re.compile(r"(?P<key>.+?)(?P<down> DESC)?(?P<nulls> NULLS (?:FIRST|LAST))?$")


@dataclass(frozen=True, slots=True)
class Order:
    """One key of an order: column or expression, and its direction."""

    key: str
    descending: bool = False
    nulls_first: bool = False

    def turned(self) -> Order:
        """The same read backwards."""
        return Order(self.key, not self.descending, not self.nulls_first)

    def __str__(self) -> str:
        words = [self.key]
        if self.descending:
            words.append("desc")
        if self.nulls_first != self.descending:
            words.append("nulls first" if self.nulls_first else "nulls last")
        return " ".join(words)


@dataclass(slots=True)
class Access:
    """One table in one query."""

    alias: str
    schema: str
    table: str
    rows: float
    cost: float
    conditions: list[Condition] = field(default_factory=list)
    orders: list[tuple[Order, ...]] = field(default_factory=list)
    columns: set[str] = field(default_factory=set)
    """Every column that the query needs of it."""


def nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Every node of a plan, the root first."""
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes(below)


def indexes_used(plan: Mapping[str, Any]) -> set[str]:
    """The names of the indexes in a plan."""
    return {str(node["Index Name"]) for node in nodes(plan) if "Index Name" in node}


def accesses(plan: Mapping[str, Any]) -> list[Access]:
    """Read a plan from `EXPLAIN (VERBOSE, FORMAT JSON)`."""
    found: dict[str, Access] = {}
    for node in nodes(plan):
        if "Relation Name" in node and "Schema" in node and node["Node Type"] != "ModifyTable":
            alias = _quoted(node.get("Alias", node["Relation Name"]))
            found.setdefault(
                alias,
                Access(
                    alias, node["Schema"], node["Relation Name"],
                    node.get("Plan Rows", 0), node.get("Total Cost", 0),
                ),
            )  # fmt: skip
    for node in nodes(plan):
        _read(node, found)
    return list(found.values())


def _read(node: Mapping[str, Any], found: Mapping[str, Access]) -> None:
    for name in _CONDITIONS:
        value = node.get(name)
        if not isinstance(value, str):
            continue
        for condition in conditions(value):
            access = found.get(condition.alias)
            if access is not None and condition not in access.conditions:
                access.conditions.append(condition)
        _need(value, found)
    for name in ("Output", "Sort Key", "Group Key"):
        for value in node.get(name, ()):
            _need(value, found)
    for orders in _orders(node):
        _order(orders, found)


def _need(text: str, found: Mapping[str, Access]) -> None:
    pattern = r"(\"(?:[^\"]|\"\")+\"|[A-Za-z_][\w$]*)\.(\"(?:[^\"]|\"\")+\"|[A-Za-z_][\w$]*)"
    for alias, column in re.findall(pattern, re.sub(r"'(?:[^']|'')*'", "''", text)):
        if alias in found:
            found[alias].columns.add(column)


def _orders(node: Mapping[str, Any]) -> Iterator[list[str]]:
    """The orders that would help a node, were they there already."""
    if node["Node Type"] in {"Sort", "Incremental Sort"}:
        yield list(node.get("Sort Key", ()))
    if node.get("Group Key"):
        yield list(node["Group Key"])
    if node["Node Type"] == "Aggregate" and not node.get("Group Key"):
        for output in node.get("Output", ()):
            if extreme := re.fullmatch(r"(?:PARTIAL )?(?:min|max)\((.+)\)", output):
                yield [extreme[1]]


def _order(keys: list[str], found: Mapping[str, Access]) -> None:
    aliases = {alias for key in keys for alias in references(key)}
    whole = all(references(key) for key in keys)
    if len(aliases) != 1 or not whole:
        # A join's order may begin with the keys of one table.
        first = references(keys[0]) if keys else set()
        if len(first) != 1:
            return
        aliases = first
        keys = keys[: _run(keys, first)]
    (alias,) = aliases
    access = found.get(alias)
    parsed = tuple(map(_direction, keys))
    if access is not None and parsed and parsed not in access.orders:
        access.orders.append(parsed)


def _run(keys: list[str], alias: set[str]) -> int:
    return next((at for at, key in enumerate(keys) if references(key) != alias), len(keys))


def _direction(text: str) -> Order:
    found = _DIRECTION.fullmatch(text)
    assert found is not None  # noqa: S101 - every text matches
    down = found["down"] is not None
    first = found["nulls"] == " NULLS FIRST" if found["nulls"] else down
    key = unqualified(found["key"])
    if key.startswith("(") and key.endswith(")") and re.fullmatch(r"\([^()]+\)", key):
        key = key[1:-1]
    return Order(key, down, first)


def _quoted(name: str) -> str:
    return name if re.fullmatch(r"[a-z_][a-z0-9_$]*", name) else '"' + name.replace('"', '""') + '"'
