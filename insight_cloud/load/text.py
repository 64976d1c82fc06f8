"""Variables in the texts of a step, and what a step keeps of an answer."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

__all__ = ["captured", "filled", "filled_all", "names_in"]

_VARIABLE = re.compile(r"\$\{(\w[\w-]*)\}")


def names_in(text: str) -> set[str]:
    """The variables that `text` needs."""
    return set(_VARIABLE.findall(text))


def filled(text: str, values: Mapping[str, str]) -> str:
    """`text` with the values of its variables. Raises `KeyError`."""
    return _VARIABLE.sub(lambda found: values[found[1]], text) if "${" in text else text


def filled_all(data: Any, values: Mapping[str, str]) -> Any:
    """The same for every text in `data`."""
    if isinstance(data, str):
        return filled(data, values)
    if isinstance(data, Mapping):
        return {name: filled_all(value, values) for name, value in data.items()}
    if isinstance(data, list):
        return [filled_all(value, values) for value in data]
    return data


def captured(how: str, content: str, headers: Mapping[str, str]) -> str | None:
    """What `how` (`json:/a/0`, `header:name`, `regex:a(.)`) finds in an answer; None if nothing."""
    kind, _, where = how.partition(":")
    if kind == "header":
        return headers.get(where)
    if kind == "regex":
        found = re.search(where, content)
        return found[1] if found else None
    try:
        value = _at(json.loads(content), where)
    except (ValueError, LookupError, TypeError):
        return None
    return value if isinstance(value, str) else json.dumps(value)


def _at(data: Any, pointer: str) -> Any:
    """What a JSON pointer (RFC 6901) leads to."""
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        data = data[int(key)] if isinstance(data, list) else data[key]
    return data
