"""`insight tune memory`: a soak, judged by the trend that the service's own watch uses."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from insight_cloud.cli._output import say
from insight_cloud.cli._tune import Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from insight_cloud.tuning import Finding
    from insight_cloud.tuning.soak import Soak

__all__ = ["run"]


async def run(
    *,
    app: str,
    factory: bool,
    directory: str,
    paths: tuple[str, ...],
    rate: float,
    seconds: float,
    config: Path | None,
) -> Outcome:
    """Soak the application, and turn what was found into a report."""
    from insight_cloud import settings
    from insight_cloud.core.report import Report
    from insight_cloud.tuning import finding, reports
    from insight_cloud.tuning.soak import Load, soak

    wanted = settings.load(config)
    found = await soak(
        Load(app, paths or ("/",), rate, factory, directory),
        grows=_grows,
        growth_bytes_per_minute=wanted.performance.memory_growth_bytes,
        seconds=seconds,
        # A short soak warms up and looks for a shorter time.
        warm_up_seconds=min(15, seconds / 6),
        window_seconds=min(45, seconds / 2),
        trace_seconds=min(25, seconds / 4),
        progress=say,
    )
    findings = _findings(found)
    document = reports.document(
        "memory",
        app,
        datetime.now(UTC),
        Report.of(finding.checks("memory", ("leak", "errors"), findings)),
        findings,
        seconds=found.seconds,
        metrics={
            "growth_bytes_per_minute": round(found.growth_bytes_per_minute),
            "requests": found.requests,
            "errors": found.errors,
        },
        details={"growing sites": [asdict(holder) for holder in found.holders]},
    )
    return Outcome(document, wanted.performance.reports, wanted.performance.keep_reports)


def _grows(points: Sequence[tuple[float, float]], window_seconds: float, per_minute: float) -> bool:
    from insight_cloud.telemetry.trend import drifts, trend

    return drifts(trend(points), window_seconds=window_seconds, per_hour=per_minute * 60)


def _findings(found: Soak) -> list[Finding]:
    from insight_cloud.tuning import Finding

    findings = []
    if found.leaks:
        first = found.holders[0] if found.holders else None
        place = f"{first.place} ({first.function})" if first and first.function else ""
        findings.append(
            Finding(
                "leak",
                place or (first.place if first else "unknown"),
                f"memory grows by {found.growth_bytes_per_minute / 2**20:.1f} MiB a minute",
                "fail",
                evidence={
                    "tracer": found.tracer,
                    "held": first.bytes if first else 0,
                    "requests": found.requests,
                },
                remedy="; ".join(found.problems) or "look at what that line keeps, and where",
            )
        )
    if found.errors:
        findings.append(
            Finding("errors", "requests", f"{found.errors:,} of {found.requests:,} failed", "warn")
        )
    return findings
