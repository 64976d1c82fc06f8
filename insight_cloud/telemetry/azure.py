"""Traces to Azure Application Insights; needs the extra `azure`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from insight_cloud.core.errors import SettingsError

if TYPE_CHECKING:
    from insight_cloud.telemetry.tracing import Traces

__all__ = ["traces"]

_SECONDS = 5.0
_NOT_ASKED_FOR = (
    "APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL",
    "APPLICATIONINSIGHTS_SDKSTATS_DISABLED",
    "APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED",
)


def traces(connection_string: str, **options: Any) -> Traces:
    """Open traces to the resource that `connection_string` names; `options` are those of `Traces`.

    What could not be sent is not kept on disk.

    Raises:
        SettingsError: the extra is not installed, or the connection string is not usable.
    """
    # The exporter reports on itself, to Microsoft and to the resource, and asks Microsoft how to
    # behave, unless these variables say no: it has no other way to be told. An operator who has
    # set them decides.
    for name in _NOT_ASKED_FOR:
        os.environ.setdefault(name, "true")
    try:
        from azure.monitor.opentelemetry.exporter import AzureMonitorTraceExporter

        from insight_cloud.telemetry.tracing import Traces
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"Azure's exporter is not installed (no {error.name}): "
            "pip install 'insight-cloud[azure]'"
        ) from error
    try:
        exporter = AzureMonitorTraceExporter(
            connection_string=connection_string, disable_offline_storage=True, timeout=_SECONDS
        )
    except ValueError:  # its text may repeat the key
        raise SettingsError(
            "the connection string of Application Insights is not usable; copy it whole from the "
            "resource's overview: InstrumentationKey=...;IngestionEndpoint=https://..."
        ) from None
    return Traces(exporter, **options)
