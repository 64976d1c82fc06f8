"""Webhooks and what they were told, over HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field, StrictBool

from insight_cloud.app import api
from insight_cloud.app.accounts.identify import InCaller
from insight_cloud.app.projects import service as projects
from insight_cloud.app.projects.routes import Slug
from insight_cloud.app.webhooks import service
from insight_cloud.app.webhooks.address import URL_LIMIT
from insight_cloud.app.webhooks.models import DeliveryPage, NewWebhook, Webhook

__all__ = ["router"]

router = APIRouter(prefix="/api/v1", tags=["webhooks"])


class WebhookRequest(api.Body):
    """Where to tell which events."""

    url: str = Field(min_length=1, max_length=URL_LIMIT)
    events: list[Literal["analysis.finished", "gate.changed", "issues.judged"]] = Field(
        min_length=1, max_length=3
    )


class WebhookChange(api.Body):
    """Whether to go on telling."""

    enabled: StrictBool


@dataclass(frozen=True, slots=True)
class WebhookList:
    """Every webhook of a project."""

    items: tuple[Webhook, ...]


@dataclass(frozen=True, slots=True)
class Queued:
    """The delivery that will be tried in a moment."""

    delivery: UUID


@router.get(
    "/projects/{project}/webhooks",
    operation_id="list_webhooks",
    response_model=WebhookList,
    responses=api.problems(401, 403, 404, 422),
)
async def list_webhooks(
    request: Request, context: api.InContext, caller: InCaller, project: Slug
) -> Response:
    """List the webhooks of a project; for maintainers."""
    target = await projects.open(context, caller, project, "manage")
    return api.reply(request, WebhookList(await service.listed(context, target)))


@router.post(
    "/projects/{project}/webhooks",
    status_code=201,
    operation_id="add_webhook",
    response_model=NewWebhook,
    responses=api.problems(401, 403, 404, 409, 422),
)
async def add_webhook(
    request: Request, context: api.InContext, caller: InCaller, project: Slug, body: WebhookRequest
) -> Response:
    """Tell a URL of events; its secret is in this answer and never shown again."""
    target = await projects.open(context, caller, project, "manage")
    made = await service.add(context, caller, target, url=body.url, events=body.events)
    answer = api.reply(request, made, status=201)
    answer.headers["cache-control"] = "no-store"
    return answer


@router.patch(
    "/projects/{project}/webhooks/{webhook}",
    status_code=204,
    response_class=Response,
    operation_id="change_webhook",
    responses=api.problems(401, 403, 404, 422),
)
async def change_webhook(
    context: api.InContext, caller: InCaller, project: Slug, webhook: UUID, body: WebhookChange
) -> Response:
    """Pause a webhook, or go on with it; for maintainers."""
    target = await projects.open(context, caller, project, "manage")
    await service.set_enabled(context, caller, target, webhook, enabled=body.enabled)
    return Response(status_code=204)


@router.delete(
    "/projects/{project}/webhooks/{webhook}",
    status_code=204,
    response_class=Response,
    operation_id="remove_webhook",
    responses=api.problems(401, 403, 404, 422),
)
async def remove_webhook(
    context: api.InContext, caller: InCaller, project: Slug, webhook: UUID
) -> Response:
    """Forget a webhook and what it was told; for maintainers."""
    target = await projects.open(context, caller, project, "manage")
    await service.remove(context, caller, target, webhook)
    return Response(status_code=204)


@router.post(
    "/projects/{project}/webhooks/{webhook}/ping",
    status_code=202,
    operation_id="ping_webhook",
    response_model=Queued,
    responses=api.problems(401, 403, 404, 422),
)
async def ping_webhook(
    request: Request, context: api.InContext, caller: InCaller, project: Slug, webhook: UUID
) -> Response:
    """Send a message that says nothing, to see whether it arrives; for maintainers."""
    target = await projects.open(context, caller, project, "manage")
    queued = Queued(await service.ping(context, target, webhook))
    return api.reply(request, queued, status=202)


@router.get(
    "/projects/{project}/webhooks/{webhook}/deliveries",
    operation_id="list_deliveries",
    response_model=DeliveryPage,
    responses=api.problems(401, 403, 404, 422),
)
async def list_deliveries(
    request: Request,
    context: api.InContext,
    caller: InCaller,
    project: Slug,
    webhook: UUID,
    *,
    cursor: api.InCursor = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:
    """List what a webhook was told and what it answered, newest first; for maintainers."""
    target = await projects.open(context, caller, project, "manage")
    page = await service.deliveries(context, target, webhook, after=cursor, limit=limit)
    return api.reply(request, page)


@router.post(
    "/projects/{project}/webhooks/{webhook}/deliveries/{delivery}/redeliver",
    status_code=202,
    operation_id="redeliver",
    response_model=Queued,
    responses=api.problems(401, 403, 404, 422),
)
async def redeliver(
    request: Request,
    context: api.InContext,
    caller: InCaller,
    project: Slug,
    *,
    webhook: UUID,
    delivery: UUID,
) -> Response:
    """Send a message again, as it was and with its id; for maintainers."""
    target = await projects.open(context, caller, project, "manage")
    queued = Queued(await service.redeliver(context, target, webhook, delivery))
    return api.reply(request, queued, status=202)
