"""Traces to an OpenTelemetry collector, by OTLP over HTTP; needs the extra `otel`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from insight_cloud.core.errors import SettingsError

if TYPE_CHECKING:
    from insight_cloud.telemetry.tracing import Traces

__all__ = ["parse_headers", "traces"]

_SECONDS = 5.0


def traces(endpoint: str, *, headers: Mapping[str, str] | None = None, **options: Any) -> Traces:
    """Open traces to the collector at `endpoint`, as `http://127.0.0.1:4318`.

    `headers` go with every batch, for its password perhaps. `options` are those of `Traces`.

    Raises:
        SettingsError: the extra is not installed, or the endpoint is no HTTP URL.
    """
    parts = urlsplit(endpoint)
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise SettingsError(
            f"the OpenTelemetry endpoint {parts.scheme}://{parts.hostname or ''} is no address of "
            "OTLP over HTTP; it looks like http://collector:4318"
        )
    try:
        from opentelemetry.exporter.otlp.proto.http import Compression
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        from insight_cloud.telemetry.tracing import Traces
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"OpenTelemetry is not installed (no {error.name}): pip install 'insight-cloud[otel]'"
        ) from error
    exporter = OTLPSpanExporter(
        endpoint=endpoint.rstrip("/") + "/v1/traces",
        headers=dict(headers or {}),
        timeout=_SECONDS,
        compression=Compression.Gzip,
    )
    return Traces(exporter, **options)


def parse_headers(text: str) -> dict[str, str]:
    """Read `name=value,name=value` with %-escapes, the form of `OTEL_EXPORTER_OTLP_HEADERS`.

    Raises:
        SettingsError: a part has no `=`; the message does not repeat it.
    """
    found = {}
    for number, part in enumerate(filter(None, (part.strip() for part in text.split(","))), 1):
        name, equals, value = part.partition("=")
        if not equals or not name.strip():
            raise SettingsError(f"header {number} for OpenTelemetry has not the form name=value")
        found[unquote(name.strip()).lower()] = unquote(value.strip())
    return found
