"""The zone's single values: where each is read and written, and in which step.

The call that read and wrote all settings at once ended in September 2026: each has its own now.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from insight_cloud.edge.phases import Phase

__all__ = ["ITEMS", "PHASE_STEPS", "STEPS", "Item", "item", "same"]

STEPS = (
    "zone and token",
    "TLS",
    "caching",
    "performance and rewriting",
    "security level and bots",
    "firewall and rate rules",
)
"""The six steps, as they are shown; the number of a step counts from 1."""


@dataclass(frozen=True, slots=True)
class Item:
    """One value of the zone."""

    path: str
    """Below `/zones/{zone}`."""
    method: Literal["PATCH", "PUT"]
    step: int
    wrapped: bool = True
    """Whether the value stands under `value`, as a setting's does; else it is an object."""

    def body(self, value: Any) -> Any:
        """What is sent to write `value`."""
        return {"value": value} if self.wrapped else value

    def value(self, result: Mapping[str, Any]) -> Any:
        """The value in an answer."""
        return result.get("value") if self.wrapped else dict(result)


def _setting(name: str, step: int) -> Item:
    return Item(f"/settings/{name}", "PATCH", step)


ITEMS: Mapping[str, Item] = {
    "ssl": _setting("ssl", 2),
    "min_tls_version": _setting("min_tls_version", 2),
    "tls_1_3": _setting("tls_1_3", 2),
    "automatic_https_rewrites": _setting("automatic_https_rewrites", 2),
    "always_use_https": _setting("always_use_https", 2),
    "universal_ssl": Item("/ssl/universal/settings", "PATCH", 2, wrapped=False),
    "origin_pulls": Item("/origin_tls_client_auth/settings", "PUT", 2, wrapped=False),
    "tiered_cache": Item("/cache/tiered_cache_smart_topology_enable", "PATCH", 3),
    "browser_cache_ttl": _setting("browser_cache_ttl", 3),
    "http3": _setting("http3", 4),
    "early_hints": _setting("early_hints", 4),
    "0rtt": _setting("0rtt", 4),
    "security_level": _setting("security_level", 5),
    "browser_check": _setting("browser_check", 5),
    "bot_management": Item("/bot_management", "PUT", 5, wrapped=False),
    "url_normalization": Item("/url_normalization", "PUT", 5, wrapped=False),
    "security_header": _setting("security_header", 6),
}
"""Every value with a name of its own in `edge.toml`. HSTS is last: it cannot be taken back."""

PHASE_STEPS: Mapping[Phase, int] = {
    "http_request_cache_settings": 3,
    "http_response_cache_settings": 3,
    "http_response_compression": 4,
    "http_config_settings": 4,
    "http_request_origin": 4,
    "http_request_transform": 4,
    "http_request_late_transform": 4,
    "http_response_headers_transform": 4,
    "http_request_dynamic_redirect": 4,
    "http_custom_errors": 4,
    "http_ratelimit": 6,
    "http_request_firewall_managed": 6,
    "http_request_firewall_custom": 6,
}
"""The step of each phase. Inside a step the order is as here: what blocks comes last."""


def item(name: str) -> Item:
    """The item `name`; one that has no name in `edge.toml` is a setting like the others."""
    return ITEMS.get(name) or _setting(name, 4)


def same(name: str, found: Any, wanted: Any) -> bool:
    """Whether `found` is what is `wanted`; of an object only the wanted keys are compared."""
    if name == "tls_1_3":  # turning 0-RTT on makes `on` read as `zrt`
        return bool(_tls_1_3(found) == _tls_1_3(wanted))
    return _covers(found, wanted)


def _covers(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(
            _covers(found.get(key), value) for key, value in wanted.items()
        )
    return bool(found == wanted)


def _tls_1_3(value: Any) -> Any:
    return "on" if value == "zrt" else value
