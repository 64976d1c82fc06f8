"""The settings of telemetry."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

__all__ = ["TelemetrySettings"]


class TelemetrySettings(BaseModel):
    """Logs, metrics, health, alerts, and where errors and traces go."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    log_format: Literal["auto", "json", "line"] = "auto"
    """`json` for machines, `line` for people, `auto` for lines on a terminal and JSON elsewhere."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"
    """What is logged at least."""
    access_log: bool = False
    """Log a line for each request."""
    trust_request_id: bool = False
    """Take over `X-Request-ID` or `traceparent` of requests that come through our own proxies."""
    metrics_directory: Path | None = None
    """Where the web processes share their numbers; by default a directory in `/dev/shm`."""
    metrics_token: SecretStr | None = Field(default=None, min_length=16)
    """With it a scraper reads `/metrics`, as `Authorization: Bearer`; administrators can too."""
    history_hours: int = Field(default=48, ge=1, le=168)
    """Hours for which each minute's counts are kept, for rates and percentiles over a period."""
    slow_request_seconds: float = Field(default=1.0, gt=0)
    """From how many seconds on a request is logged as slow."""
    very_slow_request_seconds: float = Field(default=5.0, gt=0)
    """From how many seconds on that is an error."""
    health_timeout_seconds: float = Field(default=2.0, gt=0, le=60)
    """Seconds after which a component that does not answer counts as failed."""
    health_cache_seconds: float = Field(default=1.0, ge=0, le=60)
    """Seconds for which a health answer is repeated."""
    vitals_share: float = Field(default=1.0, ge=0, le=1)
    """Share of page views whose Web Vitals are collected."""
    alert_error_share: float = Field(default=0.01, gt=0, le=1)
    """Alert when more than this share of the requests of five minutes fail (status 5xx)."""
    alert_p95_seconds: float = Field(default=2.0, gt=0)
    """Alert when the 95th percentile of five minutes lies above it."""
    alert_slow_queries: int = Field(default=1, ge=1)
    """Alert when so many statements took over `database.slow_error_seconds` in five minutes."""
    alert_memory_share: float = Field(default=0.9, gt=0, le=1)
    """Alert when the web processes use more than this share of the memory they may have."""
    alert_repeat_minutes: int = Field(default=60, ge=1)
    """Minutes after which an alert that goes on is sent again."""
    leak_window_minutes: int = Field(default=30, ge=5, le=1440)
    """Minutes of growth from which a memory leak is concluded."""
    leak_bytes_per_hour: int = Field(default=32 * 1024 * 1024, ge=1024)
    """Bytes an hour, of steady growth, from which on it is one."""
    trace_share: float = Field(default=0.05, ge=0, le=1)
    """Share of the requests that OpenTelemetry or Azure are sent as traces."""
    sentry_dsn: SecretStr | None = None
    """Sentry project."""
    application_insights: SecretStr | None = None
    """Azure Application Insights connection string."""
    otlp_endpoint: str | None = None
    """OpenTelemetry collector, OTLP over HTTP: `http://host:4318`."""
    otlp_headers: SecretStr | None = None
    """Headers for the collector, `name=value` separated by commas."""
    service_name: str = "insight-cloud"
    """Name under which the service reports."""
