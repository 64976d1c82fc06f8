"""Which addresses a webhook may lead to: pure, so that every trick is a line in a test.

A webhook's URL is typed by a maintainer and fetched by the server. It must not reach what only
the server can: itself, its neighbours, a cloud's metadata.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

from insight_cloud.core.errors import Invalid

__all__ = ["URL_LIMIT", "check_url", "is_public"]

URL_LIMIT = 2_000
_NAT64 = IPv6Network("64:ff9b::/96")
_NOT_GLOBAL = (ip_network("192.0.0.0/24"), ip_network("64:ff9b:1::/48"))
"""What Python takes for global, or did in some version, and is not."""


def is_public(text: str) -> bool:
    """Whether an address belongs to the public internet, also the IPv4 address inside an IPv6."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return all(_is_public(one) for one in (address, *_inside(address)))


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    if any(address.version == net.version and address in net for net in _NOT_GLOBAL):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _inside(address: IPv4Address | IPv6Address) -> list[IPv4Address]:
    """The IPv4 addresses to which an IPv6 address may be translated on its way."""
    if isinstance(address, IPv4Address):
        return []
    found = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in _NAT64:
        found.append(IPv4Address(int(address) & 0xFFFFFFFF))
    return [one for one in found if one is not None]


def check_url(text: str, *, allow_private: bool) -> str:
    """Return a webhook's URL as it is stored.

    Raises:
        Invalid: it is no https URL (http only where private addresses are allowed), or names
            an address that is not public.
    """
    parts = urlsplit(text.strip())
    why = ""
    try:
        port = parts.port
    except ValueError:
        port, why = None, "the port is none"
    schemes = {"https", "http"} if allow_private else {"https"}
    if len(text) > URL_LIMIT or not text.isprintable() or not text.isascii():
        why = f"must have at most {URL_LIMIT} printable ASCII characters"
    elif parts.scheme not in schemes or not parts.hostname:
        why = "is no https URL"
    elif parts.username is not None or parts.password is not None:
        why = "must not hold a user name or password"
    elif port == 0:
        why = "the port is none"
    elif not allow_private and _is_literal(parts.hostname) and not is_public(parts.hostname):
        why = "this address is not on the public internet"
    if why:
        raise Invalid(f"the URL {why}", problems=(("/body/url", why),))
    return text.strip()


def _is_literal(host: str) -> bool:
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
