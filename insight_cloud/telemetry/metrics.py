"""The `/metrics` endpoint, an ASGI application, for those who may read it."""

from __future__ import annotations

import hmac
import math
from collections.abc import Awaitable, Callable, Iterable
from inspect import isawaitable
from typing import TypeAlias
from urllib.parse import parse_qs

import msgspec

from insight_cloud.core.asgi import Receive, Scope, Send, header, send_problem
from insight_cloud.telemetry.exposition import content_type, render
from insight_cloud.telemetry.history import History
from insight_cloud.telemetry.middleware import ROUTE
from insight_cloud.telemetry.recorder import Recorder
from insight_cloud.telemetry.series import Series

__all__ = ["Allowed", "Metrics", "anybody", "bearer", "is_allowed", "nobody"]

Allowed: TypeAlias = Callable[[Scope], bool | Awaitable[bool]]
"""Says whether the sender of a request may see what not everybody may."""


class Metrics:
    """Everything that `recorder` reads, as Prometheus text, for whom `allowed` says so.

    Others are answered 403. The numbers tell how a service is used: give them to a scraper that
    has a token (`bearer(...)`) or comes from a network of yours, not to everybody.

    With a `history`, `?seconds=900` answers what was counted in the last 900 seconds instead of
    since the start, and `X-Period-Seconds` for how many of them that is known. Gauges are as now.
    """

    def __init__(
        self, recorder: Recorder, *, allowed: Allowed, history: History | None = None
    ) -> None:
        self._recorder = recorder
        self._allowed = allowed
        self._history = history

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
        try:
            series, period = self._read(scope)
        except ValueError:
            await send_problem(send, 422, _problem(422, "seconds is a positive number"))
            return
        body = render(series, kind)
        headers = [
            (b"content-type", kind.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
        ]
        if period is not None:
            headers.append((b"x-period-seconds", f"{period:.0f}".encode()))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        shown = body if scope["method"] == "GET" else b""
        await send({"type": "http.response.body", "body": shown})

    def _read(self, scope: Scope) -> tuple[Iterable[Series], float | None]:
        """Everything, or what the period asked for has counted, and how long that is."""
        asked = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("seconds")
        if asked is None or self._history is None:
            return self._recorder.read(), None
        seconds = float(asked[-1])
        if not (math.isfinite(seconds) and seconds > 0):
            raise ValueError(seconds)
        period = self._history.over(seconds)
        gauges = [series for series in self._recorder.read() if series.kind == "gauge"]
        return sorted((*period.series, *gauges), key=lambda one: one.key), period.seconds


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
