"""`edge.toml` as a typed model. A key that is not given is left as it is on the zone."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from insight_cloud.edge.phases import ACTIONS, Phase, PlanName

__all__ = [
    "CacheRule",
    "CompressionRule",
    "ConfigRule",
    "Edge",
    "FirewallRule",
    "HeadersRule",
    "Hsts",
    "OtherRule",
    "RateRule",
    "RedirectRule",
    "RewriteRule",
    "Rule",
    "TierShield",
]

_MOST_RULES = 1000


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("not an http or https URL")
    return text


Url = Annotated[str, Field(max_length=2048), AfterValidator(_url)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Rule(_Table):
    """What every rule has."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,59}$")
    """Its name, unique in its phase; by it the rule is known again, wherever it moves."""
    when: str = Field(min_length=1, max_length=4096)
    """The filter, in Cloudflare's rules language."""
    description: str | None = Field(default=None, max_length=500)
    """What the dashboard shows; the name without it."""
    ref: str | None = Field(default=None, min_length=1, max_length=100)
    """The identity that the rule has on the zone already, when it was made elsewhere (`insight
    edge import` writes it). Without it, `ic:` and the name."""
    enabled: bool = True
    """Whether the rule is in force."""


class RedirectRule(Rule):
    """Send the client elsewhere."""

    to: str | None = None
    """The new URL."""
    to_expression: str | None = None
    """Or an expression that makes it: `concat("https://example.org", http.request.uri.path)`."""
    status: Literal[301, 302, 303, 307, 308] = 301
    """HTTP status."""
    keep_query: bool = False
    """Whether the query string goes along."""

    @model_validator(mode="after")
    def _one_target(self) -> RedirectRule:
        if (self.to is None) == (self.to_expression is None):
            raise ValueError("give either `to` or `to_expression`")
        return self


class RewriteRule(Rule):
    """Ask the origin for another path or query than the client did."""

    path: str | None = None
    """The new path."""
    path_expression: str | None = None
    """Or an expression that makes it."""
    query: str | None = None
    """The new query string."""
    query_expression: str | None = None
    """Or an expression that makes it."""

    @model_validator(mode="after")
    def _something(self) -> RewriteRule:
        if self.path is not None and self.path_expression is not None:
            raise ValueError("give either `path` or `path_expression`")
        if self.query is not None and self.query_expression is not None:
            raise ValueError("give either `query` or `query_expression`")
        if all(
            part is None
            for part in (self.path, self.path_expression, self.query, self.query_expression)
        ):
            raise ValueError("a rewrite needs a path or a query")
        return self


class ConfigRule(Rule):
    """Other settings for some requests."""

    set: dict[str, Any] = Field(min_length=1)
    """The settings by Cloudflare's names, such as `security_level = "high"`."""


class HeadersRule(Rule):
    """Change headers."""

    set: dict[str, str] = Field(default_factory=dict)
    """Headers with fixed values."""
    set_expression: dict[str, str] = Field(default_factory=dict)
    """Headers whose values an expression makes."""
    remove: tuple[str, ...] = ()
    """Headers to take away."""

    @model_validator(mode="after")
    def _something(self) -> HeadersRule:
        if not (self.set or self.set_expression or self.remove):
            raise ValueError("a headers rule needs `set`, `set_expression` or `remove`")
        return self


class CacheRule(Rule):
    """What is kept at the edge; of several rules that match, the last has the say."""

    bypass: bool = False
    """Never cache."""
    edge_seconds: int | None = Field(default=None, ge=0, le=31_536_000)
    """How long the edge keeps a copy; without it, as the origin says."""
    browser_seconds: int | None = Field(default=None, ge=0, le=31_536_000)
    """How long browsers keep a copy; without it, as the origin says."""
    armor: bool = False
    """Cache only what has the content type of its extension (Cache Deception Armor)."""

    @model_validator(mode="after")
    def _bypass_has_no_time(self) -> CacheRule:
        if self.bypass and self.edge_seconds is not None:
            raise ValueError("a rule that bypasses the cache keeps nothing for any time")
        return self


class CompressionRule(Rule):
    """How answers are compressed; of several rules that match, the last has the say."""

    algorithms: tuple[Literal["none", "auto", "default", "gzip", "brotli", "zstd"], ...] = Field(
        min_length=1
    )
    """In the order of preference."""


class BlockResponse(_Table):
    """What a blocked client is told (Pro and above)."""

    status: int = Field(default=403, ge=400, le=499)
    """HTTP status."""
    type: Literal["text/html", "text/plain", "text/xml", "application/json"] = "text/plain"
    """Content type."""
    body: str = Field(max_length=2048)
    """The body."""


class FirewallRule(Rule):
    """Block, challenge or let pass; the first rule that ends a request decides."""

    action: Literal["block", "managed_challenge", "js_challenge", "challenge", "skip", "log"]
    """What happens to a request that matches."""
    response: BlockResponse | None = None
    """What a blocked client is told."""
    skip_rest: bool = False
    """With `skip`: the remaining firewall rules."""
    skip_phases: tuple[Phase, ...] = ()
    """With `skip`: whole phases."""
    skip_products: tuple[
        Literal["bic", "hot", "rateLimit", "securityLevel", "uaBlock", "waf", "zoneLockdown"], ...
    ] = ()
    """With `skip`: products that are not made of rules."""

    @model_validator(mode="after")
    def _fits_its_action(self) -> FirewallRule:
        skips = self.skip_rest or self.skip_phases or self.skip_products
        if (self.action == "skip") != bool(skips):
            raise ValueError("`skip` needs skip_rest, skip_phases or skip_products, and only it")
        if self.response is not None and self.action != "block":
            raise ValueError("only a block has a response of its own")
        return self


class RateRule(Rule):
    """Stop a client that asks too often; counted in each data centre by itself."""

    requests: int = Field(ge=1, le=1_000_000)
    """How many requests are admitted in one period."""
    period_seconds: int = Field(ge=10, le=65535)
    """The period."""
    timeout_seconds: int = Field(ge=0, le=86400)
    """How long a client that exceeds it is stopped."""
    action: Literal["block", "managed_challenge", "js_challenge", "challenge", "log"] = "block"
    """What happens to it."""
    by: tuple[str, ...] = ("cf.colo.id", "ip.src")
    """What is counted together. Cloudflare demands `cf.colo.id`."""
    counting: str | None = Field(default=None, max_length=4096)
    """Which requests count, when these are others than those that are stopped."""
    to_origin: bool = False
    """Whether only requests that reach the origin count."""

    @model_validator(mode="after")
    def _has_its_data_centre(self) -> RateRule:
        if "cf.colo.id" not in self.by:
            raise ValueError("`by` must hold cf.colo.id: Cloudflare counts in each data centre")
        return self


class OtherRule(Rule):
    """Any other rule, by the names of Cloudflare's API."""

    phase: Phase
    """The phase."""
    action: str
    """The action."""
    parameters: dict[str, Any] | None = None
    """Its `action_parameters`."""
    ratelimit: dict[str, Any] | None = None
    """Its `ratelimit`."""
    logging: bool | None = None
    """Its `logging.enabled`."""

    @model_validator(mode="after")
    def _action_fits_phase(self) -> OtherRule:
        if self.action not in ACTIONS[self.phase]:
            raise ValueError(
                f"a rule of {self.phase} cannot {self.action}; it can "
                + " or ".join(ACTIONS[self.phase])
            )
        return self


class Zone(_Table):
    """Which zone this is, and how to see that it works."""

    name: str = Field(pattern=r"^[a-z0-9-]+(\.[a-z0-9-]+)+$", max_length=253)
    """Its domain; the identifier in the settings must belong to it."""
    plan: PlanName = "free"
    """The Cloudflare plan, which limits what rules may do."""
    health: Url | None = None
    """Asked after every apply; when it fails three times, the apply is taken back."""
    origin: Url | None = None
    """The origin's own address, whose certificate is verified before TLS becomes `strict`."""


class Hsts(_Table):
    """Strict-Transport-Security: browsers then refuse plain HTTP, and nobody can take it back."""

    enabled: bool = True
    """Whether the header is sent."""
    max_age_seconds: int = Field(default=63_072_000, ge=0, le=63_072_000)
    """How long browsers remember; two years is what the preload list wants."""
    subdomains: bool = True
    """Whether it holds for subdomains."""
    preload: bool = True
    """Whether the domain may be put on the browsers' own list; only at the full age."""
    nosniff: bool = True
    """Whether X-Content-Type-Options is sent too."""
    since: date | None = None
    """The day on which the ramp began: 5 minutes, after a day 1 day, after a week 1 week, after 30
    days the full age. Without it the age stays at 5 minutes."""
    ramp: bool = True
    """Whether the age grows step by step."""
    confirm: str = ""
    """The zone's name, as the consent to more than 5 minutes at once, and to preload."""

    @model_validator(mode="after")
    def _preload_needs_subdomains(self) -> Hsts:
        if self.enabled and self.preload and not self.subdomains:
            raise ValueError("the preload list takes domains with all their subdomains only")
        return self


class Tls(_Table):
    """Encryption."""

    mode: Literal["off", "flexible", "full", "strict"] | None = None
    """Towards the origin: `strict` verifies its certificate."""
    minimum_version: Literal["1.0", "1.1", "1.2", "1.3"] | None = None
    """The oldest version that clients may use."""
    tls_1_3: bool | None = None
    """TLS 1.3."""
    always_https: bool | None = None
    """Redirect http to https."""
    https_rewrites: bool | None = None
    """Rewrite http links in pages."""
    universal: bool | None = None
    """Cloudflare's own certificate for the zone."""
    origin_pulls: bool | None = None
    """Cloudflare shows a certificate to the origin, which must then demand it."""
    hsts: Hsts | None = None
    """Strict-Transport-Security."""


class Cache(_Table):
    """Caching."""

    tiered: bool | None = None
    """Data centres ask each other before the origin."""
    browser_seconds: int | None = Field(default=None, ge=0, le=31_536_000)
    """Least time in browsers; 0 leaves it to the origin."""
    rules: tuple[CacheRule, ...] = Field(default=(), max_length=_MOST_RULES)
    """What is cached, and how long."""


class Performance(_Table):
    """Speed."""

    http3: bool | None = None
    """HTTP/3."""
    early_hints: bool | None = None
    """103 Early Hints from `Link` headers."""
    zero_rtt: bool | None = None
    """TLS resumption without a round trip."""
    compression: tuple[CompressionRule, ...] = Field(default=(), max_length=_MOST_RULES)
    """How answers are compressed."""


class Security(_Table):
    """Security level, bots, and addresses brought into one form."""

    level: Literal["off", "essentially_off", "low", "medium", "high", "under_attack"] | None = None
    """Cloudflare sets it by itself since 2025; `under_attack` challenges everybody."""
    browser_check: bool | None = None
    """Refuse clients whose headers no browser sends."""
    bot_fight: bool | None = None
    """Bot fight mode (Free)."""
    javascript_detections: bool | None = None
    """A script that tells browsers from programs."""
    ai_bots: Literal["block", "disabled", "only_on_ad_pages"] | None = None
    """Crawlers that collect text for models."""
    url_normalization: Literal["cloudflare", "rfc3986", "none"] | None = None
    """How paths are brought into one form before any rule sees them."""


class TierShield(_Table):
    """A rate rule that is derived from one of the application's tiers."""

    tier: str
    """The tier's name, as in the settings of the application."""
    when: str = Field(min_length=1, max_length=4096)
    """The requests that the tier is for."""
    clients_per_address: int = Field(default=5, ge=1, le=10_000)
    """How many clients may share one address, such as an office."""


class Rate(_Table):
    """Rate limits at the edge: a coarse shield before the application's exact ones."""

    tiers: tuple[TierShield, ...] = ()
    """Rules derived from the application's tiers, the most important first."""
    rules: tuple[RateRule, ...] = Field(default=(), max_length=_MOST_RULES)
    """Rules of your own."""


class Edge(_Table):
    """The whole file."""

    zone: Zone
    """The zone."""
    tls: Tls = Tls()
    """Encryption."""
    cache: Cache = Cache()
    """Caching."""
    performance: Performance = Performance()
    """Speed."""
    security: Security = Security()
    """Level and bots."""
    firewall: tuple[FirewallRule, ...] = Field(default=(), max_length=_MOST_RULES)
    """Firewall rules, in order."""
    rate: Rate = Rate()
    """Rate limits."""
    redirects: tuple[RedirectRule, ...] = Field(default=(), max_length=_MOST_RULES)
    """Redirects, in order."""
    rewrites: tuple[RewriteRule, ...] = Field(default=(), max_length=_MOST_RULES)
    """Rewrites of paths and queries."""
    configs: tuple[ConfigRule, ...] = Field(default=(), max_length=_MOST_RULES)
    """Settings for some requests."""
    request_headers: tuple[HeadersRule, ...] = Field(default=(), max_length=_MOST_RULES)
    """Headers towards the origin."""
    response_headers: tuple[HeadersRule, ...] = Field(default=(), max_length=_MOST_RULES)
    """Headers towards the client."""
    others: tuple[OtherRule, ...] = Field(default=(), max_length=_MOST_RULES)
    """Rules that none of the tables above can say."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Further settings of the zone, by Cloudflare's names and values."""
