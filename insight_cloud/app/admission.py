"""Who is asking, and whether that is within the limits: what happens before a route is looked up.

Identified first and limited then, because a limit is a user's or a token's own, and an address
is often a whole office. What somebody sends who is not known counts for the address. When an
address has no permits left, secrets that were never valid are not looked up any more, so that
inventing them costs us nothing.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fastapi.requests import HTTPConnection

from insight_cloud.app import api
from insight_cloud.app.accounts import audit, identify, secret
from insight_cloud.app.accounts.models import Caller
from insight_cloud.core.asgi import App, Receive, Scope, Send
from insight_cloud.core.errors import InsightError

if TYPE_CHECKING:
    from insight_cloud.ratelimit import Pair, Policy
    from insight_cloud.wiring import Limits

__all__ = ["Admission", "Identify"]

_KNOWN = 10_000

_SIGNING_IN = frozenset({"/sign-in", "/api/v1/auth/token"})
_JOINING = frozenset({"/register", "/api/v1/auth/register"})
_JOINING_BY_LINK = "/welcome/"
_COSTLY = frozenset({"/api/v1/tokens", "/settings/tokens"})
_ANALYSES = re.compile(
    r"/api/v1/projects/[^/]+/(?:sources|clones)|/projects/[^/]+/sources/(?:archive|clone)"
)
"""What makes the server analyse code: a few times a day for everybody."""
_FREE = frozenset({"/api/health"})
"""Of the API's paths, those that are asked by machines every few seconds."""


class Identify:
    """ASGI middleware: find out who is asking, once, and leave it in the scope for all others.

    It refuses nobody. When nobody can say who it is, because the database is away, the route
    asks again and tells.
    """

    def __init__(self, app: App, *, admission: Admission) -> None:
        self._app = app
        self._admission = admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Identify the caller of a request that carries a secret."""
        if scope["type"] == "http":
            audit.ADDRESS.set(self._admission.address(scope))
            connection = HTTPConnection(scope)
            text = identify.secret_of(connection)
            if text is not None and self._admission.worth_a_look(scope, text):
                await self._identify(connection, text)
        await self._app(scope, receive, send)

    async def _identify(self, connection: HTTPConnection, text: str) -> None:
        context: api.Context = connection.app.state.context
        try:
            caller = await identify.known(connection, context)
        except InsightError:
            return
        connection.scope[identify.CALLER] = caller
        if caller is not None:
            self._admission.remember(text)


class Admission:
    """Which limits apply to a request, and for whom."""

    def __init__(self, limits: Limits) -> None:
        self._api: Policy = limits.policies["api"]
        self._auth: Policy = limits.policies["auth"]
        self._strict: Policy = limits.policies["strict"]
        self._analysis: Policy = limits.policies["analysis"]
        self._addresses = limits.addresses
        self._limiter = limits.limiter
        self._known: OrderedDict[bytes, None] = OrderedDict()

    def policies(self, scope: Scope) -> Sequence[Pair]:
        """Name the policies of a request and the keys whose permits it takes."""
        path: str = scope["path"]
        is_api = path.startswith("/api/")
        writes = scope.get("method") == "POST"
        if not writes and (not is_api or path in _FREE):
            return ()
        pairs: list[Pair] = []
        if is_api:
            pairs.append((self._api, self._who(scope)))
        if writes and path in _SIGNING_IN:
            pairs.append((self._auth, self._addresses(scope)))
        elif writes and (path in _JOINING or path.startswith(_JOINING_BY_LINK)):
            # Of the address, also of who is signed in: each new account would bring new permits.
            pairs.append((self._strict, self._addresses(scope)))
        elif writes and _ANALYSES.fullmatch(path):
            pairs.append((self._analysis, self._who(scope)))
        elif writes and path in _COSTLY:
            pairs.append((self._strict, self._who(scope)))
        return pairs

    def address(self, scope: Scope) -> str:
        """Where a request comes from, behind the proxies that are trusted."""
        return self._addresses(scope).removeprefix("ip:")

    def worth_a_look(self, scope: Scope, text: str) -> bool:
        """Whether to ask whose secret `text` is: not for an address that invents them."""
        if not self._limiter.denied(self._api, self._addresses(scope)):
            return True
        return secret.digest(text) in self._known

    def remember(self, text: str) -> None:
        """Note that the secret `text` was valid a moment ago."""
        digest = secret.digest(text)
        self._known[digest] = None
        self._known.move_to_end(digest)
        if len(self._known) > _KNOWN:
            self._known.popitem(last=False)

    def _who(self, scope: Scope) -> str:
        caller: Caller | None = scope.get(identify.CALLER)
        if caller is None:
            return self._addresses(scope)
        return caller.limit_key
