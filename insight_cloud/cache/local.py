"""Decoded copies in the process, so that a hot key costs a look-up; who may keep one and when.

A copy is kept only if nothing was heard about its key, and nothing about any tag, between the
moment the fetch began and the moment it ended (`begin`, `keep`). Everything here is
synchronous: no other task runs between the parts of one method.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Copy", "Local", "Ticket"]

_COPY_BYTES = 512
"""What a copy costs beside its value: the entry, the key, two dictionaries."""

_VERSIONS = 10_000


@dataclass(slots=True)
class Copy:
    """A value that may be handed out until `expires`; from `refresh_at` on it is computed anew."""

    value: Any
    expires: float
    refresh_at: float
    tags: tuple[str, ...]
    weight: int = 0


@dataclass(slots=True, eq=False)
class Ticket:
    """One fetch under way."""

    tag_changes: int
    void: bool = False


class Local:
    """Copies within `limit_bytes`; the least recently used give way."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self.copies: OrderedDict[str, Copy] = OrderedDict()
        self.held_bytes = 0
        self._by_tag: dict[str, set[str]] = {}
        self._versions: dict[str, str] = {}
        self._fetching: dict[str, set[Ticket]] = {}
        self._tag_changes = 0

    def begin(self, key: str) -> Ticket:
        """Say that `key` is about to be fetched."""
        ticket = Ticket(self._tag_changes)
        self._fetching.setdefault(key, set()).add(ticket)
        return ticket

    def end(self, key: str, ticket: Ticket) -> None:
        """The fetch is over, however it went."""
        tickets = self._fetching.get(key)
        if tickets is not None:
            tickets.discard(ticket)
            if not tickets:
                del self._fetching[key]

    def keep(self, key: str, ticket: Ticket, copy: Copy) -> bool:
        """Keep a fetched copy unless a change was heard meanwhile."""
        if ticket.void or (copy.tags and ticket.tag_changes != self._tag_changes):
            return False
        copy.weight = _COPY_BYTES + 2 * len(key) + _size(copy.value)
        self._forget(key)
        if copy.weight > self._limit:
            return False
        self.copies[key] = copy
        self.held_bytes += copy.weight
        for tag in copy.tags:
            self._by_tag.setdefault(tag, set()).add(key)
        while self.held_bytes > self._limit:
            self._forget(next(iter(self.copies)))
        return True

    def drop(self, key: str) -> None:
        """`key` has changed: its copy is wrong, and so is what is being fetched."""
        self._forget(key)
        for ticket in self._fetching.pop(key, ()):
            ticket.void = True

    def drop_tag(self, tag: str) -> None:
        """Everything with `tag` is wrong, and its version is unknown."""
        self._tag_changes += 1
        self._versions.pop(tag, None)
        for key in tuple(self._by_tag.get(tag, ())):
            self._forget(key)

    def clear(self) -> None:
        """Anything may have changed."""
        self.copies.clear()
        self._by_tag.clear()
        self._versions.clear()
        self.held_bytes = 0
        self._tag_changes += 1
        for tickets in self._fetching.values():
            for ticket in tickets:
                ticket.void = True
        self._fetching.clear()

    def versions(self, tags: Iterable[str]) -> dict[str, str]:
        """The versions of those of `tags` that are known."""
        return {tag: self._versions[tag] for tag in tags if tag in self._versions}

    def keep_versions(self, ticket: Ticket, versions: Mapping[str, str]) -> None:
        """Remember fetched versions unless a tag changed meanwhile."""
        if ticket.void or ticket.tag_changes != self._tag_changes:
            return
        if len(self._versions) + len(versions) > _VERSIONS:
            self._versions.clear()
        self._versions.update(versions)

    def _forget(self, key: str) -> None:
        copy = self.copies.pop(key, None)
        if copy is None:
            return
        self.held_bytes -= copy.weight
        for tag in copy.tags:
            keys = self._by_tag[tag]
            keys.discard(key)
            if not keys:
                del self._by_tag[tag]


def _size(value: Any) -> int:
    """Bytes that a decoded value takes, with all that is in it.

    Counted, because no factor would do: text takes its encoded size, a list of numbers twelve
    times as much.
    """
    size = sys.getsizeof(value)
    if isinstance(value, dict):
        return size + sum(map(_size, value)) + sum(map(_size, value.values()))
    if isinstance(value, (list, tuple, set, frozenset)):
        return size + sum(map(_size, value))
    kind: Any = type(value)
    fields: Any = getattr(kind, "__struct_fields__", None) or getattr(
        kind, "__dataclass_fields__", ()
    )
    own = sys.getsizeof(value.__dict__) if hasattr(value, "__dict__") else 0
    return size + own + sum([_size(getattr(value, field)) for field in fields])
