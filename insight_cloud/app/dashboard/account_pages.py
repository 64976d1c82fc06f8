"""Pages about people: signing in and out, accounts, tokens, sessions, the choice of colours."""

from __future__ import annotations

import asyncio
import contextlib

from fastapi import APIRouter, Response
from fastapi.responses import RedirectResponse

from insight_cloud.app.accounts import forget, oidc, recovery, remember, secret_of
from insight_cloud.app.accounts import service as accounts
from insight_cloud.app.accounts.provider import Provider
from insight_cloud.app.dashboard import present, views
from insight_cloud.app.dashboard.forms import Form, days_of, scope_options, scopes_of
from insight_cloud.app.dashboard.frames import (
    InMember,
    InVisit,
    Member,
    Visit,
    faults,
    go,
    local,
    parse_id,
    set_theme,
)
from insight_cloud.app.dashboard.views import Field
from insight_cloud.core.errors import (
    Conflict,
    Invalid,
    Missing,
    Refused,
    Unauthenticated,
    Unavailable,
)

__all__ = ["router"]

router = APIRouter()

_SENT_CHARACTERS = 4096


# -- in and out ------------------------------------------------------------------------------


@router.get("/sign-in")
async def sign_in_page(visit: InVisit, next: str = "/") -> Response:  # noqa: A002 - as in the address
    """Show the form that signs in, or go on when that has happened."""
    if visit.caller is not None:
        return go(local(next))
    view = _sign_in_view(visit, local(next))
    return visit.show(
        "sign_in.html",
        view,
        "Sign in",
        path="/sign-in",
        description="Sign in to Insight: findings, trends and quality gates of your projects.",
    )


def _sign_in_view(
    visit: Visit, next_path: str, form: dict[str, Field] | None = None
) -> views.SignIn:
    by = visit.context.settings.oidc.name if oidc.offered(visit.context) else ""
    return views.SignIn(next=next_path, by=by, form=form or {})


@router.post("/sign-in")
async def sign_in(visit: InVisit, form: Form) -> Response:
    """Begin a session."""
    target = local(form.text("next") or "/")
    try:
        session = await accounts.sign_in(
            visit.context,
            email=form.text("email"),
            password=form.secret("password"),
            user_agent=_agent(visit),
        )
    except Unauthenticated as error:
        view = _sign_in_view(visit, target, faults(error, form.only("email")))
        return visit.show("sign_in.html", view, "Sign in", status=422, path="/sign-in")
    response = go(target)
    remember(response, visit.request, session)
    return response


@router.get("/sign-in/oidc")
async def sign_in_elsewhere(visit: InVisit, next: str = "/") -> Response:  # noqa: A002 - as in the address
    """Send the browser to the other service."""
    begun = await oidc.begin(visit.context, _provider(visit), next_path=local(next))
    response = RedirectResponse(begun.url, 303, {"cache-control": "no-store"})
    response.set_cookie(
        oidc.COOKIE,
        begun.browser,
        max_age=begun.seconds,
        path="/sign-in/oidc",
        httponly=True,
        samesite="lax",  # it comes back by a link from there
        secure=visit.request.url.scheme == "https",
    )
    return response


@router.get(oidc.CALLBACK)
async def back_from_elsewhere(visit: InVisit) -> Response:
    """Begin a session for who comes back from the other service, or say why not."""
    sent = visit.request.query_params
    came = oidc.Came(
        state=sent.get("state", "")[:_SENT_CHARACTERS],
        browser=visit.request.cookies.get(oidc.COOKIE, "")[:_SENT_CHARACTERS],
        code=sent.get("code", "")[:_SENT_CHARACTERS],
        error=sent.get("error", "")[:100],
        issuer=sent.get("iss"),
        user_agent=_agent(visit),
    )
    try:
        session, target = await oidc.finish(visit.context, _provider(visit), came)
    except (Unauthenticated, Refused, Unavailable) as error:
        view = _sign_in_view(visit, "/", faults(error, {}))
        status = 503 if isinstance(error, Unavailable) else 403
        response = visit.show(
            "sign_in.html", view, "Sign in", status=status, path="/sign-in", secret=True
        )
    else:
        response = go(local(target))
        remember(response, visit.request, session)
    response.delete_cookie(oidc.COOKIE, path="/sign-in/oidc", httponly=True, samesite="lax")
    return response


def _provider(visit: Visit) -> Provider:
    found: Provider | None = visit.request.app.state.provider
    if found is None:
        raise Missing("nobody signs in by another service here")
    return found


@router.post("/sign-out")
async def sign_out(visit: InVisit) -> Response:
    """End the session of this browser; nobody signed in is what was wanted, too."""
    text = secret_of(visit.request)
    if text is not None:
        with contextlib.suppress(Refused):  # an API token stays: it has no session
            await accounts.sign_out(visit.context, text)
    response = go("/sign-in", done="signed-out")
    forget(response, visit.request)
    return response


@router.get("/register")
async def register_page(visit: InVisit) -> Response:
    """Show the form for a new account where registration is open."""
    _refuse_closed(visit)
    if visit.caller is not None:
        return go("/")
    return visit.show(
        "register.html",
        views.Register(),
        "Register",
        description="Open an account at Insight and follow the code quality of your projects.",
    )


@router.post("/register")
async def register(visit: InVisit, form: Form) -> Response:
    """Make an account and sign in."""
    values = form.only("name", "email", "password")
    password = form.secret("password")
    try:
        await accounts.register(
            visit.context, email=values["email"], name=values["name"], password=password
        )
        session = await accounts.sign_in(
            visit.context, email=values["email"], password=password, user_agent=_agent(visit)
        )
    except (Invalid, Conflict) as error:
        view = views.Register(form=faults(error, values))
        return visit.show("register.html", view, "Register", status=422, path="/register")
    response = go("/", done="welcome")
    remember(response, visit.request, session)
    return response


def _refuse_closed(visit: Visit) -> None:
    if visit.context.settings.accounts.registration != "open":
        raise Refused("registration is closed; ask an administrator to add you")


@router.get("/welcome/{token}")
async def welcome_page(visit: InVisit, token: str) -> Response:
    """Show what a one-time link is for, without using it."""
    link = await accounts.find_link(visit.context, token)
    view = views.Welcome(token=token, purpose=link.purpose, email=link.email or "")
    return visit.show("welcome.html", view, "Welcome", secret=True)


@router.post("/welcome/{token}")
async def welcome(visit: InVisit, token: str, form: Form) -> Response:
    """Use a one-time link and sign in."""
    link = await accounts.find_link(visit.context, token)
    values = form.only("name", "email", "password")
    try:
        session = await accounts.redeem(
            visit.context,
            token,
            password=form.secret("password"),
            email=values["email"],
            name=values["name"],
            user_agent=_agent(visit),
        )
    except (Invalid, Conflict) as error:
        view = views.Welcome(
            token=token,
            purpose=link.purpose,
            email=link.email or "",
            form=faults(error, values),
        )
        return visit.show("welcome.html", view, "Welcome", status=422, secret=True)
    response = go("/", done="welcome")
    remember(response, visit.request, session)
    return response


def _agent(visit: Visit) -> str:
    return visit.request.headers.get("user-agent", "")


# -- colours ---------------------------------------------------------------------------------


@router.post("/theme")
async def theme(visit: InVisit, form: Form) -> Response:
    """Keep the choice of colours in this browser, and go back."""
    response = go(local(form.text("next") or "/"))
    set_theme(response, visit.request, form.text("theme"))
    return response


# -- the viewer's account --------------------------------------------------------------------


@router.get("/settings")
async def account_page(visit: InMember) -> Response:
    """Show the viewer's tokens and sessions."""
    return await _account_page(visit)


@router.post("/settings/tokens")
async def add_token(visit: InMember, form: Form) -> Response:
    """Make an API token, and show it this one time."""
    try:
        made = await accounts.add_token(
            visit.context,
            visit.caller,
            name=form.text("token_name"),
            scopes=scopes_of(form.texts("token_scopes")),
            days=days_of(form.text("token_days")),
        )
    except (Invalid, Conflict) as error:
        return await _account_page(visit, form=form.token_faults(error), status=422)
    return await _account_page(visit, new_token=made.token)


@router.post("/settings/tokens/{token}/revoke")
async def revoke_token(visit: InMember, token: str) -> Response:
    """Revoke an API token."""
    await accounts.revoke_token(visit.context, visit.caller, parse_id(token))
    return go("/settings", done="token-revoked")


@router.post("/settings/sessions/{session}/end")
async def end_session(visit: InMember, session: str) -> Response:
    """Sign out of one browser; this one goes to the form that signs in."""
    await accounts.end_browser(visit.context, visit.caller, session)
    # When it was this one, the page that follows asks to sign in.
    return go("/settings", done="session-ended")


async def _account_page(
    visit: Member,
    *,
    form: dict[str, Field] | None = None,
    status: int = 200,
    new_token: str = "",
) -> Response:
    context = visit.context
    account, tokens, browsers = await asyncio.gather(
        accounts.find_user(context, visit.caller.email),
        accounts.list_tokens(context, visit.caller),
        accounts.list_browsers(context, visit.caller, secret_of(visit.request) or ""),
    )
    view = views.Account(
        tokens=tuple(present.token_line(token, visit.caller) for token in tokens),
        scopes=scope_options(chosen=("read",)),
        sessions=tuple(
            views.SessionLine(
                one.id, present.agent(one.user_agent), one.created_at, one.expires_at, one.is_this
            )
            for one in browsers
        ),
        server_url=context.settings.server.url,
        form=form or {},
        new_token=new_token,
        is_verified=account.verified_at is not None,
        sends_mail=recovery.sends_mail(context),
    )
    return visit.show(
        "account.html",
        view,
        "Your account",
        status=status,
        path="/settings",
        secret=bool(new_token),
    )
