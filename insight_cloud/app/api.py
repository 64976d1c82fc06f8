"""The HTTP kernel that every feature shares: the context, problem documents, replies, cursors."""

from __future__ import annotations

import base64
import binascii
import hashlib
import logging
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.requests import HTTPConnection
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException

from insight_cloud import wiring
from insight_cloud.cache import Cache
from insight_cloud.core.asgi import App, Message, Receive, Scope, Send, header, send_problem
from insight_cloud.core.errors import (
    Conflict,
    InsightError,
    Invalid,
    Missing,
    RateLimited,
    Refused,
    TooLarge,
    Unauthenticated,
    Unavailable,
)
from insight_cloud.core.turns import Turns
from insight_cloud.notify import Mail
from insight_cloud.wiring import Limits

if TYPE_CHECKING:
    from insight_cloud.database import Pool
    from insight_cloud.settings import Settings
    from insight_cloud.wiring import Components

__all__ = [
    "Body",
    "BodyLimit",
    "Context",
    "ErrorPage",
    "Fault",
    "InContext",
    "InCursor",
    "Problem",
    "cursor",
    "install",
    "position",
    "problems",
    "reply",
]

log = logging.getLogger("insight.http")
PROBLEM_JSON = "application/problem+json"


_WAITING_UPLOADS = 64


def _now() -> datetime:
    return datetime.now(UTC)


def _uploads(at_once: int) -> Turns:
    return Turns("uploads", at_once=at_once, waiting=_WAITING_UPLOADS)


@dataclass(frozen=True, slots=True)
class Context:
    """What a feature needs of the world: the open components, the settings, the clock."""

    pool: Pool
    settings: Settings
    now: Callable[[], datetime] = _now
    cache: Cache = field(default_factory=Cache)
    limits: Limits = field(default_factory=Limits)
    uploads: Turns = field(default_factory=lambda: _uploads(2))
    """Uploads compete with pages for the processor and for connections: a few at a time."""
    mail: Mail | None = None
    """Who writes to people; None where no mail server is set."""

    @classmethod
    def of(cls, components: Components, settings: Settings) -> Context:
        """The context of a process whose components are open."""
        return cls(
            components.pool,
            settings,
            cache=components.cache,
            limits=components.limits,
            uploads=_uploads(settings.analyses.at_once),
            mail=wiring.mail(settings),
        )


def _context(connection: HTTPConnection) -> Context:
    context: Context = connection.app.state.context
    return context


InContext = Annotated[Context, Depends(_context)]
InCursor = Annotated[str | None, Query(max_length=200, description="From the previous page.")]


class Body(BaseModel):
    """What a request sends: nothing but the fields that are described.

    Numbers and booleans are declared as `StrictInt` and `StrictBool`: the text "yes" is neither.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")


# -- replies ---------------------------------------------------------------------------------


def reply(request: Request, value: Any, *, status: int = 200) -> Response:
    """Answer with `value` as JSON. A GET carries an ETag, and is 304 when the client has it.

    Handlers declare the type of `value` as `response_model`, so it stands in the OpenAPI; the
    bytes are msgspec's, which costs a fraction of validating what we have just built.
    """
    body = msgspec.json.encode(value)
    headers = {"cache-control": "private, no-cache"}
    if request.method in {"GET", "HEAD"}:
        headers["etag"] = f'"{hashlib.blake2b(body, digest_size=16).hexdigest()}"'
        if headers["etag"] in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
    return Response(body, status, headers, media_type="application/json")


def cursor(*position: Any) -> str:
    """Make the opaque cursor that continues a list after `position`."""
    return base64.urlsafe_b64encode(msgspec.json.encode(position)).decode().rstrip("=")


def position(text: str | None, *types: type) -> Sequence[Any] | None:
    """Read a cursor back into its parts, of `types`; None stands for the beginning.

    Raises:
        Invalid: it is not a cursor of this list.
    """
    if text is None:
        return None
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        parts: Sequence[Any] = msgspec.json.decode(data, type=tuple[types])  # type: ignore[valid-type]
    except (binascii.Error, UnicodeError, ValueError, msgspec.DecodeError) as error:
        raise Invalid(
            "the cursor is not one of this list; start again without it",
            problems=(("/query/cursor", "not a cursor of this list"),),
        ) from error
    return parts


# -- problem documents (RFC 9457) ------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with the input: where (JSON pointer) and what."""

    pointer: str
    detail: str


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem document (RFC 9457). `errors` is there when single values are to blame."""

    title: str
    status: int
    detail: str
    errors: tuple[Fault, ...] = ()


ErrorPage = Callable[[Request, Problem, dict[str, str]], Response]
"""Makes the page that tells a person what went wrong; the headers belong on it."""


_MEANINGS = {400: "Not JSON", 415: "Unsupported media type"} | {
    error.http_status: error.title
    for error in (
        Unauthenticated,
        Refused,
        Missing,
        Conflict,
        TooLarge,
        Invalid,
        RateLimited,
        Unavailable,
    )
}
"""In our words: the standard library's phrases differ between versions of Python."""


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Document that a route may answer with problem documents of `statuses`."""
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        status: {
            "description": _MEANINGS[status],
            "content": {PROBLEM_JSON: {"schema": schema}},
        }
        for status in statuses
    }


def _problem(
    request: Request,
    title: str,
    status: int,
    detail: str,
    *,
    faults: Sequence[tuple[str, str]] = (),
    headers: dict[str, str] | None = None,
) -> Response:
    page: ErrorPage | None = request.app.state.error_page
    if page is not None and not request.url.path.startswith("/api/"):
        return page(request, Problem(title, status, detail), headers or {})
    body: dict[str, Any] = {"title": title, "status": status, "detail": detail}
    if faults:
        body["errors"] = [{"pointer": pointer, "detail": text} for pointer, text in faults]
    return Response(
        msgspec.json.encode(body),
        status,
        {"cache-control": "no-store"} | (headers or {}),
        media_type=PROBLEM_JSON,
    )


async def _on_insight_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, InsightError)  # noqa: S101 - registered for this class
    headers: dict[str, str] = {}
    if isinstance(error, RateLimited | Unavailable):
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after)))
    headers |= getattr(error, "headers", {})
    if error.http_status == HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = "Bearer"
    faults = error.problems if isinstance(error, Invalid) else ()
    if error.http_status == HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("http.error", exc_info=error)
        return _internal_error(request)
    return _problem(
        request, error.title, error.http_status, str(error), faults=faults, headers=headers
    )


async def _on_wrong_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class
    faults = [(_pointer(fault["loc"]), str(fault["msg"])) for fault in error.errors()]
    detail = "the request does not fit the API"
    return _problem(request, "Invalid input", 422, detail, faults=faults)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class
    title = HTTPStatus(error.status_code).phrase
    detail = "the body is not JSON" if error.status_code == HTTPStatus.BAD_REQUEST else title
    return _problem(request, title, error.status_code, detail, headers=dict(error.headers or {}))


async def _on_bug(request: Request, error: Exception) -> Response:
    log.error("http.error", exc_info=error)
    return _internal_error(request)


def _internal_error(request: Request) -> Response:
    return _problem(
        request,
        "Internal error",
        500,
        "the fault is ours and was logged; nothing was stored by this request",
    )


def _pointer(location: Sequence[int | str]) -> str:
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in location)


def install(
    app: FastAPI,
    *,
    error_page: ErrorPage | None = None,
    also: Mapping[str, dict[str, Any]] | None = None,
) -> None:
    """Make every failure of `app` a problem document, and say so in its OpenAPI.

    Outside of `/api/` people are reading: there `error_page` answers, when it is given. `also`
    describes paths that are served without FastAPI.
    """
    app.state.error_page = error_page
    app.add_exception_handler(InsightError, _on_insight_error)
    app.add_exception_handler(RequestValidationError, _on_wrong_request)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(Exception, _on_bug)
    app.openapi = lambda: _openapi(app, also or {})  # type: ignore[method-assign]


def _openapi(app: FastAPI, also: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """FastAPI's document with our problem documents in place of its own error bodies."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            version=app.version,
            summary=app.summary,
            description=app.description,
            routes=app.routes,
        )
        _, components = msgspec.json.schema_components(
            [Problem], ref_template="#/components/schemas/{name}"
        )
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        for ours in ("HTTPValidationError", "ValidationError"):
            schemas.pop(ours, None)
        schemas.update(components)
        for operation in _operations(document):
            operation["responses"].update(
                {str(status): answer for status, answer in _always(operation).items()}
            )
        document["paths"].update(also)
        app.openapi_schema = document
    return app.openapi_schema


def _operations(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [operation for path in document["paths"].values() for operation in path.values()]


def _always(operation: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    """The answers that every operation may give, whoever wrote it."""
    statuses = [429, 503]
    if "422" in operation["responses"]:
        statuses.append(422)
    if "requestBody" in operation:
        statuses += [400, 413]
    return problems(*statuses)


# -- limits ----------------------------------------------------------------------------------


class BodyLimit:
    """ASGI middleware that ends a request whose body is larger than `limit_bytes` with 413.

    Paths for which `exempt` is true bring limits of their own (uploads, while they stream).
    """

    def __init__(self, app: App, *, limit_bytes: int, exempt: Callable[[str], bool]) -> None:
        self._app = app
        self._limit = limit_bytes
        self._exempt = exempt
        self._body = msgspec.json.encode(
            {
                "title": "Too large",
                "status": 413,
                "detail": f"the body is larger than {limit_bytes} bytes",
            }
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count the body while the application reads it."""
        if scope["type"] != "http" or self._exempt(scope["path"]):
            await self._app(scope, receive, send)
            return
        declared = header(scope, b"content-length") or "0"
        if not declared.isdecimal() or int(declared) > self._limit:
            await send_problem(send, 413, self._body, [(b"connection", b"close")])
            return
        await self._app(scope, *self._counted(receive, send))

    def _counted(
        self, receive: Receive, send: Send
    ) -> tuple[Receive, Callable[[Message], Awaitable[None]]]:
        seen, answered = 0, False

        async def counting_receive() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            # The application is told that the client went away: it stops reading at once.
            return message if seen <= self._limit else {"type": "http.disconnect"}

        async def replacing_send(message: Message) -> None:
            nonlocal answered
            if seen <= self._limit:
                await send(message)
            elif not answered:
                answered = True
                await send_problem(send, 413, self._body, [(b"connection", b"close")])

        return counting_receive, replacing_send
