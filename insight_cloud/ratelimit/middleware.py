"""The ASGI face of the limiter: asks before the application, and tells the client how it stands."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from insight_cloud.core.asgi import App, Message, Receive, Scope, Send, send_problem
from insight_cloud.ratelimit import headers
from insight_cloud.ratelimit.limiter import Limiter
from insight_cloud.ratelimit.policy import Decision, Pair

__all__ = ["DECISION", "RateLimit"]

DECISION = "insight.ratelimit"
"""Where the application finds the `Decision` in its scope, for `limiter.refund(decision)`."""


class RateLimit:
    """Admit a request when every policy that applies to it does; else 429 (or 503).

    `policies(scope)` names the policies and keys of a request, all decided in one step; none
    lets it pass unasked. It is called for each request, so it should only look things up.
    WebSockets are decided at their handshake.

    Who is not admitted gets a problem document, or the answer of the application that
    `refusal(scope)` returns, which finds the decision in its scope: a page for people.
    `on_denied` is told of each, to be counted.
    """

    def __init__(
        self,
        app: App,
        limiter: Limiter,
        *,
        policies: Callable[[Scope], Sequence[Pair]],
        refusal: Callable[[Scope], App | None] = lambda _: None,
        on_denied: Callable[[Decision], None] = lambda _: None,
    ) -> None:
        self._app = app
        self._limiter = limiter
        self._policies = policies
        self._refusal = refusal
        self._on_denied = on_denied

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] not in {"http", "websocket"} or not (pairs := self._policies(scope)):
            await self._app(scope, receive, send)
            return
        if len(pairs) == 1:
            decision = await self._limiter.hit(*pairs[0])
        else:
            decision = await self._limiter.hit_all(pairs)
        scope[DECISION] = decision
        if decision.admitted:
            await self._app(scope, receive, _telling(send, decision, pairs))
            return
        self._on_denied(decision)
        if (refusal := self._refusal(scope)) is not None:
            await refusal(scope, receive, _telling(send, decision, pairs))
        else:
            await _refuse(scope, receive, send, decision, pairs)


def _telling(send: Send, decision: Decision, pairs: Sequence[Pair]) -> Send:
    """Wrap `send` so that the response says how the client stands when it begins."""

    async def telling(message: Message) -> None:
        if message["type"] == "http.response.start":
            policies = tuple(policy for policy, _ in pairs)
            message["headers"] = [*message.get("headers", ()), *headers.fields(decision, policies)]
        await send(message)

    return telling


async def _refuse(
    scope: Scope, receive: Receive, send: Send, decision: Decision, pairs: Sequence[Pair]
) -> None:
    if scope["type"] == "websocket":
        await receive()  # websocket.connect; closing before accepting makes the server answer 403
        await send({"type": "websocket.close", "code": 1013, "reason": "too many requests"})
        return
    status, body = headers.problem(decision)
    policies = tuple(policy for policy, _ in pairs)
    await send_problem(send, status, body, headers.fields(decision, policies))
