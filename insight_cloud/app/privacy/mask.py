"""Credentials out of texts: a message may quote the line that it complains about.

How secrets look is told by `find`, because the patterns belong to the detector of secrets.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Protocol

__all__ = ["MASK", "Find", "masked"]

MASK = "***"
"""Not in brackets: in a log those begin links."""

_USERINFO = re.compile(r"(?<=://)[^\s/?#'\"<>]{1,400}@")
"""What stands before the host of a URL, the password included (RFC 3986, 3.2.1)."""


_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,20}PRIVATE KEY-----|\Z)",
    re.DOTALL,
)
"""The whole of it: its lines look like anything."""

_ROUNDS = 5


class Span(Protocol):
    """Where a secret is, in characters."""

    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...


Find = Callable[[str], Sequence[Span]]
"""Finds the secrets in a text, in their order and without overlaps."""


def masked(text: str, find: Find) -> str:
    """Return `text` without the credentials in it, line by line where it was.

    Masking it again changes nothing, so that who receives it can tell whether it was done.
    """
    for _ in range(_ROUNDS):
        less = _once(text, find)
        if less == text:
            return text
        text = less
    return MASK  # what keeps looking like a secret is not sent at all


def _once(text: str, find: Find) -> str:
    text = _USERINFO.sub(f"{MASK}@", text)
    text = _PRIVATE_KEY.sub(lambda key: MASK + "\n" * key[0].count("\n"), text)
    parts: list[str] = []
    begin = 0
    for secret in find(text):
        lines = text.count("\n", secret.start, secret.end)
        parts += [text[begin : secret.start], MASK, "\n" * lines]
        begin = secret.end
    return "".join(parts) + text[begin:]
