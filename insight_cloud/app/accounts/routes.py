"""Accounts over HTTP: registering, tokens, and who the caller is."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import Field, StrictInt

from insight_cloud.app.accounts import identify, recovery, service
from insight_cloud.app.accounts.identify import InCaller
from insight_cloud.app.accounts.models import ApiToken, Me, NewApiToken, Scope, Tokens, User
from insight_cloud.app.accounts.rules import EMAIL_LIMIT, NAME_LIMIT, PASSWORD_LIMITS, SLUG_PATTERN
from insight_cloud.app.api import Body, InContext, problems, reply
from insight_cloud.core.errors import Unauthenticated

__all__ = ["router"]

router = APIRouter(prefix="/api/v1", tags=["accounts"])

_SECRET_LIMIT = 100
_LONGEST_DAYS = 3650

_Email = Annotated[str, Field(min_length=3, max_length=EMAIL_LIMIT)]
_Name = Annotated[str, Field(min_length=1, max_length=NAME_LIMIT)]
_Secret = Annotated[str, Field(min_length=1, max_length=_SECRET_LIMIT)]


class Registration(Body):
    """Somebody who wants an account."""

    email: _Email
    name: _Name
    password: str = Field(min_length=PASSWORD_LIMITS[0], max_length=PASSWORD_LIMITS[1])


class Credentials(Body):
    """What proves who somebody is."""

    email: str = Field(min_length=1, max_length=EMAIL_LIMIT)
    password: str = Field(min_length=1, max_length=PASSWORD_LIMITS[1])


class PasswordRequest(Body):
    """Who forgot a password."""

    email: str = Field(min_length=1, max_length=EMAIL_LIMIT)


class Verification(Body):
    """The secret at the end of a link that was mailed."""

    link: _Secret


class RefreshRequest(Body):
    """The refresh token that came with the last access token."""

    refresh_token: _Secret


class LogoutRequest(Body):
    """The refresh token of the family to end, where no access token is valid any more."""

    refresh_token: _Secret


class TokenRequest(Body):
    """What a new API token may do, where, and for how long (null: until it is revoked)."""

    name: _Name
    scopes: list[Scope] = Field(min_length=1, max_length=4)
    project: str | None = Field(default=None, max_length=64, pattern=SLUG_PATTERN)
    days: StrictInt | None = Field(default=365, ge=1, le=_LONGEST_DAYS)


@router.post(
    "/auth/register",
    status_code=201,
    operation_id="register",
    response_model=User,
    responses=problems(403, 409, 422),
)
async def register(request: Request, context: InContext, body: Registration) -> Response:
    """Make an account, where registration is open. It does not sign in."""
    user = await service.register(context, email=body.email, name=body.name, password=body.password)
    return reply(request, user, status=201)


@router.post(
    "/auth/token",
    operation_id="create_session_tokens",
    response_model=Tokens,
    responses=problems(401, 422),
)
async def create_session_tokens(
    request: Request, context: InContext, body: Credentials
) -> Response:
    """Exchange e-mail and password for an access token (15 minutes) and a refresh token."""
    tokens = await service.tokens(
        context,
        email=body.email,
        password=body.password,
        user_agent=request.headers.get("user-agent", ""),
    )
    return _secret(reply(request, tokens))


@router.post(
    "/auth/refresh",
    operation_id="refresh",
    response_model=Tokens,
    responses=problems(401, 422),
)
async def refresh(request: Request, context: InContext, body: RefreshRequest) -> Response:
    """Exchange a refresh token for new tokens. It works once; used twice, it ends them all."""
    return _secret(reply(request, await service.refresh(context, body.refresh_token)))


@router.post(
    "/auth/logout",
    status_code=204,
    response_class=Response,
    operation_id="logout",
    responses=problems(401, 403, 422),
)
async def logout(
    request: Request, context: InContext, body: LogoutRequest | None = None
) -> Response:
    """End the session of the cookie, or every token of the family the sent one belongs to."""
    secret = body.refresh_token if body else await _proved(request, context)
    await service.sign_out(context, secret)
    response = Response(status_code=204, headers={"cache-control": "no-store"})
    if body is None:
        identify.forget(response, request)
    return response


@router.post(
    "/auth/password-reset",
    status_code=202,
    response_class=Response,
    operation_id="ask_for_password",
    responses=problems(403, 422),
)
async def ask_for_password(context: InContext, body: PasswordRequest) -> Response:
    """Send a link for a new password to an address, if somebody has it; nobody is told which."""
    await recovery.ask_for_password(context, body.email)
    return Response(status_code=202)


@router.post(
    "/auth/verify-email",
    status_code=204,
    response_class=Response,
    operation_id="verify_email",
    responses=problems(404, 422),
)
async def verify_email(context: InContext, body: Verification) -> Response:
    """Use a link that shows that an address is one's own."""
    await recovery.verify(context, body.link)
    return Response(status_code=204)


@router.get("/me", operation_id="me", response_model=Me, responses=problems(401))
async def me(request: Request, caller: InCaller) -> Response:
    """Say who the caller is and what it may do."""
    return reply(
        request,
        Me(
            kind=caller.kind,
            id=caller.public_id,
            email=caller.email,
            name=caller.name,
            is_admin=caller.is_admin,
            scopes=sorted(caller.scopes),
            project=caller.project,
        ),
    )


@router.get(
    "/tokens",
    operation_id="list_tokens",
    response_model=list[ApiToken],
    responses=problems(401, 403),
)
async def list_tokens(request: Request, context: InContext, caller: InCaller) -> Response:
    """List the caller's API tokens (at most 100), without their secrets."""
    return reply(request, await service.list_tokens(context, caller))


@router.post(
    "/tokens",
    status_code=201,
    operation_id="create_token",
    response_model=NewApiToken,
    responses=problems(401, 403, 404, 409, 422),
)
async def create_token(
    request: Request, context: InContext, caller: InCaller, body: TokenRequest
) -> Response:
    """Make an API token. Its secret is in this answer and never shown again."""
    token = await service.add_token(
        context,
        caller,
        name=body.name,
        scopes=body.scopes,
        project=body.project,
        days=body.days,
    )
    return _secret(reply(request, token, status=201))


@router.delete(
    "/tokens/{token_id}",
    status_code=204,
    response_class=Response,
    operation_id="revoke_token",
    responses=problems(401, 403, 404, 422),
)
async def revoke_token(context: InContext, caller: InCaller, token_id: UUID) -> Response:
    """Revoke an API token; it stops working at once."""
    await service.revoke_token(context, caller, token_id)
    return Response(status_code=204)


async def _proved(request: Request, context: InContext) -> str:
    """The secret of a caller that is known."""
    secret = identify.secret_of(request)
    if secret is None or await identify.caller_of(request, context) is None:
        raise Unauthenticated("nobody is signed in")
    return secret


def _secret(response: Response) -> Response:
    """Keep an answer that holds a secret out of every cache (RFC 6749, 5.1)."""
    response.headers["cache-control"] = "no-store"
    return response
