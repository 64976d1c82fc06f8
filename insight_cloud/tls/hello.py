"""The first messages of a TLS connection, as bytes: written and read here, and nothing after them.

A library speaks only what it still considers safe. To find what a server accepts, we write a
ClientHello for any version and suite ourselves, and read the server's first flight within limits.
No secret is ever agreed on: the connection ends there. Formats: RFC 2246, 5246, 8446, and the SSL
2.0 draft.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum

__all__ = [
    "CHANGE_CIPHER_SPEC",
    "FLIGHT_BYTES",
    "Flight",
    "Heard",
    "Version",
    "client_hello",
    "heartbeat",
    "ssl2_hello",
    "ssl2_kinds",
]

FLIGHT_BYTES = 256 * 1024
"""The most that is read of a server's first flight; a usual one has 4 kB."""
_RECORD_BYTES = 16384 + 2048
_HANDSHAKE, _ALERT, _HEARTBEAT = 22, 21, 24
_SERVER_HELLO, _CERTIFICATE, _KEY_EXCHANGE, _DONE = 2, 11, 12, 14
_RETRY = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
"""The `random` by which a TLS 1.3 server asks for another key share (RFC 8446, 4.1.3)."""
_GROUPS = (0x001D, 0x0017, 0x0018, 0x0019, 0x001E, 0x0100, 0x0101, 0x0102, 0x0016, 0x0015,
           0x0014, 0x0013, 0x0012, 0x001A, 0x001B, 0x001C)  # fmt: skip
_CURVE_BITS = {0x17: 256, 0x18: 384, 0x19: 521, 0x1D: 253, 0x1E: 448, 0x15: 224, 0x13: 192,
               0x12: 192, 0x14: 224, 0x16: 256, 0x1A: 256, 0x1B: 384, 0x1C: 512}  # fmt: skip
_SIGNATURES = (0x0403, 0x0503, 0x0603, 0x0807, 0x0808, 0x0804, 0x0805, 0x0806, 0x0809, 0x080A,
               0x080B, 0x0401, 0x0501, 0x0601, 0x0203, 0x0201, 0x0202, 0x0402, 0x0101)  # fmt: skip
CHANGE_CIPHER_SPEC = b"\x01"


class Version(IntEnum):
    """Protocol versions as they stand on the wire."""

    SSL2 = 0x0002
    SSL3 = 0x0300
    TLS10 = 0x0301
    TLS11 = 0x0302
    TLS12 = 0x0303
    TLS13 = 0x0304

    @property
    def title(self) -> str:
        """The name that people know."""
        return {0x0002: "SSL 2.0", 0x0300: "SSL 3.0"}.get(self, f"TLS 1.{self - 0x0301}")


@dataclass(slots=True)
class Heard:
    """What a server said in its first flight. `suite` is None when it refused."""

    version: int | None = None
    suite: int | None = None
    compression: int = 0
    secure_renegotiation: bool = False
    heartbeat: bool = False
    retry: bool = False
    certificates: list[bytes] = field(default_factory=list)
    dh_bits: int | None = None
    curve_bits: int | None = None
    alert: int | None = None
    done: bool = False
    fault: str = ""


def client_hello(
    version: Version,
    suites: Sequence[int],
    *,
    host: str = "",
    compress: bool = False,
    heartbeats: bool = False,
) -> bytes:
    """Write a ClientHello that offers exactly `version` and `suites`.

    Args:
        version: the only version offered.
        suites: their numbers.
        host: sent as server name, when it is one and no address.
        compress: offer DEFLATE too.
        heartbeats: say that we know heartbeats.
    """
    modern = version is Version.TLS13
    legacy = Version.TLS12 if modern else version
    # The signal that we know RFC 5746; without it, an answer would say nothing about it.
    offered = [*suites] if modern else [*suites, 0x00FF]
    body = struct.pack("!H", legacy) + os.urandom(32)
    body += _vector(os.urandom(32), 1) if modern else b"\0"
    body += _vector(_shorts(offered), 2)
    body += _vector(b"\x01\0" if compress else b"\0", 1)
    if version is not Version.SSL3:
        body += _vector(_extensions(version, host, heartbeats=heartbeats), 2)
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    # Many servers want the record itself to say TLS 1.0 here.
    return _record(_HANDSHAKE, min(legacy, Version.TLS10), message)


def ssl2_hello() -> bytes:
    """Write an SSL 2.0 CLIENT-HELLO that offers all of its ciphers."""
    from insight_cloud.tls.suites import SSL2_KINDS

    kinds = b"".join(SSL2_KINDS)
    body = b"\x01" + struct.pack("!HHHH", Version.SSL2, len(kinds), 0, 16) + kinds + os.urandom(16)
    return struct.pack("!H", 0x8000 | len(body)) + body


def ssl2_kinds(data: bytes) -> tuple[bytes, ...] | None:
    """Read an SSL 2.0 SERVER-HELLO: the ciphers it names; None when it is something else."""
    if len(data) < 13 or not data[0] & 0x80 or data[2] != 4:
        return None
    version, certificate, kinds, _ = struct.unpack("!HHHH", data[5:13])
    found = data[13 + certificate : 13 + certificate + kinds]
    if version != Version.SSL2 or len(found) != kinds or kinds % 3:
        return None
    return tuple(found[i : i + 3] for i in range(0, kinds, 3))


def heartbeat(version: Version) -> bytes:
    """Write a heartbeat request that claims sixteen bytes more than it has (CVE-2014-0160).

    A sound server drops it. One that is not sends its sixteen neighbouring bytes, which are
    counted and thrown away.
    """
    return _record(_HEARTBEAT, version, b"\x01\x00\x10")


def change_cipher_spec(version: Version) -> bytes:
    """Write a ChangeCipherSpec, which a sound server refuses at this point (CVE-2014-0224)."""
    return _record(20, version, CHANGE_CIPHER_SPEC)


class Flight:
    """Reads a server's first flight from pieces of any size, and never more than is allowed."""

    def __init__(self, *, until_done: bool = True) -> None:
        self.heard = Heard()
        self._until_done = until_done
        self._records = bytearray()
        self._messages = bytearray()
        self._total = 0

    @property
    def over(self) -> bool:
        """Whether there is nothing more that we want to read."""
        heard = self.heard
        enough = heard.suite is not None and (not self._until_done or heard.version == 0x0304)
        return bool(enough or heard.done or heard.fault or heard.alert is not None)

    def feed(self, data: bytes) -> None:
        """Take what arrived. What cannot be read ends the flight as a `fault`."""
        self._total += len(data)
        self._records += data
        if self._total > FLIGHT_BYTES:
            self.heard.fault = f"more than {FLIGHT_BYTES} bytes"
            return
        try:
            while not self.over and self._next_record():
                pass
        except (struct.error, IndexError, ValueError) as error:
            self.heard.fault = f"not TLS: {error}"[:200]

    def _next_record(self) -> bool:
        if len(self._records) < 5:
            return False
        kind, major, _, length = struct.unpack("!BBBH", self._records[:5])
        if kind not in {20, 21, 22, 23, 24} or major != 3 or length > _RECORD_BYTES:
            raise ValueError(f"a record begins with {bytes(self._records[:5]).hex()}")
        if len(self._records) < 5 + length:
            return False
        payload = bytes(self._records[5 : 5 + length])
        del self._records[: 5 + length]
        self._take(kind, payload)
        return True

    def _take(self, kind: int, payload: bytes) -> None:
        if kind == _ALERT and len(payload) >= 2:
            # A warning (such as an unknown name) does not end the handshake.
            self.heard.alert = payload[1] if payload[0] == 2 or payload[1] == 0 else None
        elif kind == _HANDSHAKE:
            self._messages += payload
            while not self.over and len(self._messages) >= 4:
                length = int.from_bytes(self._messages[1:4], "big")
                if length > FLIGHT_BYTES:
                    raise ValueError(f"a message of {length} bytes")
                if len(self._messages) < 4 + length:
                    return
                number, body = self._messages[0], bytes(self._messages[4 : 4 + length])
                del self._messages[: 4 + length]
                self._message(number, body)

    def _message(self, number: int, body: bytes) -> None:
        if number == _SERVER_HELLO:
            _server_hello(body, self.heard)
        elif number == _CERTIFICATE:
            self.heard.certificates = _certificates(body)
        elif number == _KEY_EXCHANGE:
            _key_exchange(body, self.heard)
        elif number == _DONE:
            self.heard.done = True


def _server_hello(body: bytes, heard: Heard) -> None:
    reader = _Reader(body)
    version, random = reader.short(), reader.take(32)
    reader.vector(1)
    suite, heard.compression = reader.short(), reader.take(1)[0]
    for kind, content in reader.extensions():
        if kind == 43:  # supported_versions: what TLS 1.3 really chose
            version = struct.unpack("!H", content)[0]
        elif kind == 0xFF01:
            heard.secure_renegotiation = True
        elif kind == 15:
            heard.heartbeat = True
        elif kind == 51 and len(content) >= 2:
            heard.curve_bits = _CURVE_BITS.get(struct.unpack("!H", content[:2])[0])
    heard.version, heard.suite, heard.retry = version, suite, random == _RETRY


def _certificates(body: bytes) -> list[bytes]:
    reader = _Reader(_Reader(body).vector(3))
    found: list[bytes] = []
    while reader.left and len(found) < 20:
        found.append(reader.vector(3))
    return found


def _key_exchange(body: bytes, heard: Heard) -> None:
    from insight_cloud.tls.suites import by_number

    suite = by_number(heard.suite or 0)
    exchange = suite.exchange if suite else ""
    reader = _Reader(body)
    if exchange == "ECDHE" or (exchange == "ECDH" and suite is not None and suite.anonymous):
        kind = reader.take(1)[0]
        heard.curve_bits = _CURVE_BITS.get(reader.short()) if kind == 3 else None
    elif exchange in {"DHE", "DH"}:
        heard.dh_bits = int.from_bytes(reader.vector(2), "big").bit_length()
    elif suite is not None and suite.export:
        heard.dh_bits = int.from_bytes(reader.vector(2), "big").bit_length()  # the RSA modulus


def _extensions(version: Version, host: str, *, heartbeats: bool) -> bytes:
    parts = []
    if host and not _is_address(host):
        name = b"\0" + _vector(host.encode("idna"), 2)
        parts.append((0, _vector(name, 2)))
    parts += [
        (10, _vector(_shorts(_GROUPS), 2)),
        (11, b"\x01\0"),
        (13, _vector(_shorts(_SIGNATURES), 2)),
        (23, b""),
    ]
    if heartbeats:
        parts.append((15, b"\x01"))
    if version is Version.TLS13:
        share = struct.pack("!H", 0x001D) + _vector(os.urandom(32), 2)
        parts += [(43, b"\x02\x03\x04"), (51, _vector(share, 2)), (45, b"\x01\x01")]
    return b"".join(struct.pack("!H", kind) + _vector(content, 2) for kind, content in parts)


class _Reader:
    """Takes fields off the front of bytes; an IndexError when there are not enough."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise IndexError(f"{count} bytes wanted, {self.left} there")
        self._at += count
        return self._data[self._at - count : self._at]

    def short(self) -> int:
        return int.from_bytes(self.take(2), "big")

    def vector(self, size: int) -> bytes:
        return self.take(int.from_bytes(self.take(size), "big"))

    def extensions(self) -> list[tuple[int, bytes]]:
        if not self.left:
            return []
        inner = _Reader(self.vector(2))
        found: list[tuple[int, bytes]] = []
        while inner.left:
            found.append((inner.short(), inner.vector(2)))
        return found


def _record(kind: int, version: int, payload: bytes) -> bytes:
    return struct.pack("!BHH", kind, version, len(payload)) + payload


def _vector(content: bytes, size: int) -> bytes:
    return len(content).to_bytes(size, "big") + content


def _shorts(values: Sequence[int]) -> bytes:
    return struct.pack(f"!{len(values)}H", *values)


def _is_address(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()
