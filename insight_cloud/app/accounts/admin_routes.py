"""What administrators do over HTTP: people, everybody's tokens, the audit log."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import StrictBool

from insight_cloud.app.accounts import audit, policy, service
from insight_cloud.app.accounts.audit import AuditPage
from insight_cloud.app.accounts.identify import InCaller
from insight_cloud.app.accounts.models import ApiToken, User
from insight_cloud.app.accounts.rules import EMAIL_LIMIT
from insight_cloud.app.api import Body, InContext, InCursor, problems, reply

__all__ = ["router"]

router = APIRouter(prefix="/api/v1/admin", tags=["administration"])

Address = Annotated[str, Path(min_length=3, max_length=EMAIL_LIMIT, description="The address.")]


class UserChange(Body):
    """What to change of a user; what is left out or null stays as it is."""

    disabled: StrictBool | None = None
    is_admin: StrictBool | None = None


@router.get(
    "/users", operation_id="list_users", response_model=list[User], responses=problems(401, 403)
)
async def list_users(request: Request, context: InContext, caller: InCaller) -> Response:
    """List everybody who has an account, by address."""
    policy.administer(caller)
    return reply(request, await service.list_users(context))


@router.patch(
    "/users/{user}",
    operation_id="change_user",
    response_model=User,
    responses=problems(401, 403, 404, 409, 422),
)
async def change_user(
    request: Request, context: InContext, caller: InCaller, user: Address, body: UserChange
) -> Response:
    """Disable or enable a user, make an administrator or unmake one."""
    policy.administer(caller)
    changed = await service.change_user(
        context, caller, user, disabled=body.disabled, is_admin=body.is_admin
    )
    return reply(request, changed)


@router.get(
    "/tokens",
    operation_id="list_all_tokens",
    response_model=list[ApiToken],
    responses=problems(401, 403),
)
async def list_all_tokens(request: Request, context: InContext, caller: InCaller) -> Response:
    """List every API token, whosever, without its secret (the newest 1,000)."""
    policy.administer(caller)
    return reply(request, await service.list_all_tokens(context))


@router.delete(
    "/tokens/{token_id}",
    status_code=204,
    response_class=Response,
    operation_id="revoke_any_token",
    responses=problems(401, 403, 404, 422),
)
async def revoke_any_token(context: InContext, caller: InCaller, token_id: UUID) -> Response:
    """Revoke an API token, whosever; it stops working at once."""
    policy.administer(caller)
    await service.revoke_any_token(context, caller, token_id)
    return Response(status_code=204)


@router.get(
    "/audit",
    operation_id="list_audit_log",
    response_model=AuditPage,
    responses=problems(401, 403, 422),
)
async def list_audit_log(
    request: Request,
    context: InContext,
    caller: InCaller,
    *,
    event: Annotated[str | None, Query(max_length=100)] = None,
    actor: Annotated[str | None, Query(max_length=EMAIL_LIMIT)] = None,
    project: Annotated[str | None, Query(max_length=64)] = None,
    cursor: InCursor = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> Response:
    """Read who did what that matters for security, newest first; a year of it is kept."""
    policy.administer(caller)
    page = await audit.listed(
        context, event=event, actor=actor, project=project, after=cursor, limit=limit
    )
    return reply(request, page)
