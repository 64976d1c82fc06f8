"""The functions of the rules language: what they take, and what they return.

A function gets the bytes, integers and addresses of one request. Unless its signature says
otherwise, a missing argument makes the result missing. `run` is None where this machine cannot
know the answer (a random number, a key that only the edge has); the result is then unknown.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_network
from typing import Any, Final

from insight_cloud.edge.language import regex
from insight_cloud.edge.language.syntax import Address
from insight_cloud.edge.language.types import BOOL, BYTES, INT, Type, array, read

__all__ = ["FUNCTIONS", "MISSING", "Function", "Missing", "Parameter", "wildcard_pieces"]


class Missing:
    """The value of what is not there, such as a header that was not sent."""

    def __repr__(self) -> str:
        return "MISSING"

    def __bool__(self) -> bool:
        return False


MISSING: Final = Missing()


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter: the types it takes (none: any), and whether it must be a literal or not."""

    types: tuple[Type, ...]
    literal: bool | None = None
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Function:
    """A signature, where it may be used, the plan that it needs, and what it does."""

    parameters: tuple[Parameter, ...]
    returns: Type | None
    """None: the type of the first argument."""
    run: Callable[..., Any] | None
    rest: Parameter | None = None
    """Further arguments, as many as are given."""
    values_only: bool = False
    """Only where an expression makes a value: rewrites and redirects."""
    phases: tuple[str, ...] = ()
    plan: str = "free"
    takes_missing: bool = False
    once: bool = False


_WAF = ("http_request_firewall_custom", "http_ratelimit")
_JSON_BYTES = 1024 * 1024
_DECODINGS = 16  # `url_decode(…, "r")`: each round makes the text shorter; this many are never met


def _p(*types: str, literal: bool | None = None, optional: bool = False) -> Parameter:
    return Parameter(tuple(map(read, types)), literal, optional)


def _lower(value: bytes) -> bytes:
    return value.lower()  # of bytes: ASCII only, as documented


def _upper(value: bytes) -> bytes:
    return value.upper()


def _concat(*values: Any) -> Any:
    if any(isinstance(value, list) for value in values):
        return [item for value in values if value is not MISSING for item in value]
    return b"".join(value for value in values if value is not MISSING)


def _coalesce(*values: Any) -> Any:
    return next((value for value in values if value is not MISSING), MISSING)


def _cidr(address: Address, bits: int, bits6: int) -> Address:
    prefix = bits if isinstance(address, IPv4Address) else bits6
    return ip_network((address, prefix), strict=False).network_address


def _cidr6(address: Address, bits6: int) -> Address:
    return _cidr(address, 32, bits6)


def _decode_base64(value: bytes) -> Any:
    try:
        return base64.b64decode(value + b"=" * (-len(value) % 4), validate=True)
    except (binascii.Error, ValueError):
        return MISSING


def _encode_base64(value: bytes, flags: bytes = b"") -> bytes:
    encoded = base64.urlsafe_b64encode(value) if b"u" in flags else base64.b64encode(value)
    return encoded if b"p" in flags else encoded.rstrip(b"=")


def _join(items: list[bytes], separator: bytes) -> bytes:
    return separator.join(items)


def _split(value: bytes, separator: bytes, limit: int) -> list[bytes]:
    return value.split(separator, limit - 1)


def _lookup(value: bytes, keys: tuple[bytes | int, ...]) -> Any:
    if len(value) > _JSON_BYTES:
        return MISSING
    try:
        found = json.loads(value)
        for key in keys:
            if isinstance(key, int):
                found = found[key] if isinstance(found, list) and key >= 0 else MISSING
            else:
                found = found[key.decode()] if isinstance(found, dict) else MISSING
    except (ValueError, KeyError, IndexError, RecursionError):
        return MISSING
    return found


def _lookup_string(value: bytes, *keys: bytes | int) -> Any:
    found = _lookup(value, keys)
    return found.encode() if isinstance(found, str) else MISSING


def _lookup_integer(value: bytes, *keys: bytes | int) -> Any:
    found = _lookup(value, keys)
    return found if isinstance(found, int) and not isinstance(found, bool) else MISSING


def _regex_replace(value: bytes, pattern: bytes, replacement: bytes) -> Any:
    try:
        return regex.replaced(pattern.decode(), value, replacement)
    except regex.UnsupportedPattern:
        return None


def _remove_bytes(value: bytes, unwanted: bytes) -> bytes:
    return value.translate(None, unwanted)


def _remove_query_args(query: bytes, *names: bytes) -> bytes:
    return b"&".join(part for part in query.split(b"&") if part.split(b"=", 1)[0] not in names)


def _substring(value: bytes, start: int, end: int | None = None) -> bytes:
    return value[start:end]


def _to_string(value: Any) -> bytes:
    if isinstance(value, bool):
        return b"true" if value else b"false"
    return str(value).encode()


_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
_UNICODE_ESCAPE = re.compile(rb"%u([0-9A-Fa-f]{4})")


def _url_decode(value: bytes, options: bytes = b"") -> bytes:
    rounds = _DECODINGS if b"r" in options else 1
    for _ in range(rounds):
        decoded = _decode_once(value, unicode_=b"u" in options)
        if decoded == value:
            break
        value = decoded
    return value


def _decode_once(value: bytes, *, unicode_: bool) -> bytes:
    value = value.replace(b"+", b" ")
    if unicode_:
        value = _UNICODE_ESCAPE.sub(lambda found: _utf8(int(found[1], 16)), value)
    return _ESCAPE.sub(lambda found: bytes([int(found[1], 16)]), value)


def _utf8(code: int) -> bytes:
    return chr(code).encode(errors="replace")  # half of a surrogate pair is no character


def _wildcard_replace(
    value: bytes, pattern: bytes, replacement: bytes, flags: bytes = b""
) -> bytes:
    parts = wildcard_groups(value, pattern, strict=b"s" in flags)
    if parts is None:
        return value
    return re.sub(
        rb"\$(?:\$|\{(\d)\})",
        lambda found: b"$" if found[1] is None else _nth(parts, int(found[1])),
        replacement,
    )


def _nth(parts: list[bytes], number: int) -> bytes:
    return parts[number - 1] if 0 < number <= len(parts) else b""


def wildcard_groups(value: bytes, pattern: bytes, *, strict: bool) -> list[bytes] | None:
    """What each `*` stands for, as short as possible from the left; None without a match.

    Piece by piece rather than by a regular expression, whose time grows with a power of the
    number of stars.
    """
    pieces = wildcard_pieces(pattern)
    subject = value if strict else value.lower()
    if not strict:
        pieces = [piece.lower() for piece in pieces]
    if not subject.startswith(pieces[0]):
        return None
    position, groups = len(pieces[0]), []
    for number, piece in enumerate(pieces[1:], 1):
        last = number == len(pieces) - 1
        found = len(subject) - len(piece) if last else subject.find(piece, position)
        if found < position or (last and not subject.endswith(piece)):
            return None
        groups.append(value[position:found])
        position = found + len(piece)
    return groups if position == len(subject) else None


def wildcard_pieces(text: bytes) -> list[bytes]:
    """The literal pieces between the `*` of a wildcard text.

    Raises:
        ValueError: two `*` in a row, or a backslash before anything but `*` and itself.
    """
    pieces, position = [b""], 0
    while position < len(text):
        byte = text[position : position + 1]
        if byte == b"*":
            if text[position + 1 : position + 2] == b"*":
                raise ValueError("two * in a row are not allowed; one is as good")
            pieces.append(b"")
        elif byte == b"\\":
            position += 1
            byte = text[position : position + 1]
            if byte not in {b"*", b"\\"}:
                raise ValueError("a backslash stands only before * or another backslash")
            pieces[-1] += byte
        else:
            pieces[-1] += byte
        position += 1
    return pieces


_MAC = re.compile(rb"(.*)(\d{10})-(.{43,})", re.DOTALL)


def _is_timed_hmac_valid(  # noqa: PLR0917 - the signature of the language
    key: bytes, message_mac: bytes, lifetime: int, now: int, separator: int = 0, flags: bytes = b""
) -> bool:
    found = _MAC.fullmatch(message_mac)
    if found is None or len(found[1]) <= separator:
        return False
    message = found[1][: len(found[1]) - separator]
    wanted = hmac.new(key, message + found[2], hashlib.sha256).digest()
    try:
        if b"s" in flags:
            given = base64.urlsafe_b64decode(found[3] + b"=" * (-len(found[3]) % 4))
        else:
            given = base64.b64decode(_decode_once(found[3], unicode_=False))
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(wanted, given) and now < int(found[2]) + lifetime


def _has_key(values: Mapping[bytes, Any], key: bytes) -> bool:
    return key in values


def _has_value(values: Any, value: Any) -> bool:
    return value in (values.values() if isinstance(values, dict) else values)


_TEXT = _p("Bytes")
_TEXT_FIELD = _p("Bytes", literal=False)
_TEXT_LITERAL = _p("Bytes", literal=True)
_KEY = _p("Bytes", "Int")
_ANY = Parameter(())
_TRANSFORM = ("http_request_transform", "http_request_late_transform")
_RESPONSE = ("http_response_headers_transform", "http_custom_errors")

FUNCTIONS: Mapping[str, Function] = {
    "cidr": Function(
        (
            _p("Ip", literal=False),
            _p("Int", literal=True),
            _p("Int", literal=True),
        ),
        read("Ip"),
        _cidr,
        phases=_WAF,
    ),
    "cidr6": Function(
        (_p("Ip", literal=False), _p("Int", literal=True)), read("Ip"), _cidr6, phases=_WAF
    ),
    "coalesce": Function((_ANY,), None, _coalesce, rest=_ANY, takes_missing=True),
    "concat": Function(
        (_p("Bytes", "Array<Bytes>"),),
        None,
        _concat,
        rest=_p("Bytes", "Array<Bytes>"),
        takes_missing=True,
    ),
    "decode_base64": Function(
        (_TEXT_FIELD,), BYTES, _decode_base64, phases=(*_WAF, *_TRANSFORM, *_RESPONSE)
    ),
    "encode_base64": Function(
        (_TEXT, _p("Bytes", literal=True, optional=True)),
        BYTES,
        _encode_base64,
        phases=(*_TRANSFORM, *_RESPONSE),
    ),
    "ends_with": Function((_TEXT_FIELD, _TEXT), BOOL, bytes.endswith),
    "has_key": Function((_p("Map<Bytes>", "Map<Int>", "Map<Array<Bytes>>"), _TEXT), BOOL, _has_key),
    "has_value": Function(
        (_p("Array<Bytes>", "Array<Int>", "Map<Bytes>", "Map<Int>"), _KEY), BOOL, _has_value
    ),
    "join": Function((_p("Array<Bytes>"), _TEXT), BYTES, _join),
    "len": Function(
        (_p("Bytes", "Array<Bytes>", "Array<Int>", "Array<Bool>", "Array<Array<Bytes>>"),),
        INT,
        len,
    ),
    "lookup_json_integer": Function((_TEXT_FIELD, _KEY), INT, _lookup_integer, rest=_KEY),
    "lookup_json_string": Function((_TEXT_FIELD, _KEY), BYTES, _lookup_string, rest=_KEY),
    "lower": Function((_TEXT,), BYTES, _lower),
    "regex_replace": Function(
        (_TEXT, _TEXT_LITERAL, _TEXT_LITERAL),
        BYTES,
        _regex_replace,
        values_only=True,
        plan="business",
        once=True,
    ),
    "remove_bytes": Function((_TEXT, _TEXT_LITERAL), BYTES, _remove_bytes),
    "remove_query_args": Function(
        (_TEXT_FIELD, _TEXT), BYTES, _remove_query_args, rest=_TEXT, values_only=True
    ),
    "sha256": Function(
        (_TEXT,), BYTES, lambda value: hashlib.sha256(value).digest(), values_only=True
    ),
    "sha512": Function(
        (_TEXT,), BYTES, lambda value: hashlib.sha512(value).digest(), values_only=True
    ),
    "split": Function(
        (_TEXT, _TEXT_LITERAL, _p("Int", literal=True)), array(BYTES), _split, phases=_RESPONSE
    ),
    "starts_with": Function((_TEXT_FIELD, _TEXT), BOOL, bytes.startswith),
    "substring": Function((_TEXT, _p("Int"), _p("Int", optional=True)), BYTES, _substring),
    "to_string": Function((_p("Int", "Bool", "Ip"),), BYTES, _to_string, values_only=True),
    "trim": Function((_TEXT,), BYTES, lambda value: value.strip()),
    "trim_end": Function((_TEXT,), BYTES, lambda value: value.rstrip()),
    "trim_start": Function((_TEXT,), BYTES, lambda value: value.lstrip()),
    "upper": Function((_TEXT,), BYTES, _upper),
    "url_decode": Function(
        (_TEXT_FIELD, _p("Bytes", literal=True, optional=True)), BYTES, _url_decode
    ),
    "uuidv4": Function((_TEXT,), BYTES, None, values_only=True),
    "wildcard_replace": Function(
        (
            _TEXT_FIELD,
            _TEXT_LITERAL,
            _TEXT_LITERAL,
            _p("Bytes", literal=True, optional=True),
        ),
        BYTES,
        _wildcard_replace,
        values_only=True,
        once=True,
    ),
    "is_timed_hmac_valid_v0": Function(
        (
            _TEXT_LITERAL,
            _TEXT_FIELD,
            _p("Int", literal=True),
            _p("Int"),
            _p("Int", literal=True, optional=True),
            _p("Bytes", literal=True, optional=True),
        ),
        BOOL,
        _is_timed_hmac_valid,
        plan="pro",
    ),
    # Named by the engine, hardly described by the documentation: their answer is unknown here.
    "bit_slice": Function((_ANY,), INT, None, rest=_ANY),
    "contains": Function((_TEXT_FIELD, _TEXT), BOOL, lambda value, part: part in value),
    "hash_in_range": Function((_ANY,), BOOL, None, rest=_ANY),
    "hmac": Function((_ANY,), BYTES, None, rest=_ANY),
    "ip_in_range": Function((_ANY,), BOOL, None, rest=_ANY),
    "is_jwt_present": Function((_ANY,), BOOL, None, rest=_ANY, plan="enterprise"),
    "is_jwt_valid": Function((_ANY,), BOOL, None, rest=_ANY, plan="enterprise"),
    "wildcard": Function((_TEXT_FIELD, _TEXT_LITERAL), BOOL, None, rest=_ANY),
}
