"""The phases of the ruleset engine: their order, what rules in them may do, how many a plan has.

The order is that of the phases list in Cloudflare's documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

__all__ = ["ACTIONS", "ENDING", "EXECUTED", "MANAGED", "RESPONSE", "Phase", "PlanName"]

Phase: TypeAlias = Literal[
    "http_request_dynamic_redirect",
    "http_request_transform",
    "http_config_settings",
    "http_request_origin",
    "http_request_firewall_custom",
    "http_ratelimit",
    "http_request_firewall_managed",
    "http_request_late_transform",
    "http_request_cache_settings",
    "http_custom_errors",
    "http_response_headers_transform",
    "http_response_cache_settings",
    "http_response_compression",
]
PlanName: TypeAlias = Literal["free", "pro", "business", "enterprise"]

_STOP = ("block", "challenge", "js_challenge", "managed_challenge")

ACTIONS: Mapping[Phase, tuple[str, ...]] = {
    "http_request_dynamic_redirect": ("redirect",),
    "http_request_transform": ("rewrite",),
    "http_config_settings": ("set_config",),
    "http_request_origin": ("route",),
    "http_request_firewall_custom": (*_STOP, "skip", "log"),
    "http_ratelimit": (*_STOP, "log"),
    "http_request_firewall_managed": ("execute", "skip"),
    "http_request_late_transform": ("rewrite",),
    "http_request_cache_settings": ("set_cache_settings",),
    "http_custom_errors": ("serve_error",),
    "http_response_headers_transform": ("rewrite",),
    "http_response_cache_settings": ("set_cache_control", "set_cache_tags"),
    "http_response_compression": ("compress_response",),
}
"""What rules of each phase may do; the phases stand in the order in which they are executed."""

EXECUTED: tuple[Phase, ...] = tuple(ACTIONS)
MANAGED: tuple[Phase, ...] = EXECUTED
"""The phases that are read and may be written: every one that a zone configures by rules."""

RESPONSE: frozenset[Phase] = frozenset(EXECUTED[EXECUTED.index("http_custom_errors") :])
"""The phases that see the answer of the origin."""

ENDING = frozenset({*_STOP, "redirect", "serve_error"})
"""Actions after which no further rule is evaluated."""
