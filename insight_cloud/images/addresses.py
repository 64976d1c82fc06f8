"""Which addresses of the internet may be asked for an image. Pure.

An address may carry another one inside: a request to `64:ff9b::10.0.0.1` arrives at 10.0.0.1 by
way of a translator. So everything that is known to be wrapped is unwrapped and judged too.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import TypeAlias

__all__ = ["is_public"]

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_NEVER = tuple(
    ipaddress.ip_network(text)
    for text in (
        *("0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.88.99.0/24", "240.0.0.0/4"),
        *("::/128", "100::/64", "2001::/23", "fec0::/10", "5f00::/16", "3fff::/20"),
    )
)
_TRANSLATED = (
    (ipaddress.IPv6Network("64:ff9b::/96"), 0),
    (ipaddress.IPv6Network("64:ff9b:1::/48"), 0),
    (ipaddress.IPv6Network("::/96"), 0),  # "IPv4-compatible", long deprecated
    (ipaddress.IPv6Network("::ffff:0:0:0/96"), 0),  # SIIT
)


def is_public(text: str) -> bool:
    """Whether `text` is an address of the public internet, all the way through."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return all(map(_is_public, (address, *_inside(address))))


def _is_public(address: _Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return True  # what is inside is judged on its own
    never = any(address in network for network in _NEVER if network.version == address.version)
    return address.is_global and not never and not address.is_multicast


def _inside(address: _Address) -> Iterator[_Address]:
    """The IPv4 addresses that an IPv6 address leads to."""
    if isinstance(address, ipaddress.IPv4Address):
        return
    if address.ipv4_mapped:
        yield address.ipv4_mapped
    if address.sixtofour:
        yield address.sixtofour
    if address.teredo:
        yield from address.teredo
    value = int(address)
    for network, shift in _TRANSLATED:
        if address in network:
            yield ipaddress.IPv4Address(value >> shift & 0xFFFFFFFF)
    if value >> 32 & 0xFDFFFFFF == 0x00005EFE:  # ISATAP: an interface of a private network
        yield ipaddress.IPv4Address(value & 0xFFFFFFFF)
