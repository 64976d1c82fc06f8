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

from insight_cloud import __version__, wiring
from insight_cloud.app import api
from insight_cloud.app.accounts import routes as accounts
from insight_cloud.app.accounts import service as accounts_service
from insight_cloud.app.analyses import routes as analyses
from insight_cloud.app.dashboard import routes as dashboard
from insight_cloud.app.issues import routes as issues
from insight_cloud.app.projects import routes as projects
from insight_cloud.core.errors import InsightError
from insight_cloud.core.report import Report
from insight_cloud.database import checks
from insight_cloud.settings import Settings

__all__ = ["MIGRATIONS", "create", "openapi"]

MIGRATIONS = Path(__file__).with_name("migrations")
"""The schema of the application, as numbered files."""

_CLEAN_EVERY_SECONDS = 3600
_HEALTH_STATUS = {"pass": "pass", "warn": "warn", "fail": "fail", "skip": "pass"}

log = logging.getLogger("insight.app")
health = APIRouter(prefix="/api", tags=["health"])


def create(settings: Settings, components: wiring.Components | None = None) -> FastAPI:
    """Build the application; it opens what `settings` ask for unless `components` are given."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as stack:
            ours = components
            if ours is None:
                ours = await stack.enter_async_context(wiring.opened(settings))
            app.state.context = api.Context(ours.pool, settings)
            cleaning = asyncio.create_task(_clean_for_ever(app.state.context))
            yield
            cleaning.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await cleaning

    app = FastAPI(
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
    app.add_middleware(
        api.BodyLimit, limit_bytes=settings.server.body_bytes, exempt=_has_its_own_limit
    )
    return app


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
    report = Report.of(await checks.check(context.pool))
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
