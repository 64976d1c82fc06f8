"""The application assembled: routes, error handlers, pages and background tasks."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.routing import Route
from typing_extensions import override

from insight_cloud import __version__, headers, ratelimit, telemetry, wiring
from insight_cloud.app import api, jobs
from insight_cloud.app.accounts import admin_routes as administration
from insight_cloud.app.accounts import audit, oidc, recovery
from insight_cloud.app.accounts import routes as accounts
from insight_cloud.app.accounts import service as accounts_service
from insight_cloud.app.admission import Admission, Identify
from insight_cloud.app.analyses import retention
from insight_cloud.app.analyses import routes as analyses
from insight_cloud.app.compression import Compression
from insight_cloud.app.dashboard import routes as dashboard
from insight_cloud.app.gates import routes as gates
from insight_cloud.app.issues import routes as issues
from insight_cloud.app.observation import Observation
from insight_cloud.app.projects import routes as projects
from insight_cloud.app.quotas import routes as quotas
from insight_cloud.app.quotas import service as quotas_service
from insight_cloud.app.sources import routes as sources
from insight_cloud.app.sources import service as sources_service
from insight_cloud.app.sources import work
from insight_cloud.app.triage import routes as triage
from insight_cloud.app.triage import service as triage_service
from insight_cloud.app.webhooks import routes as webhooks
from insight_cloud.app.webhooks import service as webhooks_service
from insight_cloud.app.webhooks.send import Sender
from insight_cloud.core.asgi import App, Receive, Scope, Send
from insight_cloud.core.errors import InsightError
from insight_cloud.sandbox import Sandbox
from insight_cloud.settings import Settings

__all__ = ["MIGRATIONS", "create", "openapi"]

MIGRATIONS = Path(__file__).with_name("migrations")
"""The schema of the application, as numbered files."""

_REPORTS = "/reports"
_IMAGES = "/_image"
_HEALTH: dict[str, Any] = {
    "/api/health": {
        "get": {
            "tags": ["health"],
            "summary": "Get Health",
            "description": "Say whether the service can serve, in the form of "
            "draft-inadarei-api-health-check-06. Administrators see the single checks.",
            "operationId": "get_health",
            "responses": {
                status: {
                    "description": meaning,
                    "content": {"application/health+json": {"schema": {"type": "object"}}},
                }
                for status, meaning in (("200", "Able to serve"), ("503", "Not able to serve"))
            },
        }
    }
}
_CLEAN_EVERY_SECONDS = 3600
_LETTERS_SECONDS = 5
"""For letters that are on their way when the service ends."""
_TELL_EVERY_SECONDS = 2
_TRY_EVERY_SECONDS = 300

_FEATURES = (
    accounts,
    administration,
    projects,
    quotas,
    analyses,
    sources,
    issues,
    triage,
    gates,
    webhooks,
)

log = logging.getLogger("insight.app")


def create(settings: Settings, components: wiring.Components | None = None) -> FastAPI:
    """Build the application; it opens what `settings` ask for unless `components` are given."""
    limits = wiring.limits(settings) if components is None else components.limits
    pictures = wiring.image_endpoint(settings)
    reports = headers.Reports(per_minute=settings.headers.reports_per_minute)

    sandbox = wiring.sandbox(settings)

    def context() -> api.Context:
        found: api.Context = app.state.context
        return found

    observation = Observation(
        settings,
        context,
        reports=reports,
        migrations=MIGRATIONS,
        pages=dashboard.pages,
        pictures=pictures,
        sandbox=sandbox,
    )

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as stack:
            ours = components
            if ours is None:
                ours = await stack.enter_async_context(wiring.opened(settings, within=limits))
            app.state.context = api.Context.of(ours, settings)
            if pictures is not None:
                await stack.enter_async_context(pictures)
            await stack.enter_async_context(observation.running(ours.notifier))
            tasks = [
                asyncio.create_task(_clean_for_ever(context(), observation)),
                asyncio.create_task(_tell_for_ever(context())),
                asyncio.create_task(_work_for_ever(context(), sandbox, settings.jobs.in_process)),
            ]
            yield
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LETTERS_SECONDS):
                    await recovery.settled()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    app = _Service(
        settings,
        observation,
        title="Insight Cloud",
        summary="See what is wrong with your code.",
        version=__version__,
        lifespan=lifespan,
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
    )
    app.state.observation = observation
    app.state.provider = oidc.provider(settings.oidc, settings.server.url)
    app.state.logo = wiring.logo(settings, _IMAGES)
    api.install(app, error_page=dashboard.error_page, also=_HEALTH)
    for feature in _FEATURES:
        app.include_router(feature.router)
    app.include_router(gates.badges)
    app.include_router(dashboard.router, include_in_schema=False)
    app.mount("/static", dashboard.static(settings.assets.directory), name="static")
    for path in telemetry.PATHS:
        app.router.routes.append(Route(path, observation.health, include_in_schema=False))
    app.router.routes.append(Route("/metrics", observation.metrics, include_in_schema=False))
    app.router.routes.append(Route("/vitals", observation.vitals, include_in_schema=False))
    if pictures is not None:
        app.router.routes.append(Route(_IMAGES, pictures, include_in_schema=False))
    app.router.routes.append(Route(_REPORTS, reports, include_in_schema=False))
    admission = Admission(limits)
    # The last one added is the first to see a request.
    app.add_middleware(Compression)
    app.add_middleware(
        api.BodyLimit, limit_bytes=settings.server.body_bytes, exempt=_has_its_own_limit
    )
    app.add_middleware(
        ratelimit.RateLimit,
        limits.limiter,
        policies=admission.policies,
        refusal=lambda scope: None if scope["path"].startswith("/api/") else dashboard.refusal,
        on_denied=limits.count,
    )
    app.add_middleware(Identify, admission=admission)
    return app


class _Service(FastAPI):
    """FastAPI with headers and telemetry around everything, its own error pages included."""

    def __init__(self, settings: Settings, observation: Observation, **options: Any) -> None:
        super().__init__(**options)
        self._settings = settings
        self._observation = observation

    @override
    def build_middleware_stack(self) -> App:
        """The stack as FastAPI builds it, and what must see every answer outside of it."""
        return _outermost(super().build_middleware_stack(), self._settings, self._observation)


def _outermost(app: App, settings: Settings, observation: Observation) -> App:
    wanted = settings.headers
    app = headers.Cors(
        app,
        origins=wanted.cors_origins,
        credentials=wanted.cors_credentials,
        max_age_seconds=wanted.cors_max_age_seconds,
    )
    app = headers.Headers(
        app,
        page_policy=wanted.page_policy,
        report_only=wanted.report_only,
        report_url=_REPORTS if wanted.reports else None,
        hsts_stage=wanted.hsts if settings.server.environment == "production" else "off",
        hsts_subdomains=wanted.hsts_subdomains,
        hsts_preload=wanted.hsts_preload,
        frame_options=wanted.frame_options,
        referrer_policy=wanted.referrer_policy,
        permissions_policy=wanted.permissions_policy,
        dns_prefetch=wanted.dns_prefetch,
    )
    app = telemetry.Requests(
        observation.traced(app),
        observation.recorder,
        slow=observation.slow,
        access_log=settings.telemetry.access_log,
        trusted=observation.is_trusted if settings.telemetry.trust_request_id else None,
    )
    return _Https(app) if settings.server.url.startswith("https://") else app


class _Https:
    """The operator says that people come over HTTPS; a proxy in front of us hides it."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Say so to everything inside: cookies, redirects, Strict-Transport-Security."""
        if scope["type"] == "http":
            scope["scheme"] = "https"
        await self._app(scope, receive, send)


def openapi() -> dict[str, Any]:
    """Return the API's description without opening anything."""
    return create(Settings()).openapi()


def _has_its_own_limit(path: str) -> bool:
    """Uploads are measured while they stream, by `analyses.receive` and `sources.service`."""
    if path.startswith("/api/v1/projects/"):
        return path.endswith(("/analyses", "/sources"))
    return path.startswith("/projects/") and path.endswith("/sources/archive")


async def _work_for_ever(context: api.Context, sandbox: Sandbox, at_once: int) -> None:
    """Analyse what was handed in, where this machine can keep that from doing harm."""
    if at_once == 0:
        return
    while not (isolation := await sandbox.isolation()).active:
        log.warning("jobs.no_worker: no code is analysed here: %s", isolation.detail)
        await asyncio.sleep(_TRY_EVERY_SECONDS)
    async with work.working(context, sandbox, at_once=at_once):
        await asyncio.Event().wait()


async def _tell_for_ever(context: api.Context) -> None:
    """Send what webhooks are to be told; every process does, and each message is claimed by one."""
    wanted = context.settings.webhooks
    sender = Sender(allow_private=wanted.allow_private, timeout_seconds=wanted.timeout_seconds)
    while True:
        try:
            tried = await webhooks_service.deliver_due(context, sender)
        except InsightError as error:
            log.warning("webhooks.failed: %s", error)
            tried = 0
        await asyncio.sleep(0 if tried else _TELL_EVERY_SECONDS)


async def _clean_for_ever(context: api.Context, observation: Observation) -> None:
    """Delete what has expired, now and every hour; a failure waits for the next hour."""
    while True:
        try:
            deleted = await accounts_service.clean(context)
            ended = await triage_service.expire(context)
            await audit.clean(context)
            await webhooks_service.clean(context)
            await quotas_service.clean(context)
            await sources_service.clean(context)
            await jobs.clean(context)
            removed = await retention.apply(context)
            if removed.issues or removed.branches:
                log.info("analyses.retention: %s", removed)
        except InsightError as error:
            log.warning("accounts.clean_failed: %s", error)
            observation.note("accounts.clean", str(error), failed=True)
        else:
            log.info("accounts.cleaned: %s; triage.expired in %d projects", deleted, ended)
            observation.note(
                "accounts.clean",
                f"{deleted.sessions} sessions, {deleted.refresh_tokens} refresh tokens and "
                f"{deleted.links} links had expired",
            )
        await asyncio.sleep(_CLEAN_EVERY_SECONDS)
