"""Several content security policies read as one, the way MDN's Observatory does it.

Apart from `csp`, because the two disagree on purpose: there a policy is checked as browsers
read it, here its score must be the one that people get from MDN.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from urllib.parse import unquote

__all__ = ["Policy", "combine"]

_SHORTEST = 6
_REPEATABLE = frozenset({"report-uri", "report-to"})
_MALFORMED_ESCAPE = re.compile(r"%(?![0-9a-f]{2})")

# The order in which a collation for English sorts ASCII. It decides which sources are
# neighbours, and only neighbours are compared.
_COLLATION = "_-,;:!?.'\"()[]{}@*/\\&#%`^+<=>|~$0123456789abcdefghijklmnopqrstuvwxyz"
_RANK = {ord(character): chr(rank) for rank, character in enumerate(_COLLATION)}


@dataclass(frozen=True, slots=True)
class Policy:
    """What remains when all policies hold: the sources of each directive."""

    directives: dict[str, set[str]]
    repeated: bool = False
    """Whether `report-uri` or `report-to` stands twice, which costs the bonus."""

    def sources(self, *names: str) -> set[str]:
        """The sources of the first of these directives that is there, else `*`."""
        return next((self.directives[n] for n in names if n in self.directives), {"*"})


@dataclass(slots=True)
class _Source:
    text: str
    policy: int
    keep: bool


def combine(policies: Sequence[str]) -> Policy:
    """Read `policies`, all of which must hold.

    Raises:
        ValueError: one cannot be read, or has a directive twice.
    """
    kept: dict[str, list[_Source]] = {}
    repeated = False
    for number, text in enumerate(policies):
        policy = text.replace("\r", "").replace("\n", "").strip()
        if len(policy) < _SHORTEST:
            raise ValueError(f"not a policy: {policy!r}")
        seen: set[str] = set()
        for name, words in _entries(policy):
            if name in seen and name not in _REPEATABLE:
                raise ValueError(f"{name} stands twice")
            repeated |= name in seen
            seen.add(name)
            before = kept.get(name, []) if number else []
            kept[name] = _narrow(before, [_Source(word, number, number == 0) for word in words])
            if number == 0 and len(policies) > 1:
                for source in kept[name]:
                    source.keep = False  # until another policy allows it too
    texts = {name: {source.text for source in sources} for name, sources in kept.items()}
    return Policy({name: found or {"'none'"} for name, found in texts.items()}, repeated)


def _entries(policy: str) -> list[tuple[str, list[str]]]:
    entries = []
    for part in policy.split(";"):
        name, *words = part.split() or [""]
        if not name:
            continue
        name = name.lower()
        empty = ["'none'"] if name.endswith("-src") else []
        entries.append((name, [word.lower() for word in words] or empty))
    return entries


def _narrow(before: list[_Source], added: list[_Source]) -> list[_Source]:
    """Drop what a shorter source of the same policy covers; keep what both policies have."""
    sources = sorted([*before, *added], key=lambda source: source.text.translate(_RANK))
    for earlier, source in pairwise(sources):
        if source.policy == earlier.policy and source.text.startswith(earlier.text):
            source.keep = False
        if source.policy != earlier.policy and _covers(earlier.text, source.text):
            source.keep = True
    return [source for source in sources if source.keep]


def _covers(general: str, special: str) -> bool:
    """Whether every piece of the path `general` is in `special`; all of it, or up to a slash."""
    ours, theirs = general.split("/"), special.split("/")
    if len(ours) > len(theirs):
        return False
    if not general.endswith("/"):
        if len(ours) != len(theirs):
            return False
    else:
        ours.pop()
    return all(_decoded(a) == _decoded(b) for a, b in zip(ours, theirs, strict=False))


def _decoded(piece: str) -> str:
    if _MALFORMED_ESCAPE.search(piece):
        raise ValueError(f"{piece!r} has a malformed escape")
    return unquote(piece, errors="strict")
