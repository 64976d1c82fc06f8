"""What an expression says of one request: true, false, or unknown.

A tree is turned into nested functions once and then called for each request. Each returns the
value, MISSING for what is not there, or None for what only the edge knows: the country of an
address, the score of a bot. Unknown is never taken for false; it goes through `and`, `or`, `xor`
and `not` by Kleene's rules, so an answer that does not depend on it is still an answer.

Missing values follow the documentation: every comparison with one is false, `ne` too.
"""

from __future__ import annotations

import operator
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network
from typing import Any, TypeAlias

from insight_cloud.edge.language import regex
from insight_cloud.edge.language.functions import (
    FUNCTIONS,
    MISSING,
    wildcard_groups,
)
from insight_cloud.edge.language.parser import parse, parse_value
from insight_cloud.edge.language.syntax import (
    Call,
    Compare,
    Field,
    Index,
    Items,
    ListName,
    Literal,
    Logic,
    Node,
    Not,
    Pattern,
    Range,
    Wildcard,
)
from insight_cloud.edge.language.types import INT, IP

__all__ = ["LISTS", "Fields", "Filter", "Thunk", "compiled", "compiled_value", "tree", "value"]

Fields: TypeAlias = Mapping[str, Any]
"""The fields of one request; `fields[name]` is None for what is not known."""
Thunk: TypeAlias = Callable[[Fields], Any]
Filter: TypeAlias = Callable[[Fields], bool | None]

LISTS = "$lists"
"""The key under which `Fields` may hold the account's lists: their values by name."""

_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
}


@lru_cache(maxsize=4096)
def compiled(text: str) -> Filter:
    """The filter `text` as a function of a request's fields.

    Raises:
        ExpressionError: the edge would refuse it.
    """
    return tree(parse(text))


@lru_cache(maxsize=1024)
def compiled_value(text: str) -> Thunk:
    """The expression of a rewrite or redirect as a function of a request's fields.

    Raises:
        ExpressionError: the edge would refuse it.
    """
    return value(parse_value(text))


def tree(node: Node) -> Filter:
    """The filter `node` as a function."""
    return _filter(node)


def _filter(node: Node) -> Filter:
    match node:
        case Logic(parts=parts) if not node.mapped:
            return _LOGIC[node.operator](tuple(map(_filter, parts)))
        case Not(of=of) if not node.mapped:
            return _negation(_filter(of))
        case Compare() if not node.mapped:
            return _comparison(node)
        case Field(name=name):
            return operator.itemgetter(name)
        case _:
            return _truth(value(node))


def _truth(of: Thunk) -> Filter:
    def truth(fields: Fields) -> bool | None:
        found = of(fields)
        return False if found is MISSING else found

    return truth


def _negation(of: Filter) -> Filter:
    def negation(fields: Fields) -> bool | None:
        found = of(fields)
        return None if found is None else not found

    return negation


def _conjunction(parts: Sequence[Filter]) -> Filter:
    def conjunction(fields: Fields) -> bool | None:
        result: bool | None = True
        for part in parts:
            found = part(fields)
            if found is False:
                return False
            if found is None:
                result = None
        return result

    return conjunction


def _disjunction(parts: Sequence[Filter]) -> Filter:
    def disjunction(fields: Fields) -> bool | None:
        result: bool | None = False
        for part in parts:
            found = part(fields)
            if found is True:
                return True
            if found is None:
                result = None
        return result

    return disjunction


def _parity(parts: Sequence[Filter]) -> Filter:
    def parity(fields: Fields) -> bool | None:
        result = False
        for part in parts:
            found = part(fields)
            if found is None:
                return None
            result ^= found
        return result

    return parity


_LOGIC: Mapping[str, Callable[[Sequence[Filter]], Filter]] = {
    "and": _conjunction,
    "or": _disjunction,
    "xor": _parity,
}


# -- comparisons ---------------------------------------------------------------------------


def _comparison(node: Compare) -> Filter:
    left = value(node.left)
    if isinstance(node.right, Call):
        return _dynamic(left, value(node.right), _COMPARE[node.operator])
    if isinstance(node.right, ListName):
        return _listed(left, node.right.name)
    return _against(left, _test(node))


def _against(left: Thunk, test: Callable[[Any], bool | None]) -> Filter:
    def comparison(fields: Fields) -> bool | None:
        found = left(fields)
        if found is None:
            return None
        return False if found is MISSING else test(found)

    return comparison


def _dynamic(left: Thunk, right: Thunk, test: Callable[[Any, Any], bool]) -> Filter:
    def comparison(fields: Fields) -> bool | None:
        first, second = left(fields), right(fields)
        if first is MISSING or second is MISSING:
            return False
        return None if first is None or second is None else test(first, second)

    return comparison


def _listed(left: Thunk, name: str) -> Filter:
    def comparison(fields: Fields) -> bool | None:
        found = left(fields)
        if found is MISSING:
            return False
        known = (fields[LISTS] or {}).get(name)
        return None if found is None or known is None else _in_list(found, known)

    return comparison


def _in_list(found: Any, known: Sequence[Any]) -> bool:
    return any(
        found in item if isinstance(item, IPv4Network | IPv6Network) else found == item
        for item in known
    )


def _test(  # noqa: PLR0911 - one return for each kind of right-hand side
    node: Compare,
) -> Callable[[Any], bool | None]:
    """A function that says whether a value compares."""
    right = node.right
    match right:
        case Literal(value=wanted) if node.operator == "contains":
            return lambda found: wanted in found
        case Literal(value=wanted) if node.operator == "bitwise_and":
            return lambda found: found & wanted != 0
        case Literal(value=wanted):
            compare = _COMPARE[node.operator]
            return lambda found: compare(found, wanted)
        case Pattern(text=text):
            return _pattern(text)
        case Wildcard(text=text):
            return _wildcard(text, strict=node.operator.startswith("strict"))
        case Items(items=items) if node.left.type in {INT, IP}:
            return _ranges(items)
        case Items(items=items):
            values = frozenset(item.value for item in items if isinstance(item, Literal))
            return values.__contains__
        case _:  # a list or a call, which `_comparison` treats itself
            raise AssertionError(right)


def _pattern(text: str) -> Callable[[Any], bool | None]:
    try:
        search = regex.compiled(text)
    except regex.UnsupportedPattern:
        return lambda _: None
    return lambda found: search(found) is not None


def _wildcard(text: bytes, *, strict: bool) -> Callable[[Any], bool | None]:
    return lambda found: wildcard_groups(found, text, strict=strict) is not None


def _ranges(items: Sequence[Literal | Range]) -> Callable[[Any], bool | None]:
    """Membership by binary search in what overlaps merged; addresses of each kind apart."""
    spans = sorted(map(_span, items))
    merged: list[tuple[int, int, int]] = []
    for kind, low, high in spans:
        if merged and merged[-1][0] == kind and low <= merged[-1][2] + 1:
            merged[-1] = (kind, merged[-1][1], max(high, merged[-1][2]))
        else:
            merged.append((kind, low, high))
    starts = [(kind, low) for kind, low, _ in merged]

    def member(found: Any) -> bool:
        kind, number = _number(found)
        place = bisect_right(starts, (kind, number)) - 1
        return place >= 0 and merged[place][0] == kind and number <= merged[place][2]

    return member


def _span(item: Literal | Range) -> tuple[int, int, int]:
    if isinstance(item, Range):
        kind, low = _number(item.low)
        return (kind, low, _number(item.high)[1])
    if isinstance(item.value, IPv4Network | IPv6Network):
        kind, low = _number(item.value.network_address)
        return (kind, low, _number(item.value.broadcast_address)[1])
    kind, low = _number(item.value)
    return (kind, low, low)


def _number(found: Any) -> tuple[int, int]:
    return (0, found) if isinstance(found, int) else (found.version, int(found))


# -- values --------------------------------------------------------------------------------


def value(node: Node) -> Thunk:  # noqa: PLR0911 - one return for each kind of node
    """`node` as a function that returns its value; a list where it stands for many."""
    match node:
        case Literal(value=constant):
            return lambda _: constant
        case Field(name=name):
            return operator.itemgetter(name)
        case Index():
            return _index(node)
        case Call(name="any" | "all"):
            return _quantifier(value(node.arguments[0]), every=node.name == "all")
        case Call():
            return _call(node)
        case Compare() if node.mapped:
            return _mapped(value(node.left), _mapped_test(node))
        case Not(of=of) if node.mapped:
            return _mapped(value(of), lambda found: None if found is None else not found)
        case Logic(parts=parts) if node.mapped:
            return _mapped_logic(node.operator, tuple(map(value, parts)))
        case _:
            return _filter(node)


def _index(node: Index) -> Thunk:
    base, key = value(node.base), node.key
    if node.base.mapped:
        inner = _each if key is None else _item(key)
        return _flattened(base, inner) if key is None else _mapped(base, inner)
    if key is None:
        return base
    item = _item(key)

    def index(fields: Fields) -> Any:
        found = base(fields)
        return found if found is None or found is MISSING else item(found)

    return index


def _each(found: Any) -> Any:
    return found


def _item(key: int | bytes) -> Callable[[Any], Any]:
    def item(found: Any) -> Any:
        if isinstance(key, int):
            return found[key] if key < len(found) else MISSING
        return found.get(key, MISSING)

    return item


def _flattened(base: Thunk, inner: Callable[[Any], Any]) -> Thunk:
    def flattened(fields: Fields) -> Any:
        found = base(fields)
        if found is None or found is MISSING:
            return found
        return [item for part in found for item in inner(part)]

    return flattened


def _mapped(of: Thunk, do: Callable[[Any], Any]) -> Thunk:
    def mapped(fields: Fields) -> Any:
        found = of(fields)
        return found if found is None or found is MISSING else [do(item) for item in found]

    return mapped


def _mapped_test(node: Compare) -> Callable[[Any], bool | None]:
    if isinstance(node.right, Call | ListName):
        return lambda _: None  # not documented for [*]
    test = _test(node)

    def mapped(found: Any) -> bool | None:
        if found is None:
            return None
        return False if found is MISSING else test(found)

    return mapped


def _mapped_logic(name: str, parts: Sequence[Thunk]) -> Thunk:
    join = _LOGIC[name]

    def mapped(fields: Fields) -> Any:
        columns = [part(fields) for part in parts]
        for column in columns:
            if column is None or column is MISSING:
                return column
        rows = zip(*columns, strict=True)
        return [join(list(map(_constant, row)))(fields) for row in rows]

    return mapped


def _constant(found: bool | None) -> Filter:  # noqa: FBT001 - a value, not an option
    return lambda _: found


def _quantifier(of: Thunk, *, every: bool) -> Thunk:
    decisive = not every

    def quantifier(fields: Fields) -> bool | None:
        found = of(fields)
        if found is None:
            return None
        if found is MISSING:
            return every
        if any(item is decisive for item in found):
            return decisive
        return None if None in found else every

    return quantifier


def _call(node: Call) -> Thunk:
    function = FUNCTIONS[node.name]
    run = function.run
    arguments = tuple(map(value, node.arguments))
    if run is None:
        return lambda _: None
    if node.arguments and node.arguments[0].mapped:
        return _mapped_call(run, arguments)
    if function.takes_missing:
        return _lenient_call(run, arguments)
    if len(arguments) == 1:
        return _unary_call(run, arguments[0])

    def call(fields: Fields) -> Any:
        given = [argument(fields) for argument in arguments]
        for found in given:
            if found is None or found is MISSING:
                return found
        return run(*given)

    return call


def _unary_call(run: Callable[..., Any], argument: Thunk) -> Thunk:
    def call(fields: Fields) -> Any:
        found = argument(fields)
        return found if found is None or found is MISSING else run(found)

    return call


def _lenient_call(run: Callable[..., Any], arguments: Sequence[Thunk]) -> Thunk:
    def call(fields: Fields) -> Any:
        given = [argument(fields) for argument in arguments]
        return None if any(found is None for found in given) else run(*given)

    return call


def _mapped_call(run: Callable[..., Any], arguments: Sequence[Thunk]) -> Thunk:
    first, others = arguments[0], arguments[1:]

    def call(fields: Fields) -> Any:
        given = [argument(fields) for argument in others]
        for found in (first(fields), *given):
            if found is None or found is MISSING:
                return found
        return [
            item if item is None or item is MISSING else run(item, *given) for item in first(fields)
        ]

    return call
