"""The random secrets that we hand out: their form, their checksum and what is stored of them.

Apart because every kind is made, recognised and digested by the same rule, and none is ever
stored: the database knows only SHA-256. A fast hash is right here, as the input is 256 random
bits; there is nothing to guess.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import zlib
from typing import Literal, get_args

__all__ = ["Kind", "digest", "kind", "make"]

Kind = Literal["session", "access", "refresh", "token", "link"]
"""What a secret is for. Its prefix says so, so that one look-up suffices."""

_PREFIXES: dict[Kind, str] = {
    "session": "inb_",
    "access": "ina_",
    "refresh": "inr_",
    "token": "ins_",
    "link": "inl_",
}
_KINDS = {prefix: kind for kind, prefix in _PREFIXES.items()}
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
# 43 digits of base 62 hold 256 bits; 6 hold a CRC-32. No dash: a double click selects it all.
_BITS, _DIGITS, _CHECK_DIGITS = 256, 43, 6
_FORM = re.compile(rf"in[abrsl]_[0-9A-Za-z]{{{_DIGITS + _CHECK_DIGITS}}}", re.ASCII)

assert set(_PREFIXES) == set(get_args(Kind))  # noqa: S101 - a kind without a prefix is a bug


def make(kind: Kind) -> str:
    """Make a new secret of `kind`: its prefix, 256 random bits, a checksum."""
    body = _PREFIXES[kind] + _base62(secrets.randbits(_BITS), _DIGITS)
    return body + _checksum(body)


def kind(text: str) -> Kind | None:
    """Say what `text` is a secret for; None when it was never one of ours.

    The checksum turns a mistyped or invented secret away without asking the database.
    """
    if _FORM.fullmatch(text) is None:
        return None
    body, check = text[:-_CHECK_DIGITS], text[-_CHECK_DIGITS:]
    return _KINDS[text[:4]] if check == _checksum(body) else None


def digest(text: str) -> bytes:
    """What is stored of a secret: the 32 bytes of its SHA-256."""
    return hashlib.sha256(text.encode()).digest()


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), _CHECK_DIGITS)


def _base62(number: int, digits: int) -> str:
    text = ""
    for _ in range(digits):
        number, digit = divmod(number, 62)
        text = _ALPHABET[digit] + text
    return text
