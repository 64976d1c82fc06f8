"""The ASGI face: an id for each request, its time into the recorder, a word when it was slow."""

from __future__ import annotations

import asyncio
import logging
import random
import re
from collections.abc import Callable
from time import perf_counter

from insight_cloud.core.asgi import App, Message, Receive, Scope, Send, header
from insight_cloud.telemetry.logs import request_id
from insight_cloud.telemetry.recorder import BUCKETS, OTHER, Recorder
from insight_cloud.telemetry.slow import Slow

__all__ = ["REQUESTS", "REQUEST_ID", "ROUTE", "Requests", "route_template", "trace_parent"]

REQUESTS = "http_request_duration_seconds"
"""The histogram of requests by method, route and status class; its counts are the requests."""

REQUEST_ID = "insight.request_id"
"""Where the application finds the request's id in its scope."""

ROUTE = "insight.route"
"""Where an endpoint that needs no router says in the scope what its route is called."""

log = logging.getLogger("insight.http")

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_CLASSES = ("none", "1xx", "2xx", "3xx", "4xx", "5xx")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{7,63}")
_TRACE = re.compile(
    r"[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?"
)


def trace_parent(text: str) -> tuple[int, int, int] | None:
    """Trace, span and flags of a well-formed W3C `traceparent`, else None."""
    found = _TRACE.fullmatch(text)
    if found is None or text.startswith("ff"):
        return None
    trace, span, flags = (int(part, 16) for part in found.groups())
    return trace, span, flags


def route_template(scope: Scope) -> str | None:
    """The template of the route that was taken, which Starlette and FastAPI leave in the scope."""
    return getattr(scope.get("route"), "path", None) or scope.get(ROUTE)


class Requests:
    """Give each request an id, time it, and log the slow ones.

    The id stands in `X-Request-ID` of the response, in the scope, and in every log line of the
    request. The id, method and route of a request are logged, its path and query never: they
    can hold secrets.

    Args:
        app: what is measured.
        recorder: gets `http_request_duration_seconds` and `http_requests_in_flight`.
        route: the route template of a request that was served, or None. Paths must not be
            returned: they are without number. None, and what is beyond the `routes` first
            templates, is counted as `other`.
        routes: how many templates are told apart.
        trusted: whether the `X-Request-ID` or `traceparent` of this request is to be taken over
            when it is well-formed: for those that come through a proxy of ours.
        slow: where the slow ones are kept and logged; None for nowhere.
        access_log: log a line for each request as well.
    """

    def __init__(
        self,
        app: App,
        recorder: Recorder,
        *,
        route: Callable[[Scope], str | None] = route_template,
        routes: int = 200,
        trusted: Callable[[Scope], bool] | None = None,
        slow: Slow | None = None,
        access_log: bool = False,
    ) -> None:
        self._app = app
        self._route = route
        self._trusted = trusted
        self._slow = slow
        self._slow_seconds = float("inf") if slow is None else slow.warn_seconds
        self._access_log = access_log
        self._seconds = recorder.histogram(
            REQUESTS, "Requests and their time.", ("method", "route", "status"), bounds=BUCKETS
        )
        self._serving = 0
        recorder.collect(lambda: [("http_requests_in_flight", {}, self._serving)])
        self._limit = routes
        self._routes: set[str] = set()
        self._labels: dict[tuple[str, str | None, int], tuple[str, str, str]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        identity = self._identity(scope)
        scope[REQUEST_ID] = identity
        token = request_id.set(identity)
        field = (b"x-request-id", identity.encode())
        status = 0

        async def telling(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), field]
            await send(message)

        if scope["type"] == "websocket":  # lasts as long as people like: not a request's time
            await self._app(scope, receive, telling)
            request_id.reset(token)
            return
        self._serving += 1
        began = perf_counter()
        try:
            await self._app(scope, receive, telling)
        except asyncio.CancelledError:
            self._done(scope, status, perf_counter() - began)
            raise
        except BaseException:
            # The server answers 500 for us when nothing was sent. It logs the error, and the id
            # is left for that.
            self._done(scope, status or 500, perf_counter() - began)
            raise
        self._done(scope, status, perf_counter() - began)
        request_id.reset(token)

    def _done(self, scope: Scope, status: int, seconds: float) -> None:
        self._serving -= 1
        seen = (scope["method"], self._route(scope), status)
        labels = self._labels.get(seen) or self._admit(*seen)
        self._seconds.observe(seconds, labels)
        if seconds >= self._slow_seconds and self._slow is not None:
            self._slow.add(scope[REQUEST_ID], labels[0], labels[1], status, seconds)
        if self._access_log:
            extra = {"method": labels[0], "route": labels[1], "status": status}
            log.info("http.request", extra={**extra, "seconds": round(seconds, 6)})

    def _admit(self, method: str, template: str | None, status: int) -> tuple[str, str, str]:
        """The labels of a request; what there may be any number of becomes `other`."""
        if template is not None and template not in self._routes:
            if len(self._routes) < self._limit:
                self._routes.add(template)
            else:
                template = None
        labels = (
            method if method in _METHODS else OTHER,
            OTHER if template is None else template,
            _CLASSES[status // 100] if status < 600 else OTHER,
        )
        if labels[0] is method and labels[2] is not OTHER:  # remembered: a bounded number
            self._labels[method, template, status] = labels
        return labels

    def _identity(self, scope: Scope) -> str:
        if self._trusted is not None and self._trusted(scope):
            given = header(scope, b"x-request-id")
            if given is not None and _ID.fullmatch(given):
                return given
            parent = trace_parent(header(scope, b"traceparent") or "")
            if parent is not None:
                return f"{parent[0]:032x}"
        return "%032x" % random.getrandbits(128)  # noqa: UP031 - to tell apart, not to guard; half the time of an f-string
