"""Which indexes might help a query: from what its plan asks of each table. Pure.

A b-tree answers equalities first, then one range or an order. So the keys are put in that
sequence; how columns of equal standing are ordered is left to how many queries share a prefix.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from insight_cloud.tuning.advisor.accesses import Access, Order
from insight_cloud.tuning.advisor.conditions import Condition
from insight_cloud.tuning.facts import quoted

__all__ = ["Candidate", "Column", "Columns", "candidates"]

_MOST_KEYS = 4
_MOST_EQUALS = 4
_MOST_INCLUDED = 3
_WIDEST_INCLUDED = 40
_RARE = 0.25
_VOLATILE = re.compile(
    r"\b(now|random|nextval|current_\w+|clock_timestamp|timezone|to_char|age)\s*\(", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Column:
    """What is known of a column: its type, mean width in bytes, and how its values spread."""

    type: str
    width: float = 8
    distinct: float = 0
    """The number of different values; negative: as a share of the rows."""
    nulls: float = 0
    common: tuple[tuple[str, float], ...] = ()
    """The most common values, as text, with their shares."""


Columns = Mapping[tuple[str, str], Mapping[str, Column]]
"""Columns by schema and table."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An index that might be made."""

    schema: str
    table: str
    keys: tuple[str, ...]
    included: tuple[str, ...] = ()
    predicate: str = ""
    method: str = "btree"

    @property
    def name(self) -> str:
        """A name that says what is in it, the same for the same index."""
        words = re.sub(r"\W+", "_", "_".join((self.table, *self.keys)).lower()).strip("_")
        more = repr((self.included, self.predicate, self.method, self.keys))
        digest = hashlib.blake2b(more.encode(), digest_size=3).hexdigest()
        return f"{words[:50].rstrip('_')}_{digest}"

    @property
    def title(self) -> str:
        """For people and statements."""
        return quoted(self.schema, self.name)

    @property
    def on(self) -> str:
        """What follows `create index NAME`."""
        text = f"on {quoted(self.schema, self.table)} using {self.method} ({', '.join(self.keys)})"
        if self.included:
            text += f" include ({', '.join(self.included)})"
        return text + (f" where {self.predicate}" if self.predicate else "")

    def covers(self, other: Candidate) -> bool:
        """Whether `other` is of no use beside this one."""
        return (
            (self.schema, self.table, self.predicate, self.method)
            == (other.schema, other.table, other.predicate, other.method)
            and self.method == "btree"
            and self.keys[: len(other.keys)] == other.keys
            and set(other.included) <= {*self.included, *self.keys}
        )


def candidates(
    found: Iterable[Access], columns: Columns, *, plain_prefixes: bool, trigrams: bool
) -> Iterator[Candidate]:
    """Return what might help one query, each once.

    `plain_prefixes`: the database's own order finds prefixes, as that of C does. `trigrams`:
    pg_trgm is there.
    """
    seen: set[Candidate] = set()
    for access in found:
        known = columns.get((access.schema, access.table))
        if known is None:
            continue
        for one in _of_access(access, known, plain_prefixes=plain_prefixes, trigrams=trigrams):
            if one not in seen and 0 < len(one.keys) <= _MOST_KEYS + 2:
                seen.add(one)
                yield one


def _of_access(
    access: Access, known: Mapping[str, Column], *, plain_prefixes: bool, trigrams: bool
) -> Iterator[Candidate]:
    usable = [c for c in access.conditions if _indexable(c, known)]
    yield from _inverted(access, usable, known, trigrams=trigrams)
    for predicate, rest in _predicates(usable, known):
        for keys in _key_lists(access, rest, known, plain_prefixes=plain_prefixes):
            bare = Candidate(access.schema, access.table, keys, (), predicate)
            yield bare
            yield from _covering(access, bare, known)


def _indexable(condition: Condition, known: Mapping[str, Column]) -> bool:
    if condition.key in known:
        kind = known[condition.key].type
        return condition.kind == "member" or kind not in {"json", "point", "xml", "box"}
    expression = condition.key
    return (
        _VOLATILE.search(expression) is None
        and condition.kind != "null"
        and not re.fullmatch(r"[\w.$']+", expression)
        and any(re.search(rf"\b{re.escape(name)}\b", expression) for name in known)
    )


def _key(key: str, known: Mapping[str, Column]) -> str:
    """A key as `CREATE INDEX` wants it: an expression in parentheses."""
    if key in known or re.fullmatch(r"\w+\([^()]*\)", key):
        return key
    return f"({key})"


# -- which rows -----------------------------------------------------------------------------


def _predicates(
    usable: list[Condition], known: Mapping[str, Column]
) -> Iterator[tuple[str, list[Condition]]]:
    """No predicate, then each constant that few rows fulfil, then all of them."""
    yield "", usable
    fixed = [c for c in usable if c.text and not c.alternative and _rare(c, known)]
    groups = [[c] for c in fixed] + ([fixed] if len(fixed) > 1 else [])
    for group in groups:
        text = " and ".join(sorted({_in_parentheses(c.text) for c in group}))
        keys = {c.key for c in group}
        yield text, [c for c in usable if c not in group and c.key not in keys]


def _rare(condition: Condition, known: Mapping[str, Column]) -> bool:
    """Whether few rows fulfil a condition that never changes."""
    column = known.get(condition.key)
    if column is None:
        return False
    if condition.kind == "null":
        share = 1 - column.nulls if condition.value else column.nulls
        return share <= _RARE
    if condition.kind == "true":
        false = condition.text.startswith("NOT")
        return dict(column.common).get("f" if false else "t", 0.0) <= _RARE
    if condition.kind not in {"equal", "among"} or not 0 < column.distinct <= 50:
        return False
    values = re.findall(r"[\w.\- ]+", re.sub(r"::[\w\[\] ]+|ANY", "", condition.value))
    shares = dict(column.common)
    return sum(shares.get(value, 0.0) for value in values) <= _RARE


def _in_parentheses(text: str) -> str:
    return text if text.startswith("(") and text.endswith(")") else f"({text})"


# -- which keys -----------------------------------------------------------------------------


def _key_lists(
    access: Access, usable: list[Condition], known: Mapping[str, Column], *, plain_prefixes: bool
) -> Iterator[tuple[str, ...]]:
    equals = _unique(c.key for c in usable if c.kind in {"equal", "true"} and not c.alternative)
    equals += [
        key
        for key in _unique(c.key for c in usable if c.kind == "among" and not c.alternative)
        if key not in equals
    ]
    nulls = _unique(c.key for c in usable if c.kind == "null" and not c.value)
    equals = sorted(equals, key=lambda key: -_spread(known.get(key)))[:_MOST_EQUALS]
    joins = [key for key in _unique(c.key for c in usable if c.kind == "join") if key not in equals]
    ends = list(_ends(access, usable, known, plain_prefixes=plain_prefixes))
    starts = list(_starts(equals, nulls, joins, known))
    for start in starts:
        if start:
            yield start
        for end in ends:
            kept = tuple(part for part in end if part.split(" ", 1)[0] not in start)
            if kept:
                yield (*start, *kept)
    for condition in usable:  # arms of an OR, and single columns that other queries share
        if condition.kind in {"equal", "among", "join"}:
            yield (_key(condition.key, known),)


def _starts(
    equals: list[str], nulls: list[str], joins: list[str], known: Mapping[str, Column]
) -> Iterator[tuple[str, ...]]:
    yield ()
    base = [_key(key, known) for key in equals]
    seen: set[tuple[str, ...]] = {()}
    lists = [base[:size] for size in range(1, len(base) + 1)]
    lists += [[one] for one in base]
    lists += [list(pair) for pair in itertools.permutations(base[:3], 2)]
    linked = [_key(key, known) for key in joins]
    lists += [[one] for one in linked]
    lists += [[one, *base] for one in linked] + [[*base, one] for one in linked]
    lists += [list(pair) for pair in itertools.permutations(linked[:3], 2)]
    lists += [[*base, key] for key in nulls]
    for one in lists:
        start = tuple(dict.fromkeys(one))[:_MOST_KEYS]
        if start not in seen:
            seen.add(start)
            yield start


def _ends(
    access: Access, usable: list[Condition], known: Mapping[str, Column], *, plain_prefixes: bool
) -> Iterator[tuple[str, ...]]:
    for condition in usable:
        key = _key(condition.key, known)
        if condition.kind == "range":
            yield (key,)
        elif condition.kind == "prefix":
            yield (key if plain_prefixes else f"{key} text_pattern_ops",)
    for orders in access.orders:
        if all(_orderable(order, known) for order in orders):
            yield _ordered(orders, known)


def _orderable(order: Order, known: Mapping[str, Column]) -> bool:
    if order.key in known:
        return known[order.key].type not in {"json", "xml", "point"}
    plain = re.fullmatch(r"[\w.$]+", order.key) is not None
    return not plain and _VOLATILE.search(order.key) is None and "(" in order.key


def _ordered(orders: tuple[Order, ...], known: Mapping[str, Column]) -> tuple[str, ...]:
    """An index is read either way, so the first key rises."""
    way = tuple(o.turned() for o in orders) if orders[0].descending else orders
    return tuple(
        str(Order(_key(o.key, known), o.descending, o.nulls_first)) for o in way[:_MOST_KEYS]
    )


def _covering(access: Access, bare: Candidate, known: Mapping[str, Column]) -> Iterator[Candidate]:
    """The same index with the few other columns that the query needs, if they are narrow."""
    keyed = {part.split(" ", 1)[0] for part in bare.keys}
    if keyed - set(known):  # no index-only scan over an expression
        return
    more = sorted(column for column in access.columns if column not in keyed)
    if bare.predicate:
        more = [c for c in more if not re.search(rf"\b{re.escape(c)}\b", bare.predicate)]
    narrow = all(c in known and known[c].width <= _WIDEST_INCLUDED for c in more)
    if 0 < len(more) <= _MOST_INCLUDED and narrow:
        yield Candidate(bare.schema, bare.table, bare.keys, tuple(more), bare.predicate)


def _inverted(
    access: Access, usable: list[Condition], known: Mapping[str, Column], *, trigrams: bool
) -> Iterator[Candidate]:
    for condition in usable:
        key = _key(condition.key, known)
        if condition.kind == "pattern" and trigrams:
            keys = (f"{key} gin_trgm_ops",)
        elif condition.kind == "member" and condition.operator in {"@>", "@?", "@@", "&&", "?"}:
            kind = known[condition.key].type if condition.key in known else ""
            paths = kind == "jsonb" and condition.operator in {"@>", "@?"}
            keys = (f"{key} jsonb_path_ops" if paths else key,)
        else:
            continue
        yield Candidate(access.schema, access.table, keys, method="gin")


def _spread(column: Column | None) -> float:
    """How well a column tells rows apart, for the order of keys."""
    if column is None:
        return 1e6
    return -column.distinct * 1e9 if column.distinct < 0 else column.distinct


def _unique(keys: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(keys))
