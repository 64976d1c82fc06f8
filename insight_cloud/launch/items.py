"""The items of the checklist as data: what is asked, in which phase, and how a machine asks it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from importlib import resources
from typing import Any, Literal, TypeAlias, get_args

import msgspec

from insight_cloud.core.errors import Corrupt
from insight_cloud.launch.conditions import PLACEHOLDER, Condition, parse

__all__ = ["PHASES", "Checklist", "Item", "Phase", "Probe", "Value", "checklist", "probe_of"]

Phase: TypeAlias = Literal["before", "launch", "after"]
PHASES: Mapping[Phase, str] = {
    "before": "T-48h",
    "launch": "T-4h … T+1h",
    "after": "T+24h … T+48h",
}
"""The phases and when they are, counted from the launch."""

_ID = re.compile(r"[A-Z][A-Z0-9]{0,7}-?\d{1,4}")
_OWN = {"kind", "expect"}


class Probe(msgspec.Struct, frozen=True):
    """How a machine asks: the kind of reader, its parameters, and what it demands."""

    kind: str
    expect: tuple[str, ...]
    parameters: Mapping[str, Any] = {}

    def conditions(self) -> tuple[Condition, ...]:
        """The demands, read."""
        return tuple(parse(text) for text in self.expect)

    def values(self) -> frozenset[str]:
        """The values that an operator may have to give."""
        text = msgspec.json.encode([self.parameters, self.expect]).decode()
        return frozenset(PLACEHOLDER.findall(text))


class Item(msgspec.Struct, frozen=True):
    """One line of the checklist. Without probes a named person signs it.

    `at` is when it is due, in hours from the launch.
    """

    id: str
    phase: Phase
    at: float
    section: str
    text: str
    source: str
    probes: tuple[Probe, ...] = ()


class Value(msgspec.Struct, frozen=True):
    """What a probe may have to know about a deployment."""

    about: str
    default: Any = None
    example: Any = None


class Checklist(msgspec.Struct, frozen=True):
    """All items, and the values of which their probes speak."""

    items: tuple[Item, ...]
    values: Mapping[str, Value]

    def of(self, phase: Phase | None) -> tuple[Item, ...]:
        """The items of one phase, or all."""
        return tuple(item for item in self.items if phase in {None, item.phase})

    def find(self, name: str) -> Item | None:
        """The item `name`, in either case."""
        return next((item for item in self.items if item.id == name.upper()), None)


def probe_of(data: Mapping[str, Any], known: Iterable[str], *, where: str) -> Probe:
    """Make a probe of a table such as `{kind = "http", path = "/", expect = [...]}`.

    Raises:
        Corrupt: there is no such kind, it demands nothing, or a condition is none.
    """
    kind, expect = str(data.get("kind")), data.get("expect")
    if kind not in known:
        raise Corrupt(f"{where}: kind is {kind!r}; there are {', '.join(sorted(known))}")
    if not isinstance(expect, Sequence) or isinstance(expect, str) or not expect:
        raise Corrupt(f"{where}: `expect` lists what is demanded; without it nothing could fail")
    for text in expect:
        parse(str(text))
    parameters = {name: value for name, value in data.items() if name not in _OWN}
    return Probe(kind, tuple(map(str, expect)), parameters)


def item_of(data: Mapping[str, Any], known: Iterable[str]) -> Item:
    """Make an item of a table.

    Raises:
        Corrupt: it lacks something, or a probe is none.
    """
    where = f"item {data.get('id', '?')}"
    given = data.get("probe", [])
    tables = [given] if isinstance(given, Mapping) else given
    try:
        item = msgspec.convert({"at": 0, "source": "", **data, "probes": []}, Item)
    except msgspec.ValidationError as error:
        raise Corrupt(f"{where}: {error}") from None
    if _ID.fullmatch(item.id) is None:
        raise Corrupt(f"{where}: an id is letters and a number, such as OPS-12")
    if not item.text or item.phase not in get_args(Phase):
        raise Corrupt(f"{where}: it has no text")
    probes = tuple(probe_of(table, known, where=where) for table in tables)
    return msgspec.structs.replace(item, probes=probes)


@lru_cache(maxsize=1)
def checklist() -> Checklist:
    """Read the items that come with this program."""
    from insight_cloud.launch.probes import KINDS

    source = resources.files("insight_cloud.launch") / "items.json"
    data = msgspec.json.decode(source.read_bytes())
    items = tuple(item_of(one, KINDS) for one in data["items"])
    return Checklist(items, msgspec.convert(data["values"], dict[str, Value]))
