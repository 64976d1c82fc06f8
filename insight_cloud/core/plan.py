"""A plan: what would be done, as plain data. A dry run prints it, a real run applies it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Change", "Plan", "Verb"]

Verb = Literal["create", "update", "delete", "move", "run"]


@dataclass(frozen=True, slots=True)
class Change:
    """One step: `verb` on `target`, from `before` to `after`, because of `reason`."""

    verb: Verb
    target: str
    before: Any = None
    after: Any = None
    reason: str = ""

    def __str__(self) -> str:
        sign = {"create": "+", "update": "~", "delete": "-", "move": ">", "run": "*"}[self.verb]
        return f"{sign} {self.target}" + (f"  ({self.reason})" if self.reason else "")


@dataclass(frozen=True, slots=True)
class Plan:
    """An ordered tuple of changes. False when there is nothing to do."""

    changes: tuple[Change, ...] = ()

    def __iter__(self) -> Iterator[Change]:
        return iter(self.changes)

    def __len__(self) -> int:
        return len(self.changes)

    def __str__(self) -> str:
        return "\n".join(map(str, self.changes)) or "nothing to do"
