"""From what is on a zone to the text of an `edge.toml` that asks for exactly that."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from insight_cloud.edge.model import (
    CacheRule,
    CompressionRule,
    ConfigRule,
    FirewallRule,
    HeadersRule,
    OtherRule,
    RateRule,
    RedirectRule,
    RewriteRule,
    Rule,
)
from insight_cloud.edge.phases import ACTIONS, Phase
from insight_cloud.edge.planning import canonical
from insight_cloud.edge.state import State
from insight_cloud.edge.wanted import PREFIX, made

__all__ = ["toml"]

_TABLES: Mapping[Phase, tuple[str, type[Rule]]] = {
    "http_request_dynamic_redirect": ("redirects", RedirectRule),
    "http_request_transform": ("rewrites", RewriteRule),
    "http_config_settings": ("configs", ConfigRule),
    "http_request_firewall_custom": ("firewall", FirewallRule),
    "http_ratelimit": ("rate.rules", RateRule),
    "http_request_late_transform": ("request_headers", HeadersRule),
    "http_request_cache_settings": ("cache.rules", CacheRule),
    "http_response_headers_transform": ("response_headers", HeadersRule),
    "http_response_compression": ("performance.compression", CompressionRule),
}


def toml(state: State) -> str:
    """The text of a file whose plan for this very zone is empty.

    Rules keep the identity that they have. What the file cannot say is left out, with a comment
    that names it; it stays on the zone as somebody else's.
    """
    zone = state.zone
    parts = [
        f"# Read from the zone {zone.name}.\n",
        f"[zone]\nname = {_text(zone.name)}\nplan = {_text(zone.plan)}\n",
        *_values(state),
        *_rules(state),
    ]
    return "\n".join(parts)


# -- values --------------------------------------------------------------------------------

_SWITCHES = {
    "tls": {
        "tls_1_3": "tls_1_3",
        "always_https": "always_use_https",
        "https_rewrites": "automatic_https_rewrites",
    },
    "cache": {"tiered": "tiered_cache"},
    "performance": {"http3": "http3", "early_hints": "early_hints", "zero_rtt": "0rtt"},
    "security": {"browser_check": "browser_check"},
}
_PLAIN = {
    "tls": {"mode": "ssl", "minimum_version": "min_tls_version"},
    "cache": {"browser_seconds": "browser_cache_ttl"},
    "security": {"level": "security_level"},
}
_ENABLED = {"tls": {"universal": "universal_ssl", "origin_pulls": "origin_pulls"}}
_BOTS = {
    "bot_fight": "fight_mode",
    "javascript_detections": "enable_js",
    "ai_bots": "ai_bots_protection",
}


def _values(state: State) -> Iterator[str]:
    found = {name: item.value for name, item in state.items.items() if item.editable}
    for table in ("tls", "cache", "performance", "security"):
        values: dict[str, Any] = {}
        for key, name in _PLAIN.get(table, {}).items():
            values[key] = found.get(name)
        for key, name in _SWITCHES.get(table, {}).items():
            values[key] = None if found.get(name) is None else found[name] != "off"
        for key, name in _ENABLED.get(table, {}).items():
            values[key] = (found.get(name) or {}).get("enabled")
        if table == "security":
            values |= _security(found)
        yield _table(f"[{table}]", values)
        if table == "tls":
            yield from _hsts(found)


def _security(found: Mapping[str, Any]) -> dict[str, Any]:
    bots = found.get("bot_management") or {}
    values = {key: bots.get(name) for key, name in _BOTS.items()}
    normalization = found.get("url_normalization")
    if normalization:
        none = normalization.get("scope") == "none"
        values["url_normalization"] = "none" if none else normalization.get("type")
    return values


def _hsts(found: Mapping[str, Any]) -> Iterator[str]:
    value = (found.get("security_header") or {}).get("strict_transport_security") or {}
    if value.get("enabled"):
        age = int(value.get("max_age") or 0)
        values = {
            "max_age_seconds": age,
            "subdomains": bool(value.get("include_subdomains")),
            "preload": bool(value.get("preload")),
            "nosniff": bool(value.get("nosniff")),
            "ramp": False,
        }
        yield _table("[tls.hsts]", values)


# -- rules ---------------------------------------------------------------------------------


def _rules(state: State) -> Iterator[str]:
    others: list[str] = []
    for phase, ruleset in state.rulesets.items():
        names: set[str] = set()
        whole = True
        for rule in ruleset.rules:
            name = _name(rule, names)
            names.add(name)
            table, text = _one(phase, name, rule)
            if not text:
                label = rule.get("description") or rule.get("ref")
                yield f"# left out, since it cannot be said here: {phase}: {label}\n"
            elif table == "others":
                # Once a rule of a phase is there, all behind it follow: `others` come last.
                whole = False
                others.append(text)
            elif not whole:
                others.append(_other(phase, name, rule))
            else:
                yield text
    yield from others


def _one(phase: Phase, name: str, rule: Mapping[str, Any]) -> tuple[str, str]:
    """The table and the text of a rule; empty when no table can say it."""
    table, model = _TABLES.get(phase, ("others", OtherRule))
    readers = {
        RedirectRule: _redirect,
        RewriteRule: _rewrite,
        ConfigRule: _config,
        FirewallRule: _firewall,
        RateRule: _rate,
        HeadersRule: _headers,
        CacheRule: _cache,
        CompressionRule: _compression,
    }
    reader = readers.get(model)
    if reader is not None:
        try:
            values = _shared(name, rule) | reader(rule)
            found = model.model_validate({k: v for k, v in values.items() if v is not None})
        except (ValueError, KeyError, TypeError, AttributeError):
            found = None
        if found is not None and _says(found, rule):
            return table, _table(f"[[{table}]]", values)
    return "others", _other(phase, name, rule)


def _other(phase: Phase, name: str, rule: Mapping[str, Any]) -> str:
    values = _shared(name, rule) | {
        "phase": phase,
        "action": rule.get("action"),
        "parameters": _plain(rule.get("action_parameters")),
        "ratelimit": _plain(rule.get("ratelimit")),
        "logging": (rule.get("logging") or {}).get("enabled"),
    }
    if rule.get("action") not in ACTIONS[phase]:
        return ""
    try:
        found = OtherRule.model_validate({k: v for k, v in values.items() if v is not None})
    except ValueError:
        return ""
    return _table("[[others]]", values) if _says(found, rule) else ""


def _says(found: Rule, rule: Mapping[str, Any]) -> bool:
    wanted, live = canonical(made(found)), canonical(rule)
    if "logging" not in wanted:
        live.pop("logging", None)
    return wanted == live


def _shared(name: str, rule: Mapping[str, Any]) -> dict[str, Any]:
    ref = str(rule.get("ref") or rule.get("id"))
    return {
        "name": name,
        "ref": None if ref == f"{PREFIX}{name}" else ref,
        "description": rule.get("description") or "",
        "enabled": None if rule.get("enabled") is not False else False,
        "when": rule["expression"],
    }


def _redirect(rule: Mapping[str, Any]) -> dict[str, Any]:
    value = rule["action_parameters"]["from_value"]
    target = value["target_url"]
    return {
        "to": target.get("value"),
        "to_expression": target.get("expression"),
        "status": value.get("status_code"),
        "keep_query": value.get("preserve_query_string"),
    }


def _rewrite(rule: Mapping[str, Any]) -> dict[str, Any]:
    uri = rule["action_parameters"]["uri"]
    found: dict[str, Any] = {}
    for part in ("path", "query"):
        found[part] = (uri.get(part) or {}).get("value")
        found[f"{part}_expression"] = (uri.get(part) or {}).get("expression")
    return found


def _config(rule: Mapping[str, Any]) -> dict[str, Any]:
    return {"set": _plain(rule["action_parameters"])}


def _firewall(rule: Mapping[str, Any]) -> dict[str, Any]:
    parameters = rule.get("action_parameters") or {}
    response = parameters.get("response")
    found: dict[str, Any] = {"action": rule["action"]}
    if response:
        found["response"] = {
            "status": response["status_code"],
            "type": response["content_type"],
            "body": response["content"],
        }
    if rule["action"] == "skip":
        found["skip_rest"] = parameters.get("ruleset") == "current" or None
        found["skip_phases"] = parameters.get("phases")
        found["skip_products"] = parameters.get("products")
    return found


def _rate(rule: Mapping[str, Any]) -> dict[str, Any]:
    limit = rule["ratelimit"]
    return {
        "action": rule["action"],
        "requests": limit["requests_per_period"],
        "period_seconds": limit["period"],
        "timeout_seconds": limit.get("mitigation_timeout") or 0,
        "by": list(limit["characteristics"]),
        "counting": limit.get("counting_expression"),
        "to_origin": limit.get("requests_to_origin") or None,
    }


def _headers(rule: Mapping[str, Any]) -> dict[str, Any]:
    headers = rule["action_parameters"]["headers"]
    fixed = {n: c["value"] for n, c in headers.items() if "value" in c}
    dynamic = {n: c["expression"] for n, c in headers.items() if "expression" in c}
    removed = [n for n, c in headers.items() if c.get("operation") == "remove"]
    return {
        "set": fixed or None,
        "set_expression": dynamic or None,
        "remove": removed or None,
    }


def _cache(rule: Mapping[str, Any]) -> dict[str, Any]:
    parameters = rule["action_parameters"]
    armor = (parameters.get("cache_key") or {}).get("cache_deception_armor")
    return {
        "bypass": None if parameters["cache"] else True,
        "edge_seconds": (parameters.get("edge_ttl") or {}).get("default"),
        "browser_seconds": (parameters.get("browser_ttl") or {}).get("default"),
        "armor": armor or None,
    }


def _compression(rule: Mapping[str, Any]) -> dict[str, Any]:
    algorithms = rule["action_parameters"]["algorithms"]
    return {"algorithms": [algorithm["name"] for algorithm in algorithms]}


def _name(rule: Mapping[str, Any], taken: set[str]) -> str:
    ref = str(rule.get("ref") or "")
    label = ref.removeprefix(PREFIX) if ref.startswith(PREFIX) else rule.get("description") or ref
    base = re.sub(r"[^a-z0-9]+", "-", str(label).lower()).strip("-")[:50] or "rule"
    if ref.startswith(PREFIX) and re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,59}", str(label)):
        base = str(label)
    name, number = base, 1
    while name in taken:
        number += 1
        name = f"{base}-{number}"
    return name


# -- TOML ----------------------------------------------------------------------------------


def _plain(value: Any) -> Any:
    """Without nulls, which TOML does not have."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return value


def _table(head: str, values: Mapping[str, Any]) -> str:
    lines = [f"{_key(key)} = {_value(value)}" for key, value in values.items() if value is not None]
    return "\n".join([head, *lines, ""])


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, BaseModel):
        return _value(value.model_dump())
    if isinstance(value, Mapping):
        pairs = [f"{_key(key)} = {_value(inner)}" for key, inner in value.items()]
        return "{ " + ", ".join(pairs) + " }" if pairs else "{}"
    return "[" + ", ".join(map(_value, value)) + "]"


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)


def _text(value: str) -> str:
    """A literal string where one can hold it: expressions are full of quotes and backslashes."""
    printable = all(sign.isprintable() for sign in value)
    if printable and "'" not in value and ('"' in value or "\\" in value):
        return f"'{value}'"
    # JSON's escapes are TOML's too, but for DEL, which JSON leaves as it is.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
