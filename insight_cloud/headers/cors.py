"""Cross-origin requests: exact origins, answered from what was prepared at construction."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec

from insight_cloud.core.asgi import App, Message, Receive, Scope, Send, header, send_problem
from insight_cloud.core.errors import SettingsError
from insight_cloud.headers.middleware import path_prefixes

__all__ = ["Cors"]

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_LONGEST_SECONDS = 24 * 3600  # Firefox remembers no longer; Chromium two hours
_VARY = (b"vary", b"origin")
_ASKED = ("method", "headers", "private-network")
_VARY_PREFLIGHT = (
    b"vary",
    ", ".join(["origin", *(f"access-control-request-{name}" for name in _ASKED)]).encode(),
)

_Pairs = tuple[tuple[bytes, bytes], ...]


class Cors:
    """Let scripts of named origins read what `app` answers.

    A preflight is answered here and never reaches the application: 204 when everything it asks
    for is allowed, otherwise 403 with the reason. An origin that is not named gets no CORS
    header at all, so its browser keeps the answer from the script. `null`, which any sandboxed
    frame can claim to be, and requests into a private network are always refused.

    Args:
        app: the ASGI application.
        origins: exactly as browsers write them, `https://app.example.com`; or `*` alone, for
            public data without credentials.
        credentials: whether cookies may be sent along.
        methods: allowed methods.
        request_headers: allowed request headers beyond the always allowed ones.
        exposed_headers: answer headers that scripts may read.
        max_age_seconds: how long a browser may remember a preflight.
        prefixes: how the paths begin for which all of this holds.

    Raises:
        SettingsError: an origin, name or time is not usable, or `*` with credentials.
    """

    def __init__(
        self,
        app: App,
        *,
        origins: Sequence[str],
        credentials: bool = False,
        methods: Sequence[str] = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"),
        request_headers: Sequence[str] = ("authorization", "content-type"),
        exposed_headers: Sequence[str] = (),
        max_age_seconds: int = 7200,
        prefixes: Sequence[str] = ("/api/",),
    ) -> None:
        if "*" in origins and (credentials or len(origins) > 1):
            raise SettingsError("the origin * stands alone and never with credentials")
        if not 0 <= max_age_seconds <= _LONGEST_SECONDS:
            raise SettingsError(f"a preflight is remembered for 0 to {_LONGEST_SECONDS} seconds")
        for name in (*methods, *request_headers, *exposed_headers):
            if not _TOKEN.fullmatch(name) or name == "*":
                raise SettingsError(f"{name!r} is no name of a method or header")
        self._app = app
        self._prefixes = path_prefixes(prefixes)
        self._any = "*" in origins
        self._methods = frozenset(methods)
        self._names = frozenset(name.lower() for name in request_headers)
        rest: list[tuple[bytes, bytes]] = []
        if credentials:
            rest.append((b"access-control-allow-credentials", b"true"))
        exposed = [(b"access-control-expose-headers", ", ".join(exposed_headers).encode())]
        self._answers: dict[str, _Pairs] = {}
        self._preflights: dict[str, _Pairs] = {}
        for origin in origins:
            allow = (b"access-control-allow-origin", _checked(origin).encode())
            self._answers[origin] = (allow, *rest, *(exposed if exposed_headers else ()))
            self._preflights[origin] = (
                allow,
                *rest,
                (b"access-control-allow-methods", ", ".join(methods).encode()),
                (b"access-control-allow-headers", ", ".join(sorted(self._names)).encode()),
                (b"access-control-max-age", str(max_age_seconds).encode()),
                _VARY_PREFLIGHT,
            )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a preflight, or pass on and add what the origin may have."""
        if scope["type"] != "http" or not scope["path"].startswith(self._prefixes):
            await self._app(scope, receive, send)
            return
        origin = header(scope, b"origin")
        if origin is not None and scope["method"] == "OPTIONS":
            method = header(scope, b"access-control-request-method")
            if method is not None:
                await self._preflight(scope, send, origin, method)
                return
        allowed = self._of(self._answers, origin)

        async def send_with_cors(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": self._merge(message.get("headers", ()), allowed)}
            await send(message)

        await self._app(scope, receive, send_with_cors)

    async def _preflight(self, scope: Scope, send: Send, origin: str, method: str) -> None:
        prepared = self._of(self._preflights, origin)
        reason = self._objection(scope, method) if prepared else "this origin is not allowed"
        if reason:
            body = {"type": "about:blank", "title": "Refused", "status": 403, "detail": reason}
            await send_problem(send, 403, msgspec.json.encode(body), [_VARY_PREFLIGHT])
            return
        await send({"type": "http.response.start", "status": 204, "headers": list(prepared)})
        await send({"type": "http.response.body", "body": b""})

    def _objection(self, scope: Scope, method: str) -> str:
        """Why the request that is asked for is not allowed; empty when it is."""
        if method not in self._methods:
            return "this method is not allowed from another origin"
        asked = header(scope, b"access-control-request-headers") or ""
        names = {name.strip().lower() for name in asked.split(",")} - {""}
        if not names <= self._names:
            return "a request header is not allowed from another origin"
        if header(scope, b"access-control-request-private-network") is not None:
            return "this is no service for pages outside of the private network"
        return ""

    def _of(self, prepared: dict[str, _Pairs], origin: str | None) -> _Pairs:
        if origin is None or origin == "null":
            return ()
        return prepared.get("*" if self._any else origin, ())

    def _merge(self, own: Any, allowed: _Pairs) -> list[tuple[bytes, bytes]]:
        """Add what the origin may have; caches learn that the answer depends on the origin."""
        headers = list(own)
        names = {name.lower() for name, _ in headers}
        if b"access-control-allow-origin" not in names:
            headers += allowed
        if not self._any and not (b"vary" in names and _varies(headers)):
            headers.append(_VARY)
        return headers


def _varies(headers: list[tuple[bytes, bytes]]) -> bool:
    """Whether caches know already that the answer depends on the origin."""
    vary = b",".join(text.lower() for name, text in headers if name.lower() == b"vary")
    return not {b"origin", b"*"}.isdisjoint(part.strip() for part in vary.split(b","))


def _checked(origin: str) -> str:
    """Return `origin` if a browser would write it like this.

    Raises:
        SettingsError: it would never match.
    """
    if origin == "*":
        return origin
    try:
        parts = urlsplit(origin)
        port = parts.port
    except ValueError:
        raise SettingsError(f"{origin!r} is no origin") from None
    written = f"{parts.scheme}://{parts.netloc}"
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or "@" in parts.netloc:
        raise SettingsError(f"{origin!r} is no origin; one looks like https://app.example.com")
    if origin != written.lower() or not re.fullmatch(r"[a-z0-9.:\[\]-]+", parts.netloc):
        raise SettingsError(f"{origin!r}: browsers write origins in lower case without a path")
    if port == _DEFAULT_PORTS[parts.scheme] or parts.netloc.endswith(":"):
        raise SettingsError(f"{origin!r}: browsers leave the default port out")
    return origin
