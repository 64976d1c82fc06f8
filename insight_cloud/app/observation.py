"""What a web process notes about itself, and whom it tells: metrics, health, alerts, leaks.

The components count; here their numbers get names, and the operator gets to know.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from insight_cloud import __version__, backup, cache, database, ratelimit, telemetry, tls, wiring
from insight_cloud.app import api, jobs
from insight_cloud.app.accounts.identify import CALLER
from insight_cloud.core.asgi import App, Scope
from insight_cloud.core.report import Check
from insight_cloud.headers import Reports
from insight_cloud.images import Images
from insight_cloud.notify import Message, Notifier, Severity
from insight_cloud.sandbox import Sandbox
from insight_cloud.sandbox import check as check_sandbox
from insight_cloud.settings import Settings
from insight_cloud.telemetry import Alert, Every, Leak, Periodic, Probe, Sample, process
from insight_cloud.telemetry import checks as telemetry_checks
from insight_cloud.wiring import Limits

if TYPE_CHECKING:
    from insight_cloud.telemetry.tracing import Traces

__all__ = ["Observation", "Work", "is_operator"]

_PUBLISH_SECONDS = 5
_WATCH_SECONDS = 10
_ALERT_SECONDS = 15
_TICK_SECONDS = 60
_BACKUPS_SECONDS = 600
_SLOW_QUERIES = "database_very_slow_queries_total"
_SEVERITIES: Mapping[str, Severity] = {"began": "error", "continues": "error", "ended": "info"}


def _traces(
    wanted: telemetry.TelemetrySettings, trusted: Callable[[Scope], bool] | None
) -> list[Traces]:
    """Where traces go; the libraries are imported only for what is set."""
    options = {
        "service": wanted.service_name,
        "version": __version__,
        "share": wanted.trace_share,
        "trusted": trusted,
    }
    found = []
    if wanted.otlp_endpoint is not None:
        from insight_cloud.telemetry import otel

        text = "" if wanted.otlp_headers is None else wanted.otlp_headers.get_secret_value()
        found.append(otel.traces(wanted.otlp_endpoint, headers=otel.parse_headers(text), **options))
    if wanted.application_insights is not None:
        from insight_cloud.telemetry import azure

        found.append(azure.traces(wanted.application_insights.get_secret_value(), **options))
    return found


def _sentry(settings: Settings) -> list[logging.Handler]:
    dsn = settings.telemetry.sentry_dsn
    if dsn is None:
        return []
    from insight_cloud.telemetry.sentry import SentryHandler

    environment = settings.server.environment
    return [SentryHandler(dsn.get_secret_value(), release=__version__, environment=environment)]


def _may_scrape(wanted: telemetry.TelemetrySettings) -> Callable[[Scope], bool]:
    """Let administrators read the metrics, and whoever has the token."""
    if wanted.metrics_token is None:
        return is_operator
    has_token = telemetry.bearer(wanted.metrics_token.get_secret_value())
    return lambda scope: bool(has_token(scope)) or is_operator(scope)


def is_operator(scope: Scope) -> bool:
    """Whether an administrator is asking."""
    caller = scope.get(CALLER)
    return caller is not None and caller.is_admin


@dataclass(frozen=True, slots=True)
class Work:
    """Some work in the background, and how it went the last time."""

    name: str
    at: datetime
    result: str
    failed: bool


class Observation:
    """Made with the application, because its middleware records; `running` for as long as it runs.

    With `telemetry.metrics_directory` what is read is that of all processes that share it.
    """

    def __init__(
        self,
        settings: Settings,
        context: Callable[[], api.Context],
        *,
        reports: Reports,
        migrations: Path,
        pages: Collection[str],
        sandbox: Sandbox,
        pictures: Images | None = None,
    ) -> None:
        wanted = settings.telemetry
        self._settings = settings
        self._context = context
        self.reports = reports
        self._pictures = pictures
        self._migrations = migrations
        self._sandbox = sandbox
        directory = wanted.metrics_directory
        self._shared = None if directory is None else telemetry.Shared(directory)
        self._leader = telemetry.Leader(directory)
        self.recorder = telemetry.Recorder(
            self._shared, collectors=[process.samples], merge=process.MERGE
        )
        self.history = telemetry.History(self.recorder.read, minutes=wanted.history_hours * 60)
        self.slow = telemetry.Slow(
            warn_seconds=wanted.slow_request_seconds,
            error_seconds=wanted.very_slow_request_seconds,
            file=None if directory is None else directory / "slow.jsonl",
        )
        self._lag = telemetry.LoopLag()
        self._backups: tuple[backup.state.State, ...] = ()
        self.watch = telemetry.Watch(
            self._tell_of_leak,
            window_seconds=wanted.leak_window_minutes * 60,
            bytes_per_hour=wanted.leak_bytes_per_hour,
        )
        self.alerts = telemetry.Alerts(
            telemetry.rules(
                self.history,
                error_share=wanted.alert_error_share,
                p95_seconds=wanted.alert_p95_seconds,
                slow_queries=wanted.alert_slow_queries,
                memory_share=wanted.alert_memory_share,
                memory=self._memory_share,
                slow_query_metric=_SLOW_QUERIES,
                repeat_seconds=wanted.alert_repeat_minutes * 60,
            ),
            self._tell_of_alert,
            leads=self._leader,
        )
        self.health = telemetry.Health(
            self._probes(),
            allowed=is_operator,
            cache_seconds=wanted.health_cache_seconds,
            version="1",
            release=__version__,
            service=wanted.service_name,
        )
        self.metrics = telemetry.Metrics(
            self.recorder, allowed=_may_scrape(wanted), history=self.history
        )
        self.vitals = telemetry.Vitals(self.recorder, routes=pages, share=wanted.vitals_share)
        self._traces = _traces(wanted, self.is_trusted if wanted.trust_request_id else None)
        self.errors = telemetry.LastErrors(
            file=None if directory is None else directory / "errors.jsonl"
        )
        self.works: dict[str, Work] = {}
        self.notifier: Notifier | None = None

    def traced(self, app: App) -> App:
        """`app` with some of its requests traced, where the settings name a place for traces."""
        for traces in self._traces:
            app = traces.middleware(app)
        return app

    def vitals_tag(self, route: str) -> str:
        """The script element that measures a page of `route`; empty where none is measured."""
        return self.vitals.tag(route) if self._settings.telemetry.vitals_share else ""

    def note(self, name: str, result: str, *, failed: bool = False) -> None:
        """Remember how some work in the background went."""
        self.works[name] = Work(name, datetime.now(UTC), result, failed)

    @contextlib.asynccontextmanager
    async def running(self, notifier: Notifier) -> AsyncIterator[None]:
        """Ask the components from now on, and watch."""
        context = self._context()
        self.notifier = notifier
        for collector in (
            lambda: _of_database(context.pool),
            lambda: _of_cache(context.cache),
            lambda: _of_limits(context.limits),
            lambda: _of_reports(self.reports),
            lambda: _of_notifier(notifier),
            lambda: _of_images(self._pictures),
            lambda: backup.state.samples(self._backups, now=datetime.now(UTC)),
            self._of_certificate,
            self._lag.samples,
            self.watch.samples,
        ):
            self.recorder.collect(collector)
        works = [
            Every(_PUBLISH_SECONDS, self.recorder.publish),
            Every(_TICK_SECONDS, self.history.tick),
            Every(_WATCH_SECONDS, self.watch.step),
            Every(_ALERT_SECONDS, self.alerts.step),
        ]
        if self._settings.backup.stores:
            works.append(Every(_BACKUPS_SECONDS, self._look_at_backups))
        watching = asyncio.create_task(self._lag.watch())
        handlers = [self.errors, *_sentry(self._settings)]
        for handler in handlers:
            logging.getLogger().addHandler(handler)
        try:
            async with Periodic(works):
                yield
        finally:
            for handler in handlers:
                logging.getLogger().removeHandler(handler)
                await asyncio.to_thread(handler.close)
            for traces in self._traces:
                await asyncio.to_thread(traces.close)
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            self.recorder.publish()
            self._leader.close()
            if self._shared is not None:
                self._shared.close()

    def is_trusted(self, scope: Scope) -> bool:
        """Whether a request comes through one of our own proxies."""
        return self._context().limits.addresses.is_proxied(scope)

    def _probes(self) -> list[Probe]:
        """What health asks. Without cache and Redis the service works: no reason to avoid it."""
        seconds = self._settings.telemetry.health_timeout_seconds

        async def of_database() -> Iterable[Check]:
            pool = self._context().pool
            return await database.check(pool, migrations_directory=self._migrations)

        async def of_cache() -> Iterable[Check]:
            return await cache.check(self._context().cache)

        async def of_limits() -> Iterable[Check]:
            limits = self._context().limits
            return await ratelimit.check(limits.store, limits.policies.values())

        async def of_process() -> Iterable[Check]:
            return await telemetry_checks.check(self._lag, self.alerts)

        async def of_certificate() -> Iterable[Check]:
            store = wiring.certificate_store(self._settings)
            return await tls.check(store, names=self._settings.tls.names)

        async def of_jobs() -> Iterable[Check]:
            return [*await jobs.check(self._context()), *await check_sandbox(self._sandbox)]

        async def of_backups() -> Iterable[Check]:
            oldest = timedelta(hours=self._settings.backup.oldest_hours)
            return backup.state.check(self._backups, now=datetime.now(UTC), oldest=oldest)

        probes = [
            Probe("database", of_database, seconds, "datastore"),
            Probe("cache", of_cache, seconds, "datastore", required=False),
            Probe("ratelimit", of_limits, seconds, "datastore", required=False),
            Probe("jobs", of_jobs, seconds, required=False),
            Probe("process", of_process, seconds, "system", required=False),
        ]
        if self._settings.server.tls:
            probes.append(Probe("tls", of_certificate, seconds, required=False))
        if self._settings.backup.stores:
            probes.append(Probe("backup", of_backups, seconds, "datastore", required=False))
        return probes

    def _of_certificate(self) -> Iterable[Sample]:
        if not self._settings.server.tls:
            return ()
        return tls.samples(wiring.certificate_store(self._settings))

    async def _look_at_backups(self) -> None:
        """Ask the stores, now and then: what they hold is asked for far more often."""
        async with wiring.backups(self._settings, database=False) as job:
            self._backups = await backup.state.read(job)
        problems = [state.problem for state in self._backups if state.problem]
        good = sum(state.good for state in self._backups)
        stores = len(self._backups)
        self.note(
            "backup.look",
            problems[0] if problems else f"{good} good backups in {stores} stores",
            failed=bool(problems),
        )

    async def _tell_of_alert(self, alert: Alert) -> None:
        await self._tell(
            Message(
                title=alert.text,
                severity=_SEVERITIES[alert.word],
                source=f"alert.{alert.name}",
                facts={"since": alert.since.isoformat(timespec="minutes")},
                key=f"alert.{alert.name}.{alert.word}",
                link=f"{self._settings.server.url}/operator",
            )
        )

    async def _tell_of_leak(self, leak: Leak) -> None:
        lines = "\n".join(f"{line.place}: {line.bytes / 2**20:.1f} MiB" for line in leak.lines)
        await self._tell(
            Message(
                title=f"Memory grows by {leak.bytes_per_hour / 2**20:.0f} MiB an hour",
                body=lines,
                severity="warning",
                source="memory.leak",
                link=f"{self._settings.server.url}/operator",
            )
        )

    async def _tell(self, message: Message) -> None:
        if self.notifier is not None:
            await self.notifier.send(message)

    def _memory_share(self) -> float | None:
        limit = process.memory_limit_bytes()
        if limit is None:
            return None
        used = sum(
            series.total
            for series in self.recorder.read()
            if series.name == "process_resident_memory_bytes"
        )
        return used / limit


def _of_database(pool: database.Pool) -> Iterable[Sample]:
    now = pool.statistics()
    yield "database_pool_connections", {"state": "idle"}, now.idle
    yield "database_pool_connections", {"state": "busy"}, now.size - now.idle
    yield "database_pool_connections_max", {}, now.max_size
    yield "database_pool_waiting", {}, now.waiting
    yield "database_pool_requests_total", {}, now.requests
    yield "database_pool_requests_queued_total", {}, now.requests_queued
    yield "database_pool_requests_failed_total", {}, now.requests_failed
    yield "database_pool_wait_seconds_total", {}, now.wait_seconds
    statements = pool.recorder.statements()
    yield "database_statements_total", {}, sum(one.calls for one in statements)
    yield "database_statement_errors_total", {}, sum(one.errors for one in statements)
    yield "database_statement_seconds_total", {}, sum(one.total_seconds for one in statements)
    yield "database_slow_queries_total", {}, pool.recorder.slow
    yield _SLOW_QUERIES, {}, pool.recorder.very_slow


def _of_cache(values: cache.Cache) -> Iterable[Sample]:
    now = values.stats()
    yield "cache_hits_total", {"level": "process"}, now.local_hits
    yield "cache_hits_total", {"level": "store"}, now.store_hits
    yield "cache_misses_total", {}, now.misses
    yield "cache_computations_total", {}, now.computations
    yield "cache_stale_total", {}, now.stale
    yield "cache_failures_total", {}, now.failures
    yield "cache_copies_bytes", {}, now.local_bytes
    yield "cache_circuit_open", {}, float(now.circuit_open)


def _of_limits(limits: Limits) -> Iterable[Sample]:
    for policy in limits.policies:
        yield "ratelimit_denied_total", {"policy": policy}, limits.denied[policy]
    yield "ratelimit_denied_locally_total", {}, limits.limiter.stats.denied_locally
    yield "ratelimit_degraded_total", {}, limits.limiter.stats.degraded


def _of_reports(reports: Reports) -> Iterable[Sample]:
    for outcome in ("reports", "accepted", "refused", "limited"):
        yield "headers_reports_total", {"outcome": outcome}, reports.totals.get(outcome, 0)


def _of_images(pictures: Images | None) -> Iterable[Sample]:
    if pictures is None:
        return
    now = pictures.stats
    yield "images_answers_total", {"from": "memory"}, now.remembered
    yield "images_answers_total", {"from": "store"}, now.stored
    yield "images_answers_total", {"from": "encoder"}, now.made
    yield "images_refused_total", {}, now.refused


def _of_notifier(notifier: Notifier) -> Iterable[Sample]:
    for channel in notifier.stats():
        yield "notify_sent_total", {"channel": channel.name}, channel.sent
        yield "notify_failed_total", {"channel": channel.name}, channel.failed
