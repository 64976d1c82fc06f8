"""The two scripts that decide in Redis, and what goes in and comes out, however they are sent."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib import resources
from typing import NamedTuple

from insight_cloud.ratelimit.policy import Pair, Row

__all__ = ["REFUND", "WINDOW", "Script", "keys", "numbers", "rows"]


class Script(NamedTuple):
    """A script's text, and the name under which a server remembers it."""

    text: bytes
    sha: bytes


def _script(name: str) -> Script:
    text = (resources.files(__package__) / name).read_bytes()
    return Script(text, hashlib.sha1(text, usedforsecurity=False).hexdigest().encode())


WINDOW = _script("window.lua")
REFUND = _script("refund.lua")


def keys(prefix: str, pairs: Sequence[Pair]) -> list[str]:
    """Where the logs are. The braces make a cluster keep all policies of one key on one node."""
    return [f"{prefix}{{{key}}}:{policy.name}" for policy, key in pairs]


def numbers(pairs: Sequence[Pair]) -> list[int]:
    """Limit and window of each policy, in microseconds."""
    return [n for policy, _ in pairs for n in (policy.limit, round(policy.seconds * 1e6))]


def rows(reply: Sequence[int]) -> list[Row]:
    """Each policy's standing, from what the script answers."""
    return [(reply[i], reply[i + 1] / 1e6, reply[i + 2] / 1e6) for i in range(2, len(reply), 3)]
