"""Every page's address, and the files that pages need."""

from __future__ import annotations

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from fastapi.routing import APIRoute

from insight_cloud.app.dashboard import (
    account_pages,
    admin_pages,
    assets,
    issue_pages,
    operator_pages,
    project_pages,
    pull_pages,
    recovery_pages,
    source_pages,
    usage_pages,
    webhook_pages,
)
from insight_cloud.app.dashboard.assets import static
from insight_cloud.app.dashboard.frames import error_page, refusal

__all__ = ["error_page", "pages", "refusal", "router", "static"]

_ROBOTS = """User-agent: *
Allow: /sign-in$
Allow: /register$
Allow: /forgot$
Allow: /static/
Disallow: /
"""
"""The longest rule that fits wins. A page whose address holds a secret is in none of them."""

router = APIRouter(include_in_schema=False)
_PAGES = (
    project_pages,
    issue_pages,
    pull_pages,
    source_pages,
    webhook_pages,
    account_pages,
    operator_pages,
    admin_pages,
    recovery_pages,
    usage_pages,
)
for _page in _PAGES:
    router.include_router(_page.router)

pages = frozenset(
    route.path
    for page in _PAGES
    for route in page.router.routes
    if isinstance(route, APIRoute) and "GET" in (route.methods or ())
)
"""The addresses of pages, as templates: what Web Vitals are told apart by."""


@router.get("/favicon.ico")
async def favicon() -> Response:
    """Answer browsers that ask for the old name."""
    icon = assets.named("favicon.svg")
    return Response(icon.body, 200, {"cache-control": "public, max-age=86400"}, icon.media_type)


@router.get("/robots.txt")
async def robots() -> Response:
    """Let search engines read how to get in, and keep them out of what is somebody's own."""
    return PlainTextResponse(_ROBOTS)
