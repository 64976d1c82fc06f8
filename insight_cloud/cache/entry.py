"""How a value looks in the store, and when it should be computed anew: no clock, no I/O.

A counter is stored as its decimal digits, so that the store itself can add to it. Everything
else is a head (format, end of life, cost, tags) and the value as MessagePack. The format byte
and the end of life are the first nine bytes, which are exactly twelve characters of Base64:
a store of text can replace them as well as a store of bytes.
"""

from __future__ import annotations

import functools
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from insight_cloud.core.errors import Corrupt, Refused

__all__ = ["Entry", "counter", "decode", "encode", "head", "pack", "refresh_at", "unpack"]

_FORMAT = 1
_HEAD = struct.Struct(">BQ")
_REST = struct.Struct(">IH")
_START = _HEAD.size + _REST.size
_DIGITS = b"-0123456789"
_COST_LIMIT_MS = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Entry:
    """A value with what is known of it. Times are seconds since 1970; `cost` is seconds."""

    value: Any
    expires: float
    cost: float
    tags: Mapping[str, str]
    """Each tag and the version it had before the value was computed."""


def counter(value: object) -> bytes | None:
    """The digits of a plain integer that a store can add to, or None for anything else."""
    if type(value) is int and -(2**63) <= value < 2**63:
        return b"%d" % value
    return None


def encode(value: object) -> bytes:
    """The value alone, as MessagePack.

    Raises:
        Refused: the value is not data (str, int, bytes, datetime, dict, dataclass, Struct...).
    """
    try:
        return msgspec.msgpack.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise Refused(f"cannot keep a {type(value).__name__} in the cache: {error}") from error


def decode(payload: bytes, kind: Any = Any) -> Any:
    """The value in the result of `encode`, as everybody will get it from the store.

    Raises:
        Refused: the value is not of the type that its key promises.
    """
    try:
        return _decoder(kind).decode(payload)
    except msgspec.DecodeError as error:
        raise Refused(f"the value is no {kind}: {error}") from error


def pack(
    payload: bytes, *, expires: float, cost: float = 0.0, tags: Mapping[str, str] | None = None
) -> bytes:
    """The stored form of an encoded value."""
    tag_bytes = msgspec.msgpack.encode(dict(tags)) if tags else b""
    if len(tag_bytes) > 2**16 - 1:
        raise Refused(f"too many tags on one value: {len(tags or ())}")
    cost_ms = min(int(cost * 1000), _COST_LIMIT_MS)
    return b"".join((head(expires), _REST.pack(cost_ms, len(tag_bytes)), tag_bytes, payload))


def head(expires: float) -> bytes:
    """The first nine bytes of a stored value that lives until `expires`."""
    return _HEAD.pack(_FORMAT, int(expires * 1000))


def unpack(raw: bytes, kind: Any = Any) -> Entry:
    """The value in `raw`, as `kind` if one is given; a counter never expires by itself.

    Raises:
        Corrupt: the bytes are not ours, of an older format, or no longer fit `kind`.
    """
    if raw[:1] and raw[0] in _DIGITS:
        return Entry(_integer(raw), math.inf, 0.0, {})
    try:
        version, expires_ms = _HEAD.unpack_from(raw)
        cost_ms, tag_length = _REST.unpack_from(raw, _HEAD.size)
        if version != _FORMAT:
            raise Corrupt(f"a cached value has the unknown format {version}")
        body = memoryview(raw)[_START:]
        tags = _decoder(dict[str, str]).decode(body[:tag_length]) if tag_length else {}
        value = _decoder(kind).decode(body[tag_length:])
    except (struct.error, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Corrupt(f"a cached value cannot be read: {error}") from error
    return Entry(value, expires_ms / 1000, cost_ms / 1000, tags)


def refresh_at(expires: float, cost: float, chance: float) -> float:
    """When to compute a value anew so that nobody waits for it; `chance` is in (0, 1].

    The rule of Vattani, Chierichetti and Lowenstein (2015): each process draws its own moment,
    the earlier the longer the computation took, so that seldom two choose the same one.
    """
    return expires + cost * math.log(chance) if cost > 0 else expires


def _integer(raw: bytes) -> int:
    try:
        return int(raw)
    except ValueError as error:
        raise Corrupt("a cached value begins as a counter and is none") from error


@functools.lru_cache(maxsize=1024)
def _decoder(kind: Any) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(kind)
