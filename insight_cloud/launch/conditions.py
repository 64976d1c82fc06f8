"""What a probe demands of what it found: `0/status == 200`. Pure; time is an argument.

A condition is a path, an operator and a value:

    0/headers/cache-control ~ "no-store"     a regular expression is found in it
    rows == []                               equal, as JSON
    stores/*/encrypted == true               each of them, and there is at least one
    stores/*?/problem? absent                each of them, if any; `?` marks what may be missing
    0/json/events/[action=expiry]/date       the first element with that value
    1:/status in [403, 404]                  each from the second on
    measured >= 2 * &expected                a value of the same document, perhaps times a number
    age finished < 48h                       how long ago a time is: s, m, h or d; below 0: ahead
    digests same                             all values of a list are equal, and there are two

Operators: == != < <= > >= ~ !~ in has !has same exists absent. What is missing fails, except for
`absent` and behind a `?`: so a misspelt path cannot pass.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from insight_cloud.core.errors import Corrupt

__all__ = ["PLACEHOLDER", "Condition", "Judgement", "bound", "fill", "judge", "parse"]

PLACEHOLDER = re.compile(r"\{([a-z_][a-z0-9_]*)\}")
"""A value of the checklist: `{health_path}`. Counts of regular expressions, `{40}`, are none."""

_FORM = re.compile(
    r"(?P<age>age )?(?P<path>\S+) (?P<op>==|!=|<=|>=|<|>|!~|~|in|has|!has|same|exists|absent)"
    r"(?: (?P<value>.+))?"
)
_REFERENCE = re.compile(r"(?:(?P<times>\d+(?:\.\d+)?) \* )?&(?P<path>\S+)")
_DURATION = re.compile(r"(?P<number>-?\d+(?:\.\d+)?)(?P<unit>[smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_FILTER = re.compile(r"\[([^=\]]+)=([^\]]*)\]")
_BARE = {"same", "exists", "absent"}
_ORDER: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_SHOWN = 200


class _Missing:
    def __repr__(self) -> str:
        return "nothing"


_MISSING = _Missing()


@dataclass(frozen=True, slots=True)
class Condition:
    """One demand. `value` is data, a text `&path`, or a duration for ages."""

    text: str
    path: str
    op: str
    value: Any = None
    age: bool = False


@dataclass(frozen=True, slots=True)
class Judgement:
    """Whether a condition holds, and what was found: the evidence."""

    holds: bool
    found: str


def parse(text: str) -> Condition:
    """Read one condition.

    Raises:
        Corrupt: it is none.
    """
    match = _FORM.fullmatch(text)
    if match is None or (match["value"] is None) != (match["op"] in _BARE):
        raise Corrupt(f"{text!r} is no condition: write `path operator value`")
    raw = match["value"]
    age = match["age"] is not None
    return Condition(text, match["path"], match["op"], _value(text, raw, age=age), age)


def _value(text: str, raw: str | None, *, age: bool) -> Any:
    if raw is None or _REFERENCE.fullmatch(raw) or PLACEHOLDER.fullmatch(raw):
        return raw
    if age and PLACEHOLDER.search(raw):
        return raw
    if age:
        if _DURATION.fullmatch(raw) is None:
            raise Corrupt(f"{text!r}: an age is compared with a duration such as 48h")
        return raw
    try:
        value = json.loads(raw)
        if isinstance(value, str) and text.split(" ")[1] in {"~", "!~"}:
            re.compile(PLACEHOLDER.sub("x", value))
    except (ValueError, re.error) as error:
        raise Corrupt(f"{text!r}: {raw} is neither JSON nor a pattern: {error}") from None
    return value


def fill(data: Any, value_of: Callable[[str], Any]) -> Any:
    """`data` with every `{name}` replaced; a text that is one placeholder becomes the value."""
    if isinstance(data, str):
        whole = PLACEHOLDER.fullmatch(data)
        if whole is not None:
            return value_of(whole[1])
        return PLACEHOLDER.sub(lambda found: str(value_of(found[1])), data)
    if isinstance(data, Mapping):
        return {fill(key, value_of): fill(value, value_of) for key, value in data.items()}
    if isinstance(data, list):
        return [fill(one, value_of) for one in data]
    return data


def bound(condition: Condition, value_of: Callable[[str], Any]) -> Condition:
    """`condition` with the values of a deployment."""
    path, value = fill(condition.path, value_of), fill(condition.value, value_of)
    return replace(condition, path=str(path), value=value)


def judge(condition: Condition, document: Any, *, now: datetime) -> Judgement:
    """Hold `condition` against `document`."""
    found = list(_resolve(document, condition.path.split("/"), ""))
    if not found:
        return Judgement(holds=True, found=f"{condition.path}: none")
    wanted = condition.value
    if isinstance(wanted, str) and (reference := _REFERENCE.fullmatch(wanted)):
        wanted = _referred(document, reference)
        if wanted is _MISSING:
            return Judgement(holds=False, found=f"{reference['path']} is missing")
    for place, value in found:
        if value is None and place.endswith("?"):
            continue
        if not _holds(condition, value, wanted, now):
            return Judgement(holds=False, found=f"{place} is {_shown(condition, value, now)}")
    place, value = found[0]
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return Judgement(holds=True, found=f"{place} is {_shown(condition, value, now)}{more}")


def _referred(document: Any, reference: re.Match[str]) -> Any:
    _, value = next(_resolve(document, reference["path"].split("/"), ""))
    if reference["times"] is None or not _is_number(value):
        return value
    return float(reference["times"]) * value


def _resolve(data: Any, path: list[str], place: str) -> Iterator[tuple[str, Any]]:
    """Every value at `path`; what is missing as `_MISSING`, or None where it may be."""
    if not path:
        yield place, data
        return
    head, rest = path[0], path[1:]
    if head in {"*", "*?"} or head.endswith(":"):
        yield from _each(data, head, rest, place)
        return
    optional = head.endswith("?")
    value = _step(data, head.removesuffix("?"))
    here = f"{place}/{head}" if place else head
    if optional and (value is _MISSING or value is None):
        yield here, None
    elif value is _MISSING:
        yield here, _MISSING
    else:
        yield from _resolve(value, rest, here.removesuffix("?"))


def _each(data: Any, head: str, rest: list[str], place: str) -> Iterator[tuple[str, Any]]:
    if isinstance(data, Mapping):
        members = [(str(name), value) for name, value in data.items()]
    elif isinstance(data, list):
        begin = int(head[:-1]) if head.endswith(":") else 0
        members = [(str(number), value) for number, value in enumerate(data)][begin:]
    else:
        members = []
    if not members and (head != "*?" or not isinstance(data, list | Mapping)):
        yield f"{place}/{head}".lstrip("/"), _MISSING
    for name, value in members:
        yield from _resolve(value, rest, f"{place}/{name}".lstrip("/"))


def _step(data: Any, head: str) -> Any:
    if isinstance(data, Mapping):
        return data.get(head, _MISSING)
    if not isinstance(data, list):
        return _MISSING
    if wanted := _FILTER.fullmatch(head):
        chosen = (
            one for one in data if isinstance(one, Mapping) and str(one.get(wanted[1])) == wanted[2]
        )
        return next(chosen, _MISSING)
    if re.fullmatch(r"-?\d+", head) and -len(data) <= int(head) < len(data):
        return data[int(head)]
    return _MISSING


def _holds(condition: Condition, value: Any, wanted: Any, now: datetime) -> bool:  # noqa: PLR0911 - one line an operator
    op = condition.op
    if op == "absent":
        return value is _MISSING or value is None
    if value is _MISSING:
        return False
    if condition.age:
        return _is_so_old(op, value, str(wanted), now)
    if op == "exists":
        return value is not None
    if op in _ORDER:
        return _is_number(value) and _is_number(wanted) and _ORDER[op](value, wanted)
    if op in {"~", "!~"}:
        text = value if isinstance(value, str) else json.dumps(value, default=str)
        return (re.search(str(wanted), text) is not None) == (op == "~")
    if op in {"has", "!has"}:
        return (isinstance(value, str | list | Mapping) and wanted in value) == (op == "has")
    if op == "in":
        return isinstance(wanted, list) and any(_equal(value, one) for one in wanted)
    if op == "same":
        return isinstance(value, list) and len(value) > 1 and all(one == value[0] for one in value)
    return _equal(value, wanted) == (op == "==")


def _equal(one: Any, other: Any) -> bool:
    """Equal as JSON is: true is not 1."""
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_so_old(op: str, value: Any, wanted: str, now: datetime) -> bool:
    then, span = _moment(value), _DURATION.fullmatch(wanted)
    if then is None or span is None or op not in _ORDER:
        return False
    return _ORDER[op]((now - then).total_seconds(), float(span["number"]) * _SECONDS[span["unit"]])


def _moment(value: Any) -> datetime | None:
    """A time: as such, in ISO 8601, or in Unix seconds."""
    try:
        if _is_number(value):
            return datetime.fromtimestamp(value, UTC)
        found = value if isinstance(value, datetime) else datetime.fromisoformat(str(value).strip())
    except (ValueError, OverflowError, OSError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _shown(condition: Condition, value: Any, now: datetime) -> str:
    if value is _MISSING or value is None:
        return "missing"
    if condition.age:
        then = _moment(value)
        return f"{value!s} (no time)" if then is None else f"{value!s}, {_words(now - then)}"
    text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _words(span: Any) -> str:
    hours = span.total_seconds() / 3600
    side = "ago" if hours >= 0 else "ahead"
    hours = abs(hours)
    return f"{hours:.1f} h {side}" if hours < 48 else f"{hours / 24:.0f} days {side}"
