"""Every page's address, and the files that pages need."""

from __future__ import annotations

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from fastapi.routing import APIRoute

from insight_cloud.app.dashboard import (
    account_pages,
    assets,
    issue_pages,
    operator_pages,
    project_pages,
    pull_pages,
)
from insight_cloud.app.dashboard.frames import error_page, refusal
from insight_cloud.core.asgi import Receive, Scope, Send, header

__all__ = ["error_page", "pages", "refusal", "router", "static"]

router = APIRouter(include_in_schema=False)
_PAGES = (project_pages, issue_pages, pull_pages, account_pages, operator_pages)
for _page in _PAGES:
    router.include_router(_page.router)

pages = frozenset(
    route.path
    for page in _PAGES
    for route in page.router.routes
    if isinstance(route, APIRoute) and "GET" in (route.methods or ())
)
"""The addresses of pages, as templates: what Web Vitals are told apart by."""

_FOR_EVER = "public, max-age=31536000, immutable"


@router.get("/favicon.ico")
async def favicon() -> Response:
    """Answer browsers that ask for the old name."""
    icon = assets.named("favicon.svg")
    return Response(icon.body, 200, {"cache-control": "public, max-age=86400"}, icon.media_type)


@router.get("/robots.txt")
async def robots() -> Response:
    """Keep search engines out: everything here is somebody's own."""
    return PlainTextResponse("User-agent: *\nDisallow: /\n")


async def static(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve the pages' files (an ASGI application to mount at /static)."""
    asset = assets.find(scope["path"]) if scope["method"] in {"GET", "HEAD"} else None
    if asset is None:
        missing = PlainTextResponse("Not found", 404, {"cache-control": "no-store"})
        await missing(scope, receive, send)
        return
    headers = {"cache-control": _FOR_EVER, "vary": "accept-encoding", **_NO_SNIFFING}
    body = asset.body
    if "gzip" in (header(scope, b"accept-encoding") or ""):
        body = asset.gzipped
        headers["content-encoding"] = "gzip"
    response = Response(body, 200, headers, asset.media_type)
    await response(scope, receive, send)


_NO_SNIFFING = {"x-content-type-options": "nosniff"}
