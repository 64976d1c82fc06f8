"""`insight tune images|bundle|cache`: what other components report, judged and remembered."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from insight_cloud.cli._tune import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from insight_cloud.settings import Settings
    from insight_cloud.tuning import Finding

__all__ = ["bundle", "cache", "images", "service"]


def images(folder: Path, output: Path | None, config: Path | None) -> Outcome:
    """Weigh a folder's images, by what `insight images optimize` has made of them."""
    from insight_cloud import settings
    from insight_cloud.images import batch
    from insight_cloud.tuning import weights

    wanted = settings.load(config)
    output = output or folder / "_images"
    made = batch.stored(output).images
    found = [
        weights.Image(
            name, (folder / name).stat().st_size, made[name].best if name in made else None
        )
        for name in batch.read(folder, output, wanted.images.source_bytes)
    ]
    limits = wanted.performance
    findings = weights.images(
        found, large_bytes=limits.image_bytes, saving_percent=limits.image_saving_percent
    )
    metrics: dict[str, float | None] = {
        "images": len(found),
        "bytes": sum(image.bytes for image in found),
        "sent_bytes": sum(image.best_bytes or image.bytes for image in found),
    }
    return _outcome(
        wanted, "images", str(folder), findings, kinds=weights.IMAGE_KINDS, metrics=metrics
    )


def bundle(folder: Path, config: Path | None) -> Outcome:
    """Weigh a folder's stylesheets and scripts."""
    from insight_cloud import settings
    from insight_cloud.assets import build, check, weigh
    from insight_cloud.assets import folder as on_disk
    from insight_cloud.tuning import weights

    wanted = settings.load(config)
    budgets = wanted.assets.budgets()
    release = build(on_disk.sources(folder))
    weighed = weigh(release, budgets)
    metrics: dict[str, float | None] = {
        "files": len(weighed),
        "bytes": sum(one.bytes for one in weighed),
        "gzip_bytes": sum(one.gzip for one in weighed),
        "sent_bytes": sum(one.best for one in weighed),
    }
    findings = weights.bundle(check(release, budgets))
    unseen = {"unused": "insight assets report --used-in looks for files that nobody names"}
    return _outcome(
        wanted,
        "bundle",
        str(folder),
        findings,
        kinds=weights.BUNDLE_KINDS,
        metrics=metrics,
        unseen=unseen,
    )


async def cache(config: Path | None) -> Outcome:
    """Look at the Redis of the cache."""
    from insight_cloud import settings
    from insight_cloud.core.errors import SettingsError
    from insight_cloud.tuning import redis, weights

    wanted = settings.load(config)
    url = wanted.cache.url
    if url is None:
        raise SettingsError(
            "there is no Redis, so the cache is in the memory of each process: set REDIS_URL"
        )
    facts = await redis.read(url.get_secret_value(), prefix=wanted.cache.namespace)
    limits = wanted.performance
    findings = weights.cache(
        facts,
        weights.CacheLimits(
            limits.cache_hit_percent,
            limits.cache_memory_percent,
            limits.cache_value_bytes,
            limits.cache_slow_ms,
            limits.cache_forever_percent,
        ),
    )
    return _outcome(
        wanted,
        "cache",
        "redis",
        findings,
        kinds=weights.CACHE_KINDS,
        metrics=facts.as_metrics(),
        unseen=weights.unseen(facts),
    )


async def service(url: str | None, config: Path | None) -> Outcome:
    """Read the service's metrics and hold them against the thresholds."""
    from insight_cloud import settings
    from insight_cloud.tuning import service as serving

    wanted = settings.load(config)
    token = wanted.telemetry.metrics_token
    base = (url or wanted.server.url).rstrip("/")
    found = await serving.read(
        f"{base}/metrics", token="" if token is None else token.get_secret_value()
    )
    limits = wanted.performance
    findings = serving.judge(
        found,
        serving.ServiceLimits(
            limits.response_p95_seconds,
            limits.response_p99_seconds,
            limits.error_percent,
            limits.lcp_seconds,
            limits.inp_seconds,
            limits.fid_seconds,
            limits.cls_score,
        ),
    )
    return _outcome(
        wanted,
        "service",
        base,
        findings,
        kinds=serving.KINDS,
        metrics=serving.metrics(found),
        unseen=serving.unseen(found),
    )


def _outcome(
    settings: Settings,
    kind: str,
    subject: str,
    findings: Sequence[Finding],
    *,
    kinds: Sequence[str],
    metrics: Mapping[str, float | None],
    unseen: Mapping[str, str] | None = None,
) -> Outcome:
    from insight_cloud.core.report import Report
    from insight_cloud.tuning import finding, reports

    document = reports.document(
        kind,
        subject,
        datetime.now(UTC),
        Report.of(finding.checks(kind, kinds, findings, unseen)),
        findings,
        metrics=dict(metrics),
    )
    return Outcome(document, settings.performance.reports, settings.performance.keep_reports)
