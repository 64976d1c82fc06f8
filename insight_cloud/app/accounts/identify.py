"""Who sent this request: the secret in its header or cookie, and the guard against other sites.

Pages and API share it, so that there is one answer to "who is asking".
"""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Response, Security
from fastapi.requests import HTTPConnection
from fastapi.security import APIKeyCookie, HTTPBearer

from insight_cloud.app.accounts import service
from insight_cloud.app.accounts.models import Caller, Session
from insight_cloud.app.api import Context, InContext
from insight_cloud.core.errors import Refused, Unauthenticated

__all__ = [
    "CALLER",
    "COOKIE",
    "InCaller",
    "caller_of",
    "forget",
    "known",
    "refuse_cross_site",
    "remember",
    "secret_of",
]

COOKIE = "insight_session"

CALLER = "insight.caller"
"""Where the scope of a request has its caller (or None), once somebody has looked."""

_SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_bearer = HTTPBearer(auto_error=False, description="An access token, or an API token (`ins_…`).")
_cookie = APIKeyCookie(name=COOKIE, auto_error=False, description="A browser session.")


async def caller_of(connection: HTTPConnection, context: Context) -> Caller | None:
    """Say who is asking; None when nobody is known to be.

    A Bearer token wins over a cookie, even when it is not valid: a program that sends one
    wants to be that token, not whoever is signed in beside it.

    Raises:
        Refused: another site's page made the browser send its cookie.
    """
    if _bearer_of(connection) is None and COOKIE in connection.cookies:
        refuse_cross_site(connection)
    if CALLER in connection.scope:
        found: Caller | None = connection.scope[CALLER]
        return found
    return await known(connection, context)


async def known(connection: HTTPConnection, context: Context) -> Caller | None:
    """Say whose secret the request carries, wherever it comes from. Grants nothing by itself."""
    bearer = _bearer_of(connection)
    if bearer is not None:
        return await service.identify(context, bearer, "access", "token")
    cookie = connection.cookies.get(COOKIE)
    return None if cookie is None else await service.identify(context, cookie, "session")


async def authenticated(
    connection: HTTPConnection,
    context: InContext,
    _token: Annotated[object, Security(_bearer)],
    _session: Annotated[object, Security(_cookie)],
) -> Caller:
    """Say who is asking (the two unread parameters describe it in the OpenAPI).

    Raises:
        Unauthenticated: nobody is known to be.
        Refused: another site's page made the browser send its cookie.
    """
    caller = await caller_of(connection, context)
    if caller is None:
        raise Unauthenticated("sign in, or send a valid token as `Authorization: Bearer …`")
    return caller


InCaller = Annotated[Caller, Depends(authenticated)]


def secret_of(connection: HTTPConnection) -> str | None:
    """The secret that the request was authenticated by, as `caller_of` chose it."""
    bearer = _bearer_of(connection)
    return bearer if bearer is not None else connection.cookies.get(COOKIE)


def refuse_cross_site(connection: HTTPConnection) -> None:
    """Let an unsafe request pass only from our own pages.

    Browsers say where a request comes from: in `Sec-Fetch-Site` on https and localhost, and in
    `Origin` everywhere. A browser sends one of them with every unsafe request, so a request
    with neither is refused; programs send a token instead of the cookie.

    Raises:
        Refused: it comes from another site, or does not say where from.
    """
    if connection.scope.get("method", "GET") in _SAFE and connection.scope["type"] == "http":
        return
    site = connection.headers.get("sec-fetch-site")
    if site is None:
        origin = urlsplit(connection.headers.get("origin", "")).netloc
        from_here = origin != "" and origin == connection.headers.get("host")
    else:
        from_here = site in {"same-origin", "none"}
    if not from_here:
        raise Refused("this request comes from another site; open our page and try again")


def remember(response: Response, connection: HTTPConnection, session: Session) -> None:
    """Set the cookie of a session that has just begun."""
    response.set_cookie(
        COOKIE,
        session.secret,
        expires=session.expires_at,
        path="/",
        httponly=True,
        samesite="lax",
        secure=_is_https(connection),
    )


def forget(response: Response, connection: HTTPConnection) -> None:
    """Delete the session's cookie."""
    response.delete_cookie(
        COOKIE, path="/", httponly=True, samesite="lax", secure=_is_https(connection)
    )


def _bearer_of(connection: HTTPConnection) -> str | None:
    scheme, _, text = connection.headers.get("authorization", "").partition(" ")
    return text.strip() if scheme.lower() == "bearer" else None


def _is_https(connection: HTTPConnection) -> bool:
    return connection.url.scheme in {"https", "wss"}
