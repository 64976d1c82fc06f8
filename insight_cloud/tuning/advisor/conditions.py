"""Reads the conditions of a plan: PostgreSQL's own words, with every name resolved. Pure.

`EXPLAIN (VERBOSE, FORMAT JSON)` prints conditions with each column under the alias of its table
and each operation in parentheses. That is a small, regular language, so no parser of SQL is
needed, and views, aliases and casts are already understood by the one who will plan the query.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

__all__ = ["Condition", "Kind", "conditions", "references", "unqualified"]

Kind = Literal["equal", "among", "range", "prefix", "pattern", "member", "null", "true", "join"]
"""What a condition can ask of an index: `member` is a question for GIN, `pattern` for trigrams."""

_TOKEN = re.compile(
    r"""
    (?P<space>\s+)
  | (?P<string>[EB]?'(?:[^']|'')*')
  | (?P<name>"(?:[^"]|"")*"|[A-Za-z_\x80-\U0010ffff][\w$]*)
  | (?P<number>\d+(?:\.\d+)?(?:e[+-]?\d+)?)
  | (?P<parameter>\$\d+)
  | (?P<cast>::)
  | (?P<operator>[+\-*/<>=~!@\#%^&|`?]+)
  | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
_REFERENCE = re.compile(
    r"'(?:[^']|'')*'|(?P<alias>\"(?:[^\"]|\"\")+\"|[A-Za-z_][\w$]*)\.(?P<column>\"(?:[^\"]|\"\")+\"|[A-Za-z_][\w$]*)"
)
_COMPARES = {"=", "<", ">", "<=", ">=", "~~", "~~*", "@>", "<@", "&&", "@@", "?", "?|", "?&", "@?"}
_TURNED = {"=": "=", "<": ">", ">": "<", "<=": ">=", ">=": "<="}
_LONGEST = 20_000
_DEEPEST = 50


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing that must hold of a row of `alias`.

    `key` is a column or an expression over columns, without the alias. `value` is what it is
    compared with: a constant as it stands in the plan, or empty where it is only known at run
    time. `text` is the whole condition without the alias, as it may stand in a partial index.
    """

    alias: str
    key: str
    kind: Kind
    operator: str = ""
    value: str = ""
    text: str = ""
    other: str = ""
    """For a join, the alias on the other side."""
    alternative: bool = False
    """Whether it is one arm of an OR."""


def conditions(text: str) -> list[Condition]:
    """Return what `text`, a filter or a join's condition, asks of each alias in it."""
    if len(text) > _LONGEST:
        return []
    return list(_walk(_tokens(text), alternative=False, depth=0))


def references(text: str) -> set[str]:
    """The aliases that `text` names columns of."""
    return {found["alias"] for found in _REFERENCE.finditer(text) if found["alias"]}


def unqualified(text: str) -> str:
    """`text` without the aliases before columns."""
    return _REFERENCE.sub(lambda found: found["column"] or found[0], text)


Tokens = list[tuple[str, str]]


def _tokens(text: str) -> Tokens:
    return [(str(found.lastgroup), found[0]) for found in _TOKEN.finditer(text)]


def _walk(tokens: Tokens, *, alternative: bool, depth: int) -> Iterator[Condition]:
    tokens = _stripped(tokens)
    if depth > _DEEPEST or not tokens:
        return
    parts = _split(tokens, "AND")
    if len(parts) > 1:
        for part in parts:
            yield from _walk(part, alternative=alternative, depth=depth + 1)
        return
    arms = _split(tokens, "OR")
    if len(arms) > 1:
        for arm in arms:
            yield from _walk(arm, alternative=True, depth=depth + 1)
        return
    yield from _single(tokens, alternative=alternative)


def _stripped(tokens: Tokens) -> Tokens:
    """Without spaces at the ends and parentheses around the whole."""
    while tokens:
        if tokens[0][0] == "space":
            tokens = tokens[1:]
        elif tokens[-1][0] == "space":
            tokens = tokens[:-1]
        elif tokens[0][1] == "(" and _closing(tokens) == len(tokens) - 1:
            tokens = tokens[1:-1]
        else:
            break
    return tokens


def _closing(tokens: Tokens) -> int:
    depth = 0
    for at, (_, text) in enumerate(tokens):
        depth += (text in "([") - (text in ")]") if len(text) == 1 else 0
        if depth == 0:
            return at
    return -1


def _top(tokens: Tokens) -> Iterator[int]:
    """The positions that lie within no parentheses."""
    depth = 0
    for at, (_, text) in enumerate(tokens):
        if len(text) == 1 and text in ")]":
            depth -= 1
        if depth == 0:
            yield at
        if len(text) == 1 and text in "([":
            depth += 1


def _split(tokens: Tokens, word: str) -> list[Tokens]:
    places = [at for at in _top(tokens) if tokens[at] == ("name", word)]
    bounds = [-1, *places, len(tokens)]
    return [tokens[a + 1 : b] for a, b in itertools.pairwise(bounds)]


def _single(tokens: Tokens, *, alternative: bool) -> Iterator[Condition]:
    whole = _joined(tokens)
    if "SubPlan" in whole or ("InitPlan" in whole and "=" not in whole):
        return
    if tokens[0] == ("name", "NOT"):
        yield from _flag(_stripped(tokens[1:]), whole, alternative=alternative)
        return
    null = re.search(r" IS (NOT )?NULL$", whole)
    if null:
        left = _joined(_stripped(_tokens(whole[: null.start()])))
        yield from _of(left, "null", "is", null[1] or "", whole, alternative=alternative)
        return
    for at in _top(tokens):
        if tokens[at][0] == "operator" and tokens[at][1] in _COMPARES:
            left, right = _joined(_stripped(tokens[:at])), _joined(_stripped(tokens[at + 1 :]))
            yield from _compare(left, tokens[at][1], right, whole, alternative=alternative)
            return
    yield from _flag(tokens, whole, alternative=alternative)


def _flag(tokens: Tokens, whole: str, *, alternative: bool) -> Iterator[Condition]:
    """A column that is true or false by itself."""
    left = _joined(tokens)
    if re.fullmatch(r"[^\s().']+\.[^\s().']+", left):
        yield from _of(left, "true", "", "", whole, alternative=alternative)


def _compare(
    left: str, operator: str, right: str, whole: str, *, alternative: bool
) -> Iterator[Condition]:
    near, far = references(left), references(right)
    if near & far:  # two columns of the same row
        return
    if near and far:
        if operator == "=" and len(near) == len(far) == 1:
            yield from _join(left, right, whole, alternative=alternative)
            yield from _join(right, left, whole, alternative=alternative)
        elif operator in _TURNED:  # a range that another table gives
            yield from _of(left, "range", operator, "", whole, alternative=alternative)
            yield from _of(right, "range", _TURNED[operator], "", whole, alternative=alternative)
        return
    if far and not near:
        if operator not in _TURNED:
            return
        left, right, operator = right, left, _TURNED[operator]
    kind = _kind(operator, right)
    if kind is not None:
        yield from _of(left, kind, operator, right, whole, alternative=alternative)


def _kind(operator: str, right: str) -> Kind | None:
    if operator == "=":
        return "among" if right.startswith("ANY (") else "equal"
    if right.startswith(("ANY (", "ALL (")):
        return None
    if operator in {"<", ">", "<=", ">="}:
        return "range"
    if operator in {"~~", "~~*"}:
        return _pattern(operator, right)
    return "member"


def _pattern(operator: str, right: str) -> Kind | None:
    found = re.match(r"'((?:[^']|'')*)'", right)
    if found is None:
        return None
    pattern = found[1].replace("\\_", "").replace("\\%", "")
    fixed = re.match(r"[^%_]*", pattern)
    if operator == "~~" and fixed is not None and len(fixed[0]) >= 2 and pattern != fixed[0]:
        return "prefix"
    longest = max(map(len, re.split(r"[%_]", pattern)))
    return "pattern" if longest >= 3 else None


def _join(near: str, far: str, whole: str, *, alternative: bool) -> Iterator[Condition]:
    (other,) = references(far)
    for condition in _of(near, "join", "=", "", whole, alternative=alternative):
        yield Condition(
            condition.alias, condition.key, "join", "=", "", "", other, alternative=alternative
        )


def _of(
    left: str, kind: Kind, operator: str, value: str, whole: str, *, alternative: bool
) -> Iterator[Condition]:
    aliases = references(left)
    if len(aliases) != 1:
        return
    (alias,) = aliases
    constant = "" if references(value) or "$" in value or "InitPlan" in value else value
    fixed = bool(constant) or kind in {"null", "true"}
    text = unqualified(whole) if fixed and references(whole) == aliases else ""
    key = _plain(unqualified(left))
    yield Condition(alias, key, kind, operator, constant, text, alternative=alternative)


def _plain(key: str) -> str:
    """Without a cast that changes nothing in an index: varchar is printed as text."""
    found = re.fullmatch(r"\((\"(?:[^\"]|\"\")+\"|[A-Za-z_][\w$]*)\)::text", key)
    return found[1] if found else key


def _joined(tokens: Tokens) -> str:
    return "".join(text for _, text in tokens).strip()
