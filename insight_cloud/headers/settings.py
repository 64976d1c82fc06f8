"""What an operator may say about the security headers and cross-origin requests."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from insight_cloud.headers import csp
from insight_cloud.headers.hsts import Stage
from insight_cloud.headers.middleware import PERMISSIONS

__all__ = ["HeadersSettings"]


class HeadersSettings(BaseModel):
    """Security headers of every answer, and which other origins may read the API."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    page_policy: str = Field(
        csp.PAGE,
        description="Content-Security-Policy of pages; `{nonce}` becomes the nonce of the request. "
        "Keywords with `unsafe-` are refused.",
    )
    report_only: bool = Field(
        False, description="Whether violations of `page_policy` are only reported, not prevented."
    )
    hsts: Stage = Field(
        "full",
        description="Strict-Transport-Security, in production over HTTPS only: how long browsers "
        "remember. `minutes` is 5 minutes, `full` 2 years with preload; `off` sends nothing, "
        "`withdraw` makes browsers forget.",
    )
    hsts_subdomains: bool = Field(
        True, description="Whether Strict-Transport-Security holds for all subdomains."
    )
    hsts_preload: bool = Field(
        True,
        description="Whether browsers may build the domain in; sent at the stage `full` only.",
    )
    frame_options: Literal["DENY", "SAMEORIGIN"] = Field(
        "DENY", description="X-Frame-Options, for browsers that do not know `frame-ancestors`."
    )
    referrer_policy: Literal[
        "no-referrer", "same-origin", "strict-origin", "strict-origin-when-cross-origin"
    ] = Field(
        "strict-origin-when-cross-origin",
        description="Referrer-Policy: what other sites learn about where a visitor came from.",
    )
    permissions_policy: str = Field(
        PERMISSIONS,
        description="Permissions-Policy: which abilities of the browser pages may use.",
    )
    dns_prefetch: bool = Field(
        False, description="Whether browsers may look up the names in links beforehand."
    )
    reports: bool = Field(
        True, description="Whether browsers are asked to report violations to the service."
    )
    reports_per_minute: int = Field(
        120, ge=1, le=100_000, description="Reports that each process reads in a minute."
    )
    cors_origins: tuple[str, ...] = Field(
        (),
        description="Other origins whose scripts may call the API, exactly as browsers write them: "
        "`https://app.example.com`. `*` alone is everybody, without cookies.",
    )
    cors_credentials: bool = Field(
        False, description="Whether scripts of these origins may send cookies along."
    )
    cors_max_age_seconds: int = Field(
        7200, ge=0, le=86_400, description="Seconds for which browsers may remember a preflight."
    )
