"""Cipher suites and what each of them is worth: `suites.txt`, read and understood by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

__all__ = ["SSL2_KINDS", "Suite", "by_number", "numbers"]

_BITS = (
    ("NULL", 0), ("DES40", 40), ("RC4_40", 40), ("RC2_CBC_40", 40), ("RC4_56", 56),
    ("RC2_CBC_56", 56), ("3DES", 112), ("DES_CBC", 56), ("_256", 256), ("CHACHA20", 256),
    ("28147", 256), ("_128", 128), ("IDEA", 128), ("SEED", 128),
)  # fmt: skip
SSL2_KINDS: Mapping[bytes, int] = {
    b"\x01\x00\x80": 128, b"\x02\x00\x80": 40, b"\x03\x00\x80": 128, b"\x04\x00\x80": 40,
    b"\x05\x00\x80": 128, b"\x06\x00\x40": 56, b"\x07\x00\xc0": 112,
}  # fmt: skip
"""The ciphers of SSL 2.0, which are numbered differently, and their bits."""


@dataclass(frozen=True, slots=True)
class Suite:
    """One suite. `bits` are those of the cipher, as the SSL Labs guide counts them."""

    number: int
    name: str
    bits: int

    @property
    def exchange(self) -> str:
        """How keys are exchanged: RSA, DHE, ECDHE, DH, ECDH, or TLS13."""
        if self.number >> 8 == 0x13:
            return "TLS13"
        return self.name.split("_", 2)[1]

    @property
    def forward_secret(self) -> bool:
        """Whether a stolen key leaves past connections secret."""
        return self.exchange in {"DHE", "ECDHE", "TLS13"}

    @property
    def anonymous(self) -> bool:
        """Whether the server proves nothing, so that anybody can be it."""
        return "_anon_" in self.name

    @property
    def export(self) -> bool:
        """Whether it was weakened for export in the nineties."""
        return "EXPORT" in self.name

    @property
    def rc4(self) -> bool:
        """Whether its cipher is RC4."""
        return "RC4" in self.name

    @property
    def small_block(self) -> bool:
        """Whether its cipher has blocks of 64 bits (Sweet32)."""
        return any(name in self.name for name in ("DES", "IDEA", "RC2", "28147"))

    @property
    def cbc(self) -> bool:
        """Whether its cipher is a block cipher in CBC mode."""
        return "_CBC" in self.name

    @property
    def authenticated(self) -> bool:
        """Whether encryption and integrity are one (AEAD)."""
        return any(mode in self.name for mode in ("_GCM", "_CCM", "POLY1305"))


@cache
def _table() -> Mapping[int, Suite]:
    text = resources.files("insight_cloud.tls").joinpath("suites.txt").read_text("ascii")
    pairs = (line.split() for line in text.splitlines() if not line.startswith("#"))
    return {int(n, 16): Suite(int(n, 16), f"TLS_{name}", _bits(name)) for n, name in pairs}


def by_number(number: int) -> Suite | None:
    """The suite of that number, or None for one that we do not know."""
    return _table().get(number)


def numbers(*, tls13: bool) -> tuple[int, ...]:
    """The numbers of all suites for TLS 1.3, or for everything before it."""
    return tuple(n for n in _table() if (n >> 8 == 0x13) is tls13)


def _bits(name: str) -> int:
    cipher = name.partition("_WITH_")[2] or f"_{name}"
    return next(bits for part, bits in _BITS if part in f"_{cipher}")
