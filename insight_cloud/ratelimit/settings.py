"""What an operator may say about rate limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

from insight_cloud.core.errors import SettingsError
from insight_cloud.ratelimit.address import UNIX, networks
from insight_cloud.ratelimit.policy import Policy, parse

__all__ = ["RateLimitSettings"]


def _tier(text: str) -> str:
    try:
        parse("tier", text)
    except SettingsError as error:
        raise ValueError(str(error)) from error
    return text


def _networks(texts: tuple[str, ...] | None) -> tuple[str, ...] | None:
    try:
        networks(text for text in texts or () if text != UNIX)
    except SettingsError as error:
        raise ValueError(str(error)) from error
    return texts


Tier = Annotated[str, AfterValidator(_tier)]
"""`LIMIT/WINDOW [ON_FAILURE]`, for example `100/15m open`."""


class RateLimitSettings(BaseModel):
    """How many requests are admitted, of whom, and what happens while Redis is away.

    A limit is written `LIMIT/WINDOW ON_FAILURE`: `5/15m closed` is five in any 15 minutes, and
    none while Redis is away. Windows are counted in s, m, h or d. `on_failure` is `local` (each
    process limits by itself; the default), `closed` (nobody is admitted) or `open` (everybody).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    api: Tier = "100/15m open"
    """Requests of the API, of each user, token or address."""
    auth: Tier = "5/15m closed"
    """Attempts to sign in, of each address and each account."""
    strict: Tier = "10/1h local"
    """Requests that cost much or reveal much, such as exports and password resets."""
    analysis: Tier = "20/1d local"
    """Analyses that are started, of each user."""
    more: tuple[str, ...] = ()
    """Further limits, each as `NAME=LIMIT/WINDOW ON_FAILURE`."""
    url: SecretStr | None = None
    """Redis for the limits; without it that of the cache, and without both each process's own."""
    timeout_seconds: float = Field(default=0.2, gt=0, le=10)
    """Seconds after which Redis counts as away."""
    memory_keys: int = Field(default=100_000, ge=1)
    """Keys of each limit that a process remembers by itself; further ones share one log."""
    trusted_proxies: Annotated[tuple[str, ...], AfterValidator(_networks)] = ()
    """Networks of our own proxies, whose `X-Forwarded-For` is believed; `unix` for a socket."""
    cloudflare_ranges: Annotated[tuple[str, ...] | None, AfterValidator(_networks)] = None
    """Networks whose `CF-Connecting-IP` is believed; without it, those Cloudflare publishes."""
    ipv6_prefix: int = Field(default=64, ge=32, le=128)
    """Leading bits of an IPv6 address that are one client."""

    @model_validator(mode="after")
    def _more_are_readable(self) -> RateLimitSettings:
        try:
            self.policies()
        except SettingsError as error:
            raise ValueError(str(error)) from error
        return self

    def policies(self) -> Mapping[str, Policy]:
        """Return every limit by its name."""
        texts = {name: getattr(self, name) for name in ("api", "auth", "strict", "analysis")}
        for item in self.more:
            name, _, text = item.partition("=")
            if name.strip() in texts:
                raise SettingsError(f"the rate limit {name.strip()!r} is given twice")
            texts[name.strip()] = text
        return {name: parse(name, text) for name, text in texts.items()}
