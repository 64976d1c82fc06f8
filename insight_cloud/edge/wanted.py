"""From the model to what the API is told: values and rules as plain data. Pure.

Each rule carries a `ref` that begins with `ic:`. By it a rule is known again after it moved or
changed; rules without it belong to somebody else and stay where they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from insight_cloud.core.errors import SettingsError
from insight_cloud.edge import schema
from insight_cloud.edge.file import EdgeFile
from insight_cloud.edge.items import ITEMS
from insight_cloud.edge.language import ExpressionError, parse, parse_value
from insight_cloud.edge.language.hints import hints
from insight_cloud.edge.model import (
    CacheRule,
    CompressionRule,
    ConfigRule,
    Edge,
    FirewallRule,
    HeadersRule,
    Hsts,
    OtherRule,
    RateRule,
    RedirectRule,
    RewriteRule,
    Rule,
)
from insight_cloud.edge.phases import ACTIONS, EXECUTED, Phase, PlanName
from insight_cloud.edge.plans import excess, needs, value_expressions
from insight_cloud.edge.source import Path
from insight_cloud.edge.tiers import Tier, shields

__all__ = ["HSTS_FIRST_SECONDS", "PREFIX", "Wanted", "hsts_age", "made", "wanted"]

PREFIX = "ic:"
HSTS_FIRST_SECONDS = 300
_RAMP = ((1, HSTS_FIRST_SECONDS), (7, 86_400), (30, 604_800))


@dataclass(frozen=True)
class Wanted:
    """What the zone shall be; `notes` are what the operator should know about it."""

    zone: str
    plan: PlanName
    items: Mapping[str, Any]
    rulesets: Mapping[Phase, tuple[dict[str, Any], ...]]
    notes: tuple[str, ...] = ()
    places: Mapping[str, str] = field(default_factory=dict)
    """Where each value and rule stands in the file, by its target."""


def wanted(
    file: EdgeFile,
    *,
    today: date,
    tiers: Sequence[Tier] = (),
    plan: PlanName | None = None,
) -> Wanted:
    """What `file` asks for on the day `today`; `plan` is the zone's real one, when known.

    Raises:
        SettingsError: an expression is wrong, a name is used twice, or the plan forbids
            something; the message has a line for each, with its place in the file.
        Invalid: a tier that is named does not exist.
    """
    edge = file.edge
    allowed = plan or edge.zone.plan
    derived, notes = shields(edge.rate.tiers, tiers, allowed, own_rules=len(edge.rate.rules))
    rules = _Rules(file, allowed)
    for phase, path, rule in _rules(edge, derived):
        rules.add(phase, path, made(rule))
    rules.count()
    items = {name: value for name, value, _ in _items(edge, today)}
    places = {name: file.place(path) for name, _, path in _items(edge, today)}
    problems = [*rules.problems, *_item_problems(file, edge)]
    if problems:
        raise SettingsError("\n".join(problems))
    return Wanted(
        edge.zone.name,
        allowed,
        items,
        {phase: tuple(rules.found[phase]) for phase in EXECUTED if phase in rules.found},
        (*notes, *_hsts_notes(edge), *rules.notes),
        places | rules.places,
    )


class _Rules:
    """The rules of a file as they are collected, and what is wrong with them."""

    def __init__(self, file: EdgeFile, plan: PlanName) -> None:
        self._file = file
        self._plan = plan
        self.found: dict[Phase, list[dict[str, Any]]] = {}
        self.places: dict[str, str] = {}
        self.problems: list[str] = []
        self.notes: list[str] = []

    def add(self, phase: Phase, path: Path, rule: dict[str, Any]) -> None:
        target = f"{phase}/{rule['ref'].removeprefix(PREFIX)}"
        if target in self.places:
            place = self._file.place((*path, "name"))
            self.problems.append(f"{place}: a second rule {rule['ref'].removeprefix(PREFIX)!r}")
        self.places[target] = self._file.place(path)
        found = list(_problems(self._file, path, phase, rule, self._plan))
        self.problems += found
        self.found.setdefault(phase, []).append(rule)
        if not found:
            place = self._file.place((*path, "when"))
            self.notes += [f"{place}: {said}" for said in hints(parse(rule["expression"]))]

    def count(self) -> None:
        """Notice the phases that hold more rules than the plan allows."""
        for phase, rules in self.found.items():
            if said := excess(rules, phase, self._plan):
                last = f"{phase}/{rules[-1]['ref'].removeprefix(PREFIX)}"
                self.problems.append(f"{self.places[last]}: {said}")


def hsts_age(hsts: Hsts, today: date) -> int:
    """The max-age on `today`, in seconds, on the way up to the full one."""
    if not hsts.ramp:
        return hsts.max_age_seconds
    if hsts.since is None:
        return min(HSTS_FIRST_SECONDS, hsts.max_age_seconds)
    days = (today - hsts.since).days
    step = next((age for until, age in _RAMP if days < until), hsts.max_age_seconds)
    return min(step, hsts.max_age_seconds)


def _hsts_notes(edge: Edge) -> Iterator[str]:
    hsts = edge.tls.hsts
    if hsts is not None and hsts.enabled and hsts.ramp and hsts.since is None:
        yield (
            "HSTS stays at 5 minutes until `tls.hsts.since` names the day on which the ramp began"
        )


# -- values --------------------------------------------------------------------------------


def _items(edge: Edge, today: date) -> Iterator[tuple[str, Any, Path]]:
    tls, cache, fast, safe = edge.tls, edge.cache, edge.performance, edge.security
    given: tuple[tuple[str, Any, Path], ...] = (
        ("ssl", tls.mode, ("tls", "mode")),
        ("min_tls_version", tls.minimum_version, ("tls", "minimum_version")),
        ("tls_1_3", _switch(tls.tls_1_3), ("tls", "tls_1_3")),
        ("always_use_https", _switch(tls.always_https), ("tls", "always_https")),
        ("automatic_https_rewrites", _switch(tls.https_rewrites), ("tls", "https_rewrites")),
        ("universal_ssl", _enabled(tls.universal), ("tls", "universal")),
        ("origin_pulls", _enabled(tls.origin_pulls), ("tls", "origin_pulls")),
        ("tiered_cache", _switch(cache.tiered), ("cache", "tiered")),
        ("browser_cache_ttl", cache.browser_seconds, ("cache", "browser_seconds")),
        ("http3", _switch(fast.http3), ("performance", "http3")),
        ("early_hints", _switch(fast.early_hints), ("performance", "early_hints")),
        ("0rtt", _switch(fast.zero_rtt), ("performance", "zero_rtt")),
        ("security_level", safe.level, ("security", "level")),
        ("browser_check", _switch(safe.browser_check), ("security", "browser_check")),
        ("bot_management", _bots(edge), ("security",)),
        ("url_normalization", _normalization(edge), ("security", "url_normalization")),
        ("security_header", _hsts(tls.hsts, today), ("tls", "hsts")),
    )
    yield from (entry for entry in given if entry[1] is not None)
    for name, value in edge.settings.items():
        yield name, value, ("settings", name)


def _switch(value: bool | None) -> str | None:  # noqa: FBT001 - a value, not an option
    return None if value is None else ("on" if value else "off")


def _enabled(value: bool | None) -> dict[str, bool] | None:  # noqa: FBT001 - see above
    return None if value is None else {"enabled": value}


def _bots(edge: Edge) -> dict[str, Any] | None:
    names = {
        "fight_mode": edge.security.bot_fight,
        "enable_js": edge.security.javascript_detections,
        "ai_bots_protection": edge.security.ai_bots,
    }
    return {name: value for name, value in names.items() if value is not None} or None


def _normalization(edge: Edge) -> dict[str, str] | None:
    kind = edge.security.url_normalization
    if kind is None:
        return None
    if kind == "none":
        return {"scope": "none", "type": "cloudflare"}
    return {"scope": "incoming", "type": kind}


def _hsts(hsts: Hsts | None, today: date) -> dict[str, Any] | None:
    if hsts is None:
        return None
    age = hsts_age(hsts, today)
    value = {
        "enabled": hsts.enabled,
        "max_age": age if hsts.enabled else 0,
        "include_subdomains": hsts.subdomains,
        "preload": hsts.preload and age == hsts.max_age_seconds >= 31_536_000,
        "nosniff": hsts.nosniff,
    }
    return {"strict_transport_security": value}


def _item_problems(file: EdgeFile, edge: Edge) -> Iterator[str]:
    for name, value in edge.settings.items():
        place = file.place(("settings", name))
        if name in ITEMS:
            yield f"{place}: {name} has a key of its own in another table"
            continue
        if said := schema.setting_problem(name, value):
            yield f"{place}: settings.{name}: {said}"
    if edge.tls.always_https and edge.tls.mode == "flexible":
        yield (
            f"{file.place(('tls', 'mode'))}: flexible speaks http to the origin; an origin that "
            "redirects to https then redirects for ever. Use full or strict"
        )
    hsts = edge.tls.hsts
    if hsts is not None and hsts.enabled and not edge.tls.always_https:
        yield f"{file.place(('tls', 'always_https'))}: HSTS needs tls.always_https = true first"
    if hsts is not None and hsts.enabled and edge.tls.mode in {"off", "flexible"}:
        yield f"{file.place(('tls', 'mode'))}: HSTS needs full or strict, not {edge.tls.mode}"


# -- rules ---------------------------------------------------------------------------------


def _rules(edge: Edge, derived: Sequence[RateRule]) -> Iterator[tuple[Phase, Path, Rule]]:
    tables: tuple[tuple[Phase, Path, Sequence[Rule]], ...] = (
        ("http_request_dynamic_redirect", ("redirects",), edge.redirects),
        ("http_request_transform", ("rewrites",), edge.rewrites),
        ("http_config_settings", ("configs",), edge.configs),
        ("http_request_firewall_custom", ("firewall",), edge.firewall),
        ("http_ratelimit", ("rate", "tiers"), derived),
        ("http_ratelimit", ("rate", "rules"), edge.rate.rules),
        ("http_request_late_transform", ("request_headers",), edge.request_headers),
        ("http_request_cache_settings", ("cache", "rules"), edge.cache.rules),
        ("http_response_headers_transform", ("response_headers",), edge.response_headers),
        ("http_response_compression", ("performance", "compression"), edge.performance.compression),
    )
    for phase, path, rules in tables:
        for number, rule in enumerate(rules):
            yield phase, (*path, number), rule
    for number, other in enumerate(edge.others):
        yield other.phase, ("others", number), other


def made(rule: Rule) -> dict[str, Any]:
    """`rule` as the API has it."""
    shared = {
        "ref": rule.ref or f"{PREFIX}{rule.name}",
        "description": rule.name if rule.description is None else rule.description,
        "enabled": rule.enabled,
        "expression": rule.when,
    }
    return shared | _MAKERS[type(rule)](rule)


def _redirect(rule: RedirectRule) -> dict[str, Any]:
    target = {"value": rule.to} if rule.to is not None else {"expression": rule.to_expression}
    value = {
        "target_url": target,
        "status_code": rule.status,
        "preserve_query_string": rule.keep_query,
    }
    return {"action": "redirect", "action_parameters": {"from_value": value}}


def _rewrite(rule: RewriteRule) -> dict[str, Any]:
    uri: dict[str, Any] = {}
    for name in ("path", "query"):
        fixed, dynamic = getattr(rule, name), getattr(rule, f"{name}_expression")
        if fixed is not None:
            uri[name] = {"value": fixed}
        if dynamic is not None:
            uri[name] = {"expression": dynamic}
    return {"action": "rewrite", "action_parameters": {"uri": uri}}


def _config(rule: ConfigRule) -> dict[str, Any]:
    return {"action": "set_config", "action_parameters": dict(rule.set)}


def _headers(rule: HeadersRule) -> dict[str, Any]:
    headers: dict[str, Any] = {}
    headers |= {name: {"operation": "set", "value": value} for name, value in rule.set.items()}
    headers |= {
        name: {"operation": "set", "expression": value}
        for name, value in rule.set_expression.items()
    }
    headers |= {name: {"operation": "remove"} for name in rule.remove}
    return {"action": "rewrite", "action_parameters": {"headers": headers}}


def _cache(rule: CacheRule) -> dict[str, Any]:
    parameters: dict[str, Any] = {"cache": not rule.bypass}
    for name, seconds in (("edge_ttl", rule.edge_seconds), ("browser_ttl", rule.browser_seconds)):
        if seconds is not None:
            parameters[name] = {"mode": "override_origin", "default": seconds}
    if rule.armor:
        parameters["cache_key"] = {"cache_deception_armor": True}
    return {"action": "set_cache_settings", "action_parameters": parameters}


def _compression(rule: CompressionRule) -> dict[str, Any]:
    algorithms = [{"name": name} for name in rule.algorithms]
    return {"action": "compress_response", "action_parameters": {"algorithms": algorithms}}


def _firewall(rule: FirewallRule) -> dict[str, Any]:
    made: dict[str, Any] = {"action": rule.action}
    if rule.response is not None:
        made["action_parameters"] = {
            "response": {
                "status_code": rule.response.status,
                "content_type": rule.response.type,
                "content": rule.response.body,
            }
        }
    if rule.action == "skip":
        parameters = {
            "ruleset": "current" if rule.skip_rest else None,
            "phases": list(rule.skip_phases) or None,
            "products": list(rule.skip_products) or None,
        }
        made["action_parameters"] = {key: value for key, value in parameters.items() if value}
    return made


def _rate(rule: RateRule) -> dict[str, Any]:
    limit: dict[str, Any] = {
        "characteristics": list(rule.by),
        "period": rule.period_seconds,
        "requests_per_period": rule.requests,
        "mitigation_timeout": rule.timeout_seconds,
        "requests_to_origin": rule.to_origin,
    }
    if rule.counting is not None:
        limit["counting_expression"] = rule.counting
    return {"action": rule.action, "ratelimit": limit}


def _other(rule: OtherRule) -> dict[str, Any]:
    made: dict[str, Any] = {"action": rule.action}
    if rule.parameters is not None:
        made["action_parameters"] = rule.parameters
    if rule.ratelimit is not None:
        made["ratelimit"] = rule.ratelimit
    if rule.logging is not None:
        made["logging"] = {"enabled": rule.logging}
    return made


_MAKERS: Mapping[type[Rule], Callable[[Any], dict[str, Any]]] = {
    RedirectRule: _redirect,
    RewriteRule: _rewrite,
    ConfigRule: _config,
    HeadersRule: _headers,
    CacheRule: _cache,
    CompressionRule: _compression,
    FirewallRule: _firewall,
    RateRule: _rate,
    OtherRule: _other,
}


# -- what is wrong with a rule -------------------------------------------------------------


def _problems(
    file: EdgeFile, path: Path, phase: Phase, rule: Mapping[str, Any], plan: PlanName
) -> Iterator[str]:
    wrong = list(_expression_problems(file, path, phase, rule))
    yield from wrong
    if rule["action"] not in ACTIONS[phase]:
        yield f"{file.place(path)}: a rule of {phase} cannot {rule['action']}"
    if said := schema.rule_problem(rule):
        yield f"{file.place(path)}: {said}"
    elif not wrong:
        yield from (f"{file.place((*path, 'when'))}: {said}" for said in needs(rule, phase, plan))


def _expression_problems(
    file: EdgeFile, path: Path, phase: Phase, rule: Mapping[str, Any]
) -> Iterator[str]:
    try:
        parse(rule["expression"], phase=phase)
    except ExpressionError as error:
        yield _at(file, (*path, "when"), error)
    counting = (rule.get("ratelimit") or {}).get("counting_expression")
    if counting:
        try:
            parse(counting)
        except ExpressionError as error:
            yield _at(file, (*path, "counting"), error)
    for text in value_expressions(rule.get("action_parameters")):
        try:
            parse_value(text, phase=phase)
        except ExpressionError as error:
            yield _at(file, path, error)


def _at(file: EdgeFile, path: Path, error: ExpressionError) -> str:
    further = error.line - 1
    if file.lines and _opens_line(file, path):
        further += 1
    mark = "\n".join(f"    {line}" for line in error.pointer().splitlines())
    return f"{file.place(path, further=further)}: {error.reason}\n{mark}"


def _opens_line(file: EdgeFile, path: Path) -> bool:
    """Whether the string at `path` begins on the line after its opening quotes, as in TOML."""
    number = file.lines.get(path)
    return number is not None and file.text.splitlines()[number - 1].rstrip().endswith(
        ("'''", '"""')
    )
