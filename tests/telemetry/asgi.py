"""Calls an ASGI application without a server."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from insight_cloud.core.asgi import App, Message, Scope


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def call(
    app: App,
    path: str = "/",
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: Iterable[bytes] = (b"",),
    scope: Mapping[str, Any] | None = None,
) -> Answer:
    """One request; `body` in its pieces."""
    path, _, query = path.partition("?")
    made: Scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "headers": [(k.lower().encode(), v.encode("latin-1")) for k, v in (headers or {}).items()],
        **(scope or {}),
    }
    pieces = list(body)
    sent: list[Message] = []

    async def receive() -> Message:
        if not pieces:
            return {"type": "http.disconnect"}
        piece = pieces.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(made, receive, send)
    start: Message = sent[0] if sent else {"status": 0, "headers": []}
    fields = {key.decode(): value.decode("latin-1") for key, value in start["headers"]}
    return Answer(start["status"], fields, b"".join(one.get("body", b"") for one in sent[1:]))


def answering(status: int = 200, *, route: str | None = None) -> App:
    """An application that answers every request with `status`, and sets a route like Starlette."""

    class Route:
        path = route

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        if route is not None:
            scope["route"] = Route()
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})

    return app
