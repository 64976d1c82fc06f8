"""Usage over HTTP."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from insight_cloud.app.accounts import policy
from insight_cloud.app.accounts.identify import InCaller
from insight_cloud.app.api import InContext, problems, reply
from insight_cloud.app.quotas import service
from insight_cloud.app.quotas.models import Overview, Usage

__all__ = ["router"]

router = APIRouter(prefix="/api/v1", tags=["usage"])


@router.get("/usage", operation_id="get_usage", response_model=Usage, responses=problems(401, 403))
async def get_usage(request: Request, context: InContext, caller: InCaller) -> Response:
    """Say what the caller uses of its limits, and the uploads of the projects that it sees."""
    return reply(request, await service.usage(context, caller))


@router.get(
    "/admin/usage",
    operation_id="get_usage_of_all",
    response_model=Overview,
    responses=problems(401, 403),
)
async def get_usage_of_all(request: Request, context: InContext, caller: InCaller) -> Response:
    """Say what everybody uses, the most first."""
    policy.administer(caller)
    return reply(request, await service.overview(context))
