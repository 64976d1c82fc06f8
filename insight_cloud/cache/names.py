"""The names that entries have in the store, and back.

ns:{key}        a value; the braces place it and its lock on one node of a cluster
ns:{key}:lock   held by the one who computes the value
ns:tag:name     the version of a tag
"""

from __future__ import annotations

import re
from typing import Any, Generic, TypeVar

from insight_cloud.core.errors import Refused

__all__ = ["Key", "Names", "kind_of"]

T = TypeVar("T")
_NAMESPACE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_LOCK = "}:lock"


class Key(str, Generic[T]):
    """A key that knows the type of its value: `Key("project:7", Project, version=2)`.

    Raise `version` when the type changes: old values are then no longer seen. A value that
    does not fit the type any more counts as a miss, too.
    """

    __slots__ = ("kind",)
    kind: type[T]

    def __new__(cls, name: str, kind: type[T], *, version: int = 1) -> Key[T]:
        """The text of the key is its name, and its version if that is not the first."""
        key = super().__new__(cls, name if version == 1 else f"{name}@{version}")
        key.kind = kind
        return key


def kind_of(key: str) -> Any:
    """The type that `key` asks for, or Any."""
    return key.kind if isinstance(key, Key) else Any


class Names:
    """The names of one namespace."""

    def __init__(self, namespace: str) -> None:
        if not _NAMESPACE.fullmatch(namespace):
            raise Refused(f"a namespace is made of letters, digits, _ . and -, not {namespace!r}")
        self.prefix = f"{namespace}:"
        self._value = f"{namespace}:{{"
        self._tag = f"{namespace}:tag:"

    def value(self, key: str) -> str:
        """Where the value of `key` is."""
        if not key or key[0] == "}":
            raise Refused(f"a cache key may not be empty or begin with a brace: {key!r}")
        return f"{self._value}{key}}}"

    def lock(self, key: str) -> str:
        """Where the lock of `key` is."""
        return f"{self._value}{key}{_LOCK}"

    def tag(self, tag: str) -> str:
        """Where the version of `tag` is."""
        return self._tag + tag

    def values(self, pattern: str) -> str:
        """A pattern for the names of values."""
        return f"{self._value}{pattern}}}"

    def key(self, name: str) -> str | None:
        """The key whose value is at `name`, or None if it is no value."""
        if name.startswith(self._value) and name[-1] == "}":
            return name[len(self._value) : -1]
        return None

    def tag_of(self, name: str) -> str | None:
        """The tag whose version is at `name`, or None."""
        return name.removeprefix(self._tag) if name.startswith(self._tag) else None
