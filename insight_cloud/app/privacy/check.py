"""A body against the allow-list of its level: each thing that it must not hold, by JSON pointer."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import msgspec

from insight_cloud.app.privacy.levels import Level
from insight_cloud.app.privacy.mask import Find, masked
from insight_cloud.app.privacy.schemas import Schema, schema
from insight_cloud.app.sarif.messages import literal
from insight_cloud.core.errors import Invalid

__all__ = ["FAULTS_LIMIT", "Fault", "Find", "faults", "require"]

FAULTS_LIMIT = 50
"""So many are named; a log may have one in each of its results."""

Fault = tuple[str, str]
"""A JSON pointer (RFC 6901), and what is wrong there."""

_Path = tuple[Any, ...]
"""Where the walk is: its parent and its own step (nothing at the top); a pointer when needed."""

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
}
_REVEALING = ("uri", "text", "markdown", "ruleId", "id")
"""Of a log sent where only counts are taken, what to name first."""


def require(data: bytes, level: Level, find: Find) -> None:
    """Let pass what holds no more than `level`.

    Raises:
        Invalid: it holds more, or is not JSON; each place is named by its JSON pointer.
    """
    if schema(level) is None:
        return
    try:
        document = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise Invalid(f"the body is not JSON: {error}", problems=(("", "not JSON"),)) from error
    found = faults(document, level, find)
    if found:
        raise Invalid(
            f"the body holds more than the privacy level {level!r} allows; nothing was stored",
            problems=tuple(found),
        )


def faults(document: Any, level: Level, find: Find) -> list[Fault]:
    """Name what `document` must not hold at `level`: at most `FAULTS_LIMIT` places."""
    wanted = schema(level)
    if wanted is None:
        return []
    if level == "counts" and isinstance(document, dict) and "runs" in document:
        return _all_of(document["runs"])
    walk = _Walk(level, find)
    walk.visit(wanted, document, ())
    if level == "metadata" and not walk.found:
        walk.found += _own_words(document)
    return walk.found[:FAULTS_LIMIT]


class _Walk:
    """One walk over a document, beside its schema."""

    def __init__(self, level: Level, find: Find) -> None:
        self.found: list[Fault] = []
        self._level = level
        self._find = find

    def visit(self, wanted: Schema, value: Any, path: _Path) -> None:
        kind: str = wanted["type"]
        checked: Any = value
        if not isinstance(value, _TYPES[kind]) or (kind != "boolean" and isinstance(value, bool)):
            self._note(path, f"not of the type {kind}")
        elif kind == "object":
            self._object(wanted, checked, path)
        elif kind == "array":
            self._array(wanted, checked, path)
        elif kind == "string":
            self._text(wanted, checked, path)
        elif kind != "boolean" and not wanted["minimum"] <= value <= wanted["maximum"]:
            self._note(path, f"not between {wanted['minimum']} and {wanted['maximum']}")

    def _object(self, wanted: Schema, value: dict[str, Any], path: _Path) -> None:
        properties = wanted.get("properties", {})
        others = wanted["additionalProperties"]
        for name, item in value.items():
            if name in properties:
                self.visit(properties[name], item, (path, name))
            elif others is False:
                self._note((path, name), f"not allowed at the privacy level {self._level!r}")
            else:
                if not _fits(wanted["propertyNames"], name):
                    self._note((path, name), "the name is not of the form that is allowed")
                self.visit(others, item, (path, name))
            if len(self.found) >= FAULTS_LIMIT:
                return
        for name in wanted.get("required", ()):
            if name not in value:
                self._note((path, name), "missing")

    def _array(self, wanted: Schema, value: list[Any], path: _Path) -> None:
        if len(value) > wanted["maxItems"]:
            self._note(path, f"more than {wanted['maxItems']:,} items")
            return
        items = wanted["items"]
        for index, item in enumerate(value):
            self.visit(items, item, (path, str(index)))
            if len(self.found) >= FAULTS_LIMIT:
                return

    def _text(self, wanted: Schema, value: str, path: _Path) -> None:
        if "enum" in wanted:
            if value not in wanted["enum"]:
                self._note(path, f"not allowed at the privacy level {self._level!r}")
        elif not _fits(wanted, value):
            self._note(path, "too long, or not of the form that is allowed")
        elif wanted.get("format") == "masked" and masked(value, self._find) != value:
            self._note(path, "holds a credential")

    def _note(self, path: _Path, what: str) -> None:
        self.found.append((_pointer(path), what))


def _fits(wanted: Schema, value: str) -> bool:
    if len(value) > wanted["maxLength"]:
        return False
    return "pattern" not in wanted or _compiled(wanted["pattern"]).search(value) is not None


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def _pointer(path: _Path) -> str:
    steps: list[str] = []
    while path:
        path, step = path
        steps.append("/" + step.replace("~", "~0").replace("/", "~1"))
    return "".join(reversed(steps))


def _own_words(document: dict[str, Any]) -> Iterator[Fault]:
    """Messages that are not the rule's own: below `findings` nothing is said about the code."""
    for number, run in enumerate(document["runs"]):
        rules = run["tool"]["driver"].get("rules", ())
        own = {
            rule["id"]: literal(rule.get("shortDescription", {}).get("text", "")) for rule in rules
        }
        for index, result in enumerate(run["results"]):
            code, text = result["ruleId"], result["message"]["text"]
            if text not in {own.get(code), literal(code)}:
                where = f"/runs/{number}/results/{index}/message/text"
                yield where, "not the rule's own text; messages take the level 'findings'"


def _all_of(runs: Any) -> list[Fault]:
    """Every value of a log, what reveals most first: where counts are taken there is no log."""
    leaves = list(_leaves(runs, (((), "runs"))))
    leaves.sort(key=lambda leaf: _rank(leaf[1]))
    what = "not allowed at the privacy level 'counts'"
    return [(_pointer(leaf), what) for leaf in leaves[:FAULTS_LIMIT]] or [("/runs", what)]


def _leaves(value: Any, path: _Path) -> Iterator[_Path]:
    items: Sequence[tuple[str, Any]] = ()
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = [(str(index), item) for index, item in enumerate(value[:1_000])]
    else:
        yield path
    for step, item in items:
        yield from _leaves(item, (path, step))


def _rank(step: str) -> int:
    return _REVEALING.index(step) if step in _REVEALING else len(_REVEALING)
