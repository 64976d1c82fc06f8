"""The application assembled: routes, error handlers, pages and background tasks."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Response
from msgspec import json
from starlette.routing import Route
from typing_extensions import override

from insight_cloud import __version__, cache, database, headers, ratelimit, wiring
from insight_cloud.app import api
from insight_cloud.app.accounts import routes as accounts
from insight_cloud.app.accounts import service as accounts_service
from insight_cloud.app.admission import Admission, Identify
from insight_cloud.app.analyses import routes as analyses
from insight_cloud.app.compression import Compression
from insight_cloud.app.dashboard import routes as dashboard
from insight_cloud.app.issues import routes as issues
from insight_cloud.app.projects import routes as projects
from insight_cloud.core.asgi import App, Receive, Scope, Send
from insight_cloud.core.errors import InsightError
from insight_cloud.core.report import Report
from insight_cloud.settings import Settings

__all__ = ["MIGRATIONS", "create", "openapi"]

MIGRATIONS = Path(__file__).with_name("migrations")
"""The schema of the application, as numbered files."""

_REPORTS = "/reports"
_CLEAN_EVERY_SECONDS = 3600
_HEALTH_STATUS = {"pass": "pass", "warn": "warn", "fail": "fail", "skip": "pass"}

log = logging.getLogger("insight.app")
health = APIRouter(prefix="/api", tags=["health"])


def create(settings: Settings, components: wiring.Components | None = None) -> FastAPI:
    """Build the application; it opens what `settings` ask for unless `components` are given."""
    limits = wiring.limits(settings) if components is None else components.limits
    reports = headers.Reports(per_minute=settings.headers.reports_per_minute)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as stack:
            ours = components
            if ours is None:
                ours = await stack.enter_async_context(wiring.opened(settings, within=limits))
            app.state.context = api.Context.of(ours, settings)
            cleaning = asyncio.create_task(_clean_for_ever(app.state.context))
            yield
            cleaning.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await cleaning

    app = _Service(
        settings,
        title="Insight Cloud",
        summary="See what is wrong with your code.",
        version=__version__,
        lifespan=lifespan,
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
    )
    api.install(app, error_page=dashboard.error_page)
    for router in (accounts.router, projects.router, analyses.router, issues.router, health):
        app.include_router(router)
    app.include_router(dashboard.router, include_in_schema=False)
    app.mount("/static", dashboard.static, name="static")
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
    )
    app.add_middleware(Identify, admission=admission)
    return app


class _Service(FastAPI):
    """FastAPI with the security headers around everything, its own error pages included."""

    def __init__(self, settings: Settings, **options: Any) -> None:
        super().__init__(**options)
        self._settings = settings

    @override
    def build_middleware_stack(self) -> App:
        """The stack as FastAPI builds it, and what must see every answer outside of it."""
        return _outermost(super().build_middleware_stack(), self._settings)


def _outermost(app: App, settings: Settings) -> App:
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
    """Uploads are measured while they stream, by `analyses.receive`."""
    return path.startswith("/api/v1/projects/") and path.endswith("/analyses")


async def _clean_for_ever(context: api.Context) -> None:
    """Delete what has expired, now and every hour; a failure waits for the next hour."""
    while True:
        try:
            deleted = await accounts_service.clean(context)
        except InsightError as error:
            log.warning("accounts.clean_failed: %s", error)
        else:
            log.info("accounts.cleaned: %s", deleted)
        await asyncio.sleep(_CLEAN_EVERY_SECONDS)


@health.get(
    "/health",
    operation_id="get_health",
    responses={
        200: {"content": {"application/health+json": {"schema": {"type": "object"}}}},
        503: {
            "description": "Not able to serve",
            "content": {"application/health+json": {"schema": {"type": "object"}}},
        },
    },
    response_class=Response,
)
async def get_health(context: api.InContext) -> Response:
    """Say whether the service can serve (draft-inadarei-api-health-check)."""
    report = Report.of(
        [
            *await database.check(context.pool),
            *await cache.check(context.cache),
            *await ratelimit.check(context.limits.store, context.limits.policies.values()),
        ]
    )
    body = {
        "status": _HEALTH_STATUS[report.status],
        "checks": {
            check.name: [
                {
                    "status": _HEALTH_STATUS[check.status],
                    "observedValue": round(check.seconds * 1000, 2),
                    "observedUnit": "ms",
                }
            ]
            for check in report.checks
        },
    }
    return Response(
        json.encode(body),
        503 if report.failed else 200,
        {"cache-control": "no-store"},
        media_type="application/health+json",
    )
