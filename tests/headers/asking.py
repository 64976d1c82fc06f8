"""Asking an ASGI application directly, without a server or a framework."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from insight_cloud.core.asgi import App, Message, Receive, Scope, Send

__all__ = ["Reply", "answering", "ask"]

Pairs = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Reply:
    status: int
    pairs: list[tuple[bytes, bytes]]
    body: bytes

    def values(self, name: str) -> list[str]:
        return [value.decode() for key, value in self.pairs if key.lower() == name.encode()]

    def value(self, name: str) -> str:
        (only,) = self.values(name)
        return only


def answering(*headers: tuple[bytes, bytes]) -> App:
    """An application that answers 200 with `headers`."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": list(headers)})
        await send({"type": "http.response.body", "body": b"hello"})

    return app


async def ask(
    app: App,
    path: str = "/",
    *,
    method: str = "GET",
    headers: Pairs = (),
    body: Sequence[bytes] = (b"",),
    scheme: str = "https",
    scope: Scope | None = None,
) -> Reply:
    """Send one request; `body` is its parts."""
    sent: list[Message] = []
    parts = list(body)

    async def receive() -> Message:
        if not parts:
            return {"type": "http.disconnect"}
        part = parts.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(parts)}

    async def send(message: Message) -> None:
        sent.append(message)

    whole: Scope = {} if scope is None else scope
    whole.update(
        {
            "type": "http",
            "method": method,
            "path": path,
            "scheme": scheme,
            "headers": list(headers),
        }
    )
    await app(whole, receive, send)
    start, *rest = sent
    return Reply(start["status"], start["headers"], b"".join(m["body"] for m in rest))
