"""One request through the phases of the edge, in their order: what would become of it?

The order and what ends a request are Cloudflare's documented ones. Counting (rate limits), managed
rulesets and bot scores are the edge's own: a rate rule that matches is told as counting.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from urllib.parse import urlsplit

from insight_cloud.edge.language import Request, compiled, compiled_value, fields_of, parse
from insight_cloud.edge.language.evaluate import Filter
from insight_cloud.edge.language.functions import MISSING
from insight_cloud.edge.language.syntax import Field, walk
from insight_cloud.edge.phases import ENDING, EXECUTED, RESPONSE, Phase

__all__ = ["Compiled", "Doubt", "Response", "Simulator", "Verdict", "normalized", "of_items"]

_EXTENSIONS = frozenset(
    """
    7z apk avi avif bin bmp bz2 class css csv dmg doc docx ejs eot eps exe flac gif gz ico iso jar
    jpeg jpg js mid midi mkv mp3 mp4 ogg otf pdf pict pls png ppt pptx ps rar svg svgz swf tar tif
    tiff ttf webm webp woff woff2 xls xlsx zip zst
    """.split()  # noqa: SIM905 - sixty words read best as text
)
"""What the edge caches when no rule says anything, by the path's extension."""
_PRODUCTS: Mapping[str, Phase] = {
    "rateLimit": "http_ratelimit",
    "waf": "http_request_firewall_managed",
}
_UNRESERVED = re.compile(r"%([0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True)
class Response:
    """What the origin would answer, for the phases that see it."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Compiled:
    """A rule and its filter as a function."""

    phase: Phase
    name: str
    rule: Mapping[str, Any]
    matches: Filter
    fields: frozenset[str] = frozenset()

    @classmethod
    def of(cls, phase: Phase, rule: Mapping[str, Any]) -> Compiled:
        """Compile `rule`.

        Raises:
            ExpressionError: its expression is wrong.
        """
        text = str(rule["expression"])
        names = frozenset(part.name for part in walk(parse(text)) if isinstance(part, Field))
        name = str(rule.get("ref") or rule.get("id") or "").removeprefix("ic:")
        return cls(phase, name, rule, compiled(text), names)


@dataclass(frozen=True, slots=True)
class Doubt:
    """A rule of which nobody here can say whether it matches, and the fields that would tell."""

    phase: Phase
    rule: str
    action: str
    fields: tuple[str, ...]


@dataclass
class Verdict:
    """What became of a request."""

    action: str = "pass"
    """`pass`, or the action of the rule that ended it."""
    rule: str = ""
    phase: Phase | Literal["always_use_https", ""] = ""
    location: str = ""
    status: int = 0
    cache: Literal["default", "by extension", "bypass", "cache", "not cacheable"] = "default"
    cache_rule: str = ""
    edge_seconds: int | None = None
    browser_seconds: int | None = None
    target: str = ""
    """Path and query as the origin sees them."""
    counted: list[str] = field(default_factory=list)
    """The rate rules that count this request."""
    config: dict[str, Any] = field(default_factory=dict)
    request_headers: dict[str, str | None] = field(default_factory=dict)
    response_headers: dict[str, str | None] = field(default_factory=dict)
    compression: list[str] = field(default_factory=list)
    custom_error: str = ""
    armored: bool = False
    """Whether the edge caches it only when its type fits its extension."""
    matched: list[tuple[Phase, str]] = field(default_factory=list)
    doubts: list[Doubt] = field(default_factory=list)
    skipped: set[str] = field(default_factory=set)

    @property
    def ended(self) -> bool:
        """Whether the request never reached the origin."""
        return self.action != "pass"

    @property
    def certain(self) -> bool:
        """Whether no unknown field could change how the request ends."""
        return not any(doubt.action in ENDING for doubt in self.doubts)


class Simulator:
    """The rules of a zone, ready to judge requests."""

    def __init__(
        self,
        rulesets: Mapping[Phase, Sequence[Mapping[str, Any]]],
        *,
        always_https: bool = False,
        normalization: str = "cloudflare",
    ) -> None:
        self.rules: tuple[Compiled, ...] = tuple(
            Compiled.of(phase, rule)
            for phase in EXECUTED
            for rule in rulesets.get(phase, ())
            if rule.get("enabled") is not False and rule.get("action") != "execute"
        )
        self.always_https = always_https
        self.normalization = normalization
        self._arrange()

    def _arrange(self) -> None:
        self._phases: dict[Phase, list[Compiled]] = {}
        for rule in self.rules:
            self._phases.setdefault(rule.phase, []).append(rule)

    def with_rules(self, rules: Iterable[Compiled]) -> Simulator:
        """The same zone with other rules."""
        other = Simulator({}, always_https=self.always_https, normalization=self.normalization)
        other.rules = tuple(rules)
        other._arrange()
        return other

    def judge(self, request: Request, response: Response | None = None) -> Verdict:
        """Let `request` pass through every phase."""
        verdict = Verdict()
        raw = _target(request.url)
        if self.normalization != "none":
            target = normalized(raw, merge=self.normalization == "cloudflare")
            request = request.with_target(target)
        verdict.target = _target(request.url)
        if self.always_https and request.url.startswith("http://"):
            verdict.action, verdict.phase, verdict.status = "redirect", "always_use_https", 301
            verdict.rule = "always_use_https"
            verdict.location = "https://" + request.url.removeprefix("http://")
            return verdict
        run = _Run(request, verdict, response)
        for phase in EXECUTED:
            rules = self._phases.get(phase)
            if rules and phase not in verdict.skipped:
                run.phase(phase, rules)
            if verdict.ended:
                return verdict
        _finish_cache(verdict, run.fields)
        return verdict


class _Run:
    """One request on its way; the fields change when a rule rewrites it."""

    def __init__(self, request: Request, verdict: Verdict, response: Response | None) -> None:
        self.request = request
        self.verdict = verdict
        self.response = response
        self.fields = fields_of(request)

    def phase(self, phase: Phase, rules: Sequence[Compiled]) -> None:
        verdict = self.verdict
        if phase in RESPONSE and self.response is not None:
            self.fields.update(_response_fields(self.response))
        for rule in rules:
            found = rule.matches(self.fields)
            if found is None:
                unknown = tuple(sorted(n for n in rule.fields if self.fields[n] is None))
                action = str(rule.rule["action"])
                counts = phase == "http_ratelimit"
                verdict.doubts.append(
                    Doubt(phase, rule.name, "count" if counts else action, unknown)
                )
            elif found:
                verdict.matched.append((phase, rule.name))
                if _EFFECTS[phase](self, rule):
                    return

    def refresh(self, request: Request) -> None:
        self.request = request
        self.fields = fields_of(request)


def _firewall(run: _Run, rule: Compiled) -> bool:
    action = str(rule.rule["action"])
    parameters = rule.rule.get("action_parameters") or {}
    if action == "skip":
        run.verdict.skipped |= set(parameters.get("phases") or ())
        products = parameters.get("products") or ()
        run.verdict.skipped |= {_PRODUCTS[name] for name in products if name in _PRODUCTS}
        return parameters.get("ruleset") == "current" or parameters.get("phase") == "current"
    if action in ENDING:
        _end(run.verdict, rule)
        run.verdict.status = (parameters.get("response") or {}).get("status_code", 403)
        return True
    return False


def _rate(run: _Run, rule: Compiled) -> bool:
    run.verdict.counted.append(rule.name)
    return False


def _redirect(run: _Run, rule: Compiled) -> bool:
    value = (rule.rule.get("action_parameters") or {}).get("from_value")
    if value is None:  # a list of redirects, which only the account has
        return False
    _end(run.verdict, rule)
    run.verdict.status = value.get("status_code", 301)
    location = _value(value["target_url"], run.fields)
    query = run.fields["http.request.uri.query"].decode()
    if value.get("preserve_query_string") and query and "?" not in location:
        location += f"?{query}"
    run.verdict.location = location
    return True


def _rewrite(run: _Run, rule: Compiled) -> bool:
    uri = (rule.rule.get("action_parameters") or {}).get("uri") or {}
    path, _, query = _target(run.request.url).partition("?")
    if "path" in uri:
        path = _value(uri["path"], run.fields)
    if "query" in uri:
        query = _value(uri["query"], run.fields)
    path = path if path.startswith("/") else f"/{path}"
    run.verdict.target = f"{path}?{query}" if query else path
    run.refresh(run.request.with_target(run.verdict.target))
    return False


def _request_headers(run: _Run, rule: Compiled) -> bool:
    changed = _headers(rule, run.fields)
    run.verdict.request_headers |= changed
    kept = [pair for pair in run.request.headers if pair[0].lower() not in changed]
    added = [(name, value) for name, value in changed.items() if value is not None]
    run.refresh(replace(run.request, headers=(*kept, *added)))
    return False


def _response_headers(run: _Run, rule: Compiled) -> bool:
    run.verdict.response_headers |= _headers(rule, run.fields)
    return False


def _config(run: _Run, rule: Compiled) -> bool:
    run.verdict.config |= rule.rule.get("action_parameters") or {}
    return False


def _cache(run: _Run, rule: Compiled) -> bool:
    """Later rules overwrite earlier ones, setting by setting."""
    verdict, parameters = run.verdict, rule.rule.get("action_parameters") or {}
    if "cache" in parameters:
        verdict.cache = "cache" if parameters["cache"] else "bypass"
        verdict.cache_rule = rule.name
    if "cache_key" in parameters:
        verdict.armored = bool(parameters["cache_key"].get("cache_deception_armor"))
    for key, name in (("edge_ttl", "edge_seconds"), ("browser_ttl", "browser_seconds")):
        if key in parameters:
            setattr(verdict, name, parameters[key].get("default"))
            verdict.cache_rule = rule.name
    return False


def _compression(run: _Run, rule: Compiled) -> bool:
    algorithms = (rule.rule.get("action_parameters") or {}).get("algorithms") or ()
    run.verdict.compression = [str(algorithm.get("name")) for algorithm in algorithms]
    return False


def _error(run: _Run, rule: Compiled) -> bool:
    if run.response is not None and run.response.status >= 400:
        run.verdict.custom_error = rule.name
    return True


def _nothing(run: _Run, rule: Compiled) -> bool:  # noqa: ARG001 - an effect among others
    return False


_EFFECTS: Mapping[Phase, Callable[[_Run, Compiled], bool]] = {
    "http_request_dynamic_redirect": _redirect,
    "http_request_transform": _rewrite,
    "http_config_settings": _config,
    "http_request_origin": _nothing,
    "http_request_firewall_custom": _firewall,
    "http_ratelimit": _rate,
    "http_request_firewall_managed": _firewall,
    "http_request_late_transform": _request_headers,
    "http_request_cache_settings": _cache,
    "http_custom_errors": _error,
    "http_response_headers_transform": _response_headers,
    "http_response_cache_settings": _nothing,
    "http_response_compression": _compression,
}


def _end(verdict: Verdict, rule: Compiled) -> None:
    verdict.action = str(rule.rule["action"])
    verdict.rule, verdict.phase = rule.name, rule.phase


def _value(described: Mapping[str, Any], fields: Mapping[str, Any]) -> str:
    if "value" in described:
        return str(described["value"])
    found = compiled_value(str(described["expression"]))(fields)
    if found is None or found is MISSING:
        return ""
    return bytes(found).decode(errors="replace")


def _headers(rule: Compiled, fields: Mapping[str, Any]) -> dict[str, str | None]:
    headers = (rule.rule.get("action_parameters") or {}).get("headers") or {}
    return {
        name.lower(): None if change.get("operation") == "remove" else _value(change, fields)
        for name, change in headers.items()
    }


def _finish_cache(verdict: Verdict, fields: Mapping[str, Any]) -> None:
    if fields["http.request.method"] not in {b"GET", b"HEAD"}:
        verdict.cache = "not cacheable"
    elif (
        verdict.cache == "default"
        and fields["http.request.uri.path.extension"].decode(errors="replace") in _EXTENSIONS
    ):
        verdict.cache = "by extension"
    if verdict.cache in {"bypass", "not cacheable"}:
        verdict.edge_seconds = None


def _response_fields(response: Response) -> dict[str, Any]:
    headers: dict[bytes, list[bytes]] = {}
    for name, value in response.headers:
        headers.setdefault(name.lower().encode(), []).append(value.encode())
    kind = headers.get(b"content-type", [b""])[0].split(b";")[0].strip().lower()
    shared: dict[str, Any] = {
        "headers": headers,
        "headers.names": [name.encode() for name, _ in response.headers],
        "headers.values": [value.encode() for _, value in response.headers],
    }
    found: dict[str, Any] = {
        "http.response.code": response.status,
        "http.response.content_type.media_type": kind,
        "cf.response.1xxx_code": 0,
        "cf.response.error_type": b"",
    }
    for name, value in shared.items():
        found[f"http.response.{name}"] = value
        found[f"raw.http.response.{name}"] = value
    return found


def _target(url: str) -> str:
    parts = urlsplit(url)
    path = parts.path or "/"
    return f"{path}?{parts.query}" if parts.query else path


def normalized(target: str, *, merge: bool) -> str:
    """`target` as every rule sees it: dot segments resolved, needless escapes decoded.

    With `merge` also backslashes as slashes, and several slashes as one.
    """
    path, mark, query = target.partition("?")
    path = _UNRESERVED.sub(_unescaped, path)
    if merge:
        path = re.sub(r"/{2,}", "/", path.replace("\\", "/"))
    return _without_dots(path) + mark + query


def _unescaped(found: re.Match[str]) -> str:
    sign = chr(int(found[1], 16))
    if sign.isascii() and (sign.isalnum() or sign in "-._~"):
        return sign
    return found[0].upper()


def _without_dots(path: str) -> str:
    kept: list[str] = []
    parts = path.split("/")
    for part in parts:
        if part == "..":
            if len(kept) > 1:
                kept.pop()
        elif part != ".":
            kept.append(part)
    if parts[-1] in {".", ".."}:
        kept.append("")
    return "/".join(kept) or "/"


def of_items(items: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `Simulator` that a zone's values decide."""
    normalization = items.get("url_normalization") or {}
    scope = normalization.get("scope", "incoming")
    return {
        "always_https": items.get("always_use_https") == "on",
        "normalization": "none" if scope == "none" else normalization.get("type", "cloudflare"),
    }
