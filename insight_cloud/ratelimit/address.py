"""Who is asking, by address: forwarded headers count only as far as they are trustworthy."""

from __future__ import annotations

import functools
import ipaddress
import json
from collections.abc import Iterable
from importlib import resources
from typing import TypeAlias

from insight_cloud.core.asgi import Scope
from insight_cloud.core.errors import SettingsError

__all__ = ["UNIX", "Addresses", "cloudflare_ranges", "networks"]

UNIX = "unix"
"""Among trusted proxies: whoever connects to our Unix socket."""

_MOST_HOPS = 32
_CACHED = 8192

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


class Addresses:
    """Callable with an ASGI scope: the key of the client, `ip:203.0.113.7` or `ip:2001:db8::/64`.

    Walks `X-Forwarded-For` from the right, that is from our own proxy outwards, for as long as
    the hop that wrote an entry is one of `trusted_proxies`. `CF-Connecting-IP` counts where the
    walk meets one of Cloudflare's addresses. So without trusted proxies, a header changes
    nothing for anyone who does not come from Cloudflare.

    One customer has at least a /64 of IPv6, so that is one key (`ipv6_prefix`).
    """

    def __init__(
        self,
        *,
        trusted_proxies: Iterable[str] = (),
        cloudflare: Iterable[str] | None = None,
        ipv6_prefix: int = 64,
    ) -> None:
        """Take networks as `10.0.0.0/8`; `cloudflare` None is the published list, () is never."""
        trusted = list(trusted_proxies)
        self._trusts_unix = UNIX in trusted
        self._trusted = networks(proxy for proxy in trusted if proxy != UNIX)
        self._cloudflare = networks(cloudflare_ranges() if cloudflare is None else cloudflare)
        self._prefix = ipv6_prefix
        self._key = functools.lru_cache(maxsize=_CACHED)(self._walk)

    def __call__(self, scope: Scope) -> str:
        """Return the key of the client."""
        client = scope.get("client")
        forwarded, connecting = [], []
        for name, value in scope["headers"]:
            if name == b"x-forwarded-for":
                forwarded.append(value)
            elif name == b"cf-connecting-ip":
                connecting.append(value)
        peer = client[0] if client else ""
        # Nothing that a stranger sends is remembered: it could only push out what is useful.
        if not forwarded and not connecting:
            return self._key(peer, b"", b"")
        return self._walk(peer, b",".join(forwarded), b",".join(connecting))

    def is_proxied(self, scope: Scope) -> bool:
        """Whether one of the trusted proxies connected, so that it can have checked headers."""
        client = scope.get("client")
        hop = _address(client[0] if client else "")
        return self._trusts_unix if hop is None else _within(hop, self._trusted)

    def _walk(self, peer: str, forwarded: bytes, connecting: bytes) -> str:
        entries = str(forwarded, "latin-1").rsplit(",", _MOST_HOPS)
        hop = _address(peer)
        while True:
            if hop is not None and _within(hop, self._cloudflare):
                named = _address(str(connecting, "latin-1"))
                if named is not None:
                    return self._name(named)
            trusted = self._trusts_unix if hop is None else _within(hop, self._trusted)
            before = _address(entries.pop()) if trusted and entries else None
            if before is None:
                return self._name(hop)
            hop = before

    def _name(self, address: _Address | None) -> str:
        if address is None:
            return f"ip:{UNIX}"
        if isinstance(address, ipaddress.IPv4Address):
            return f"ip:{address}"
        return f"ip:{ipaddress.IPv6Network((int(address), self._prefix), strict=False)}"


def cloudflare_ranges() -> tuple[str, ...]:
    """Return the networks that Cloudflare publishes as its own; `cloudflare.json` says of when."""
    text = (resources.files(__package__) / "cloudflare.json").read_text(encoding="utf-8")
    return tuple(json.loads(text)["ranges"])


def networks(texts: Iterable[str]) -> tuple[_Network, ...]:
    """Parse networks and single addresses.

    Raises:
        SettingsError: one of them is neither.
    """
    try:
        return tuple(ipaddress.ip_network(text) for text in texts)
    except ValueError as error:
        raise SettingsError(f"trusted proxies: {error}") from error


def _within(address: _Address, among: tuple[_Network, ...]) -> bool:
    return any(address in network for network in among)


def _address(text: str) -> _Address | None:
    """Read an address, perhaps with a port or zone; None if it is none."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
