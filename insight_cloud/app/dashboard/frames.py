"""One visit of a page: who looks, and every way to answer with the frame around the content."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import quote, urlsplit
from uuid import UUID

from fastapi import Depends, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from markupsafe import Markup

from insight_cloud.app import api
from insight_cloud.app.accounts import Caller, caller_of, refuse_cross_site
from insight_cloud.app.dashboard import assets, render
from insight_cloud.app.dashboard.views import (
    Crumb,
    FailurePage,
    Field,
    Frame,
    Notice,
    Theme,
    Viewer,
)
from insight_cloud.app.observation import Observation
from insight_cloud.core.asgi import Receive, Scope, Send
from insight_cloud.core.errors import InsightError, Invalid, Missing, Unauthenticated
from insight_cloud.ratelimit import DECISION, require

__all__ = [
    "NOTICES",
    "InMember",
    "InVisit",
    "Member",
    "Visit",
    "error_page",
    "faults",
    "go",
    "local",
    "parse_id",
    "refusal",
    "set_theme",
]

_NOTICE_COOKIE = "insight_notice"
_THEME_COOKIE = "insight_theme"
_YEAR_SECONDS = 365 * 24 * 3600
_THEMES: tuple[Theme, ...] = ("auto", "light", "dark")

NOTICES = {
    "saved": "Saved.",
    "created": "The project is there. Its first analysis is one command away.",
    "deleted": "The project is deleted.",
    "member-saved": "The members are as you wanted.",
    "member-removed": "Removed from the project.",
    "gate-saved": "The gate is as you wanted, from the next analysis on.",
    "user-changed": "Done, from the next request on.",
    "queued": "It is sent in a moment.",
    "webhook-removed": "The webhook is gone; it is told nothing any more.",
    "cancelled": "The analysis is cancelled.",
    "judged": "Judged, on every branch of the project.",
    "suppressed": "Suppressed, on every branch of the project.",
    "unsuppressed": "The suppression is gone; its issues count again.",
    "left": "You have left the project.",
    "token-revoked": "The token is revoked; nothing accepts it any more.",
    "session-ended": "Signed out there.",
    "signed-out": "You are signed out.",
    "welcome": "Welcome.",
    "letter-sent": "A letter with a link is on its way.",
    "verified": "Your address is confirmed.",
}
"""What a page may say after a form, by the word in the cookie: nobody can make it say more."""

_HEADERS = {
    "cache-control": "private, no-cache",
    "vary": "cookie",
}

_HEADINGS = {
    403: "This is not allowed",
    404: "There is nothing here",
    405: "This page does not take that",
    409: "Something changed meanwhile",
    422: "This cannot be read",
    429: "Too many requests",
    500: "The fault is ours",
    503: "Not available right now",
}


@dataclass(frozen=True, slots=True)
class Visit:
    """One request for a page, by somebody or nobody."""

    request: Request
    context: api.Context
    caller: Caller | None

    def show(
        self,
        template: str,
        view: Any,
        title: str,
        *,
        crumbs: Iterable[Crumb] = (),
        status: int = 200,
        path: str = "",
        notice: Notice | None = None,
        secret: bool = False,
        description: str = "",
    ) -> Response:
        """Answer with a page.

        `path` is where it is read; `secret` keeps it out of every cache; with a `description`
        search engines may show it.
        """
        said = self.request.cookies.get(_NOTICE_COOKIE)
        if notice is None and said in NOTICES:
            notice = Notice("done", NOTICES[said])
        frame = Frame(
            title=title,
            now=self.context.now(),
            path=path or _path_of(self.request),
            viewer=_viewer(self.caller),
            theme=_theme(self.request),
            notice=notice,
            crumbs=tuple(crumbs),
            may_register=self.context.settings.accounts.registration == "open",
            vitals=_vitals(self.request),
            logo=_logo(self.request),
            description=description,
        )
        response = HTMLResponse(render.page(template, frame, view), status, _HEADERS)
        response.headers["link"] = assets.preload()
        # With each page the choice holds for another year.
        set_theme(response, self.request, frame.theme)
        if secret:
            response.headers["cache-control"] = "no-store"
        if said is not None:
            secure = self.request.url.scheme == "https"
            response.delete_cookie(_NOTICE_COOKIE, path="/", secure=secure, samesite="lax")
        return response


@dataclass(frozen=True, slots=True)
class Member(Visit):
    """A visit by somebody who is signed in."""

    caller: Caller


async def _anybody(request: Request, context: api.InContext) -> Visit:
    # Also for forms that need no cookie, such as signing in: another site must not send them.
    refuse_cross_site(request)
    caller = await caller_of(request, context)
    request.state.caller = caller
    return Visit(request, context, caller)


async def _somebody(visit: Annotated[Visit, Depends(_anybody)]) -> Member:
    if visit.caller is None:
        raise Unauthenticated("sign in to see this page")
    return Member(visit.request, visit.context, visit.caller)


InVisit = Annotated[Visit, Depends(_anybody)]
InMember = Annotated[Member, Depends(_somebody)]


def go(path: str, *, done: str = "") -> Response:
    """Send the browser to `path` after a form; `done` is the word of what that page says then."""
    response = RedirectResponse(path, 303, {"cache-control": "no-store"})
    if done:
        response.set_cookie(_NOTICE_COOKIE, done, max_age=60, httponly=True, samesite="lax")
    return response


def set_theme(response: Response, request: Request, theme: str) -> None:
    """Keep the choice of colours for a year; anything else than a theme is nothing chosen."""
    if theme in _THEMES:
        response.set_cookie(
            _THEME_COOKIE,
            theme,
            max_age=_YEAR_SECONDS,
            httponly=True,
            samesite="lax",
            secure=request.url.scheme == "https",
        )


def local(text: str) -> str:
    """Return `text` if it is a path of ours, else "/": no link of ours leads to another site.

    Browsers read a backslash as a slash and drop tabs and line breaks, so none may be there.
    """
    parts = urlsplit(text)
    odd = "\\" in text or not text.isprintable()
    if odd or parts.scheme or parts.netloc or not text.startswith("/") or text.startswith("//"):
        return "/"
    return text


def parse_id(text: str) -> UUID:
    """The id in an address.

    Raises:
        Missing: it is none, so that there is nothing at that address.
    """
    try:
        return UUID(text)
    except ValueError as error:
        raise Missing("that address does not exist") from error


def faults(error: InsightError, values: dict[str, str]) -> dict[str, Field]:
    """The fields of a form that was refused: what was typed, and what is wrong with it.

    An error that names no field of the form stands under "", to be shown above it.
    """
    form = {name: Field(value) for name, value in values.items()}
    named = error.problems if isinstance(error, Invalid) else ()
    for pointer, detail in named:
        name = pointer.rpartition("/")[2]
        if name in form:
            form[name] = Field(form[name].value, _sentence(detail))
    if not any(field.error for field in form.values()):
        form[""] = Field("", _sentence(str(error)))
    return form


def error_page(request: Request, problem: api.Problem, headers: dict[str, str]) -> Response:
    """Say to a person what went wrong; who is not signed in is sent there first."""
    if problem.status == 401:
        wanted = _path_of(request) if request.method == "GET" else "/"
        target = "/sign-in" if wanted == "/" else f"/sign-in?next={quote(wanted, safe='')}"
        return RedirectResponse(target, 303, {"cache-control": "no-store"})
    heading = _HEADINGS.get(problem.status, problem.title)
    context: api.Context = request.app.state.context
    visit = Visit(request, context, getattr(request.state, "caller", None))
    path = _path_of(request) if request.method == "GET" else "/"
    detail = "that address does not exist" if _bare(problem) else problem.detail
    view = FailurePage(problem.status, heading, _sentence(detail))
    response = visit.show("failure.html", view, heading, status=problem.status, path=path)
    response.headers.update(headers | {"cache-control": "no-store"})
    return response


async def refusal(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer, as an ASGI application, somebody whom the rate limits do not admit."""
    try:
        require(scope[DECISION])
    except InsightError as error:
        problem = api.Problem(error.title, error.http_status, str(error))
        page = error_page(Request(scope), problem, {})
        await page(scope, receive, send)


def _bare(problem: api.Problem) -> bool:
    """A 404 of the router says no more than its title."""
    return problem.status == 404 and problem.detail == problem.title


def _path_of(request: Request) -> str:
    query = request.url.query
    return request.url.path + (f"?{query}" if query else "")


def _vitals(request: Request) -> Markup:
    """The script that measures this page; its address is known as a template only."""
    route = getattr(request.scope.get("route"), "path", None)
    if route is None or request.method != "GET":
        return Markup()
    observation: Observation = request.app.state.observation
    return Markup(observation.vitals_tag(route))  # noqa: S704 - made and escaped by the component


def _logo(request: Request) -> Markup:
    return Markup(request.app.state.logo)  # noqa: S704 - made and escaped by the component


def _viewer(caller: Caller | None) -> Viewer | None:
    return None if caller is None else Viewer(caller.name, caller.email, caller.is_admin)


def _theme(request: Request) -> Theme:
    chosen = request.cookies.get(_THEME_COOKIE)
    return next((theme for theme in _THEMES if theme == chosen), "auto")


def _sentence(text: str) -> str:
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else f"{text}."
