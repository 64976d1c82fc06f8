"""The `/metrics` endpoint, an ASGI application, for those who may read it."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import TypeAlias

import msgspec

from insight_cloud.core.asgi import Receive, Scope, Send, header, send_problem
from insight_cloud.telemetry.exposition import content_type, render
from insight_cloud.telemetry.middleware import ROUTE
from insight_cloud.telemetry.recorder import Recorder

__all__ = ["Allowed", "Metrics", "anybody", "bearer", "is_allowed", "nobody"]

Allowed: TypeAlias = Callable[[Scope], bool | Awaitable[bool]]
"""Says whether the sender of a request may see what not everybody may."""


class Metrics:
    """Everything that `recorder` reads, as Prometheus text, for whom `allowed` says so.

    Others are answered 403. The numbers tell how a service is used: give them to a scraper that
    has a token (`bearer(...)`) or comes from a network of yours, not to everybody.
    """

    def __init__(self, recorder: Recorder, *, allowed: Allowed) -> None:
        self._recorder = recorder
        self._allowed = allowed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        """Answer one request."""
        if scope["type"] != "http":
            raise RuntimeError("metrics are read over HTTP")
        scope[ROUTE] = "/metrics"
        if scope["method"] not in {"GET", "HEAD"}:
            await send_problem(
                send, 405, _problem(405, "Metrics are read"), [(b"allow", b"GET, HEAD")]
            )
            return
        if not await is_allowed(self._allowed, scope):
            await send_problem(send, 403, _problem(403, "Not allowed to read the metrics"))
            return
        kind = content_type(header(scope, b"accept") or "")
        body = render(self._recorder.read(), kind)
        headers = [
            (b"content-type", kind.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        shown = body if scope["method"] == "GET" else b""
        await send({"type": "http.response.body", "body": shown})


def bearer(token: str) -> Allowed:
    """Allow whoever sends `Authorization: Bearer TOKEN`, compared in constant time."""
    wanted = f"Bearer {token}".encode()
    if not token:
        raise ValueError("an empty token would let everybody in")

    def allowed(scope: Scope) -> bool:
        return hmac.compare_digest((header(scope, b"authorization") or "").encode(), wanted)

    return allowed


def anybody(_: Scope) -> bool:
    """Allow everybody: where the network already decides who gets here."""
    return True


def nobody(_: Scope) -> bool:
    """Allow nobody."""
    return False


async def is_allowed(allowed: Allowed, scope: Scope) -> bool:
    """Ask `allowed`, which may have to wait for its answer."""
    answer = allowed(scope)
    return await answer if isawaitable(answer) else answer


def _problem(status: int, title: str) -> bytes:
    return msgspec.json.encode({"type": "about:blank", "title": title, "status": status})
