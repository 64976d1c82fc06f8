"""Cloudflare's API over HTTP: the one file that talks to it.

By httpx, which is here anyway, and not by the official SDK: that one is 105 MB, takes half a second
to import and another half for its first call, hands back different kinds of objects for the same
rules, and retries what it should not. What we send and understand is checked against the published
schema in the tests (`schema.py`, `fake.py`).
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Mapping
from ipaddress import ip_address
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import httpx

from insight_cloud.core.errors import (
    Conflict,
    Corrupt,
    InsightError,
    Invalid,
    Missing,
    RateLimited,
    Refused,
    SettingsError,
    Unauthenticated,
    Unavailable,
)
from insight_cloud.edge.settings import URL

__all__ = ["PERMISSIONS", "Cloudflare"]

PERMISSIONS: Mapping[str, str] = {
    "Zone: Read": "the zone's name and plan",
    "Zone Settings: Edit": "TLS, HTTP/3, Early Hints, security level, HSTS",
    "SSL and Certificates: Edit": "Universal SSL, origin pulls, the state of the certificates",
    "Zone WAF: Edit": "firewall and rate rules",
    "Cache Settings: Edit": "cache rules, tiered cache",
    "Response Compression: Edit": "compression rules",
    "Bot Management: Edit": "bots",
    "Dynamic URL Redirects: Edit": "redirects, when there are any",
    "Transform Rules: Edit": "rewrites and headers, when there are any",
    "Config Rules: Edit": "settings for some requests, when there are any",
    "Origin Rules: Edit": "origin rules, when there are any",
}
"""What the token must be allowed, for this zone only, and what for. Nothing else is called."""

_NO_RULESET = 10003
_MOST_BYTES = 16 * 1024 * 1024
_MOST_WAIT_SECONDS = 60.0
_FIRST_WAIT_SECONDS = 0.25
_AGAIN = frozenset({408, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524})


class Cloudflare:
    """The API for the holder of one token, at most `concurrency` calls at once.

    Every call is repeated when it is safe to: all of ours say what shall be, so saying it twice
    changes nothing. A `Retry-After` is obeyed. The token appears in no message.
    """

    def __init__(
        self,
        token: str,
        *,
        url: str = URL,
        timeout_seconds: float = 30.0,
        attempts: int = 5,
        concurrency: int = 8,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        _check_url(url)
        self._attempts = attempts
        self._sleep = sleep
        self._slots = asyncio.Semaphore(concurrency)
        limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
        try:
            headers = {"Authorization": f"Bearer {token.encode('ascii').decode()}"}
        except UnicodeEncodeError:
            raise SettingsError("the Cloudflare token holds characters that no token has") from None
        self._http = httpx.AsyncClient(
            base_url=url,
            headers=headers | {"User-Agent": "insight-edge"},
            timeout=timeout_seconds,
            limits=limits,
            transport=transport,
            follow_redirects=False,
        )

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._http.__aexit__(kind, error, trace)

    async def get(self, path: str) -> Any:
        """The `result` of a GET on `path`.

        Raises:
            InsightError: as of `call`.
        """
        return await self.call("GET", path)

    async def ruleset(self, zone: str, phase: str) -> Any:
        """The rules of `phase`, or None where nobody has made any yet.

        Raises:
            InsightError: as of `call`.
        """
        path = f"/zones/{zone}/rulesets/phases/{phase}/entrypoint"
        return await self.call("GET", path, empty=_NO_RULESET)

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        dry_run: bool = False,
        empty: int | None = None,
    ) -> Any:
        """Make one call and return its `result`; None for a 404 with the code `empty`.

        Raises:
            Unauthenticated: the token is not valid.
            Refused: it may not do this.
            Missing: there is no such thing.
            Invalid: the API does not take the body; the message is the API's own.
            Conflict: somebody else is changing the same thing.
            RateLimited: too many calls, also after waiting.
            Unavailable: no answer, or a failure of the API, also after trying again.
            Corrupt: an answer that is not the API's.
        """
        where = f"{method} {path}"
        for attempt in range(1, self._attempts + 1):
            last = attempt == self._attempts
            try:
                async with self._slots:
                    status, headers, content = await self._send(method, path, body, dry_run=dry_run)
            except httpx.HTTPError as error:
                if last or isinstance(error, httpx.UnsupportedProtocol):
                    raise Unavailable(
                        f"Cloudflare did not answer {where}: {type(error).__name__}"
                    ) from error
                await self._sleep(_backoff(attempt))
                continue
            if status in _AGAIN and not last:
                await self._sleep(_wait(headers, attempt))
                continue
            return _result(where, status, headers, content, empty)
        raise AssertionError(where)  # the last attempt returns or raises

    async def _send(
        self, method: str, path: str, body: Any, *, dry_run: bool
    ) -> tuple[int, httpx.Headers, bytes]:
        request = self._http.build_request(
            method,
            path,
            content=None if body is None else json.dumps(body).encode(),
            headers={} if body is None else {"Content-Type": "application/json"},
            params={"dry_run": "true"} if dry_run else None,
        )
        answer = await self._http.send(request, stream=True)
        try:
            content = bytearray()
            async for chunk in answer.aiter_bytes():
                content += chunk
                if len(content) > _MOST_BYTES:
                    raise Corrupt(f"the answer to {method} {path} is larger than any can be")
            return answer.status_code, answer.headers, bytes(content)
        finally:
            await answer.aclose()


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname or "")):
        return
    raise SettingsError(
        f"edge.api_url is {url!r}: a token travels over https only, or to this machine itself"
    )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _backoff(attempt: int) -> float:
    """Longer each time, and not in step with other clients."""
    return _FIRST_WAIT_SECONDS * 2.0 ** (attempt - 1) * random.uniform(0.5, 1.5)  # noqa: S311


def _wait(headers: httpx.Headers, attempt: int) -> float:
    return min(_retry_after(headers) or _backoff(attempt), _MOST_WAIT_SECONDS)


def _retry_after(headers: httpx.Headers) -> float:
    text = str(headers.get("retry-after", ""))
    return float(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0.0


def _result(
    where: str, status: int, headers: httpx.Headers, content: bytes, empty: int | None
) -> Any:
    if status == 204:
        return None
    try:
        envelope = json.loads(content)
        succeeded = envelope["success"]
    except (ValueError, TypeError, KeyError, RecursionError):
        if status < 400:
            raise Corrupt(f"the answer to {where} is not the API's (HTTP {status})") from None
        envelope, succeeded = {}, False
    # An error may come with HTTP 200: only `success` counts.
    if succeeded is True and status < 400:
        return envelope.get("result")
    errors = _errors(envelope)
    if status == 404 and empty is not None and empty in [code for code, _ in errors]:
        return None
    raise _failure(where, status, headers, errors)


def _errors(envelope: Any) -> list[tuple[int, str]]:
    found = envelope.get("errors") if isinstance(envelope, dict) else None
    pairs = []
    for error in found if isinstance(found, list) else []:
        if not isinstance(error, dict):
            continue
        source = error.get("source")
        pointer = source.get("pointer") if isinstance(source, dict) else None
        said = str(error.get("message", ""))[:500]
        code = error.get("code")
        pairs.append(
            (code if isinstance(code, int) else 0, f"{said} ({pointer})" if pointer else said)
        )
    return pairs


def _failure(
    where: str, status: int, headers: httpx.Headers, errors: list[tuple[int, str]]
) -> InsightError:
    said = "; ".join(f"{text} [{code}]" if code else text for code, text in errors)
    told = f"{where}: {said or 'no reason given'} (HTTP {status})"
    if status == 429:
        return RateLimited(f"too many calls: {told}", retry_after=_retry_after(headers) or 60.0)
    if status >= 500:
        return Unavailable(f"Cloudflare failed: {told}")
    if status == 403:
        return Refused(f"the token may not do this: {told}. It needs: {_permission(where)}")
    return _ERRORS.get(status, Invalid)(f"Cloudflare does not take this: {told}")


_ERRORS: Mapping[int, type[InsightError]] = {401: Unauthenticated, 404: Missing, 409: Conflict}


def _permission(where: str) -> str:
    """The permission that a call needs, as the dashboard names it."""
    return next((name for part, name in _NEEDED if part in where), "Zone: Read")


_NEEDED = (
    ("/settings/", "Zone Settings: Edit"),
    ("/ssl/", "SSL and Certificates: Edit"),
    ("/origin_tls_client_auth", "SSL and Certificates: Edit"),
    ("/url_normalization", "Transform Rules: Edit"),
    ("/bot_management", "Bot Management: Edit"),
    ("/cache/", "Cache Settings: Edit"),
    ("http_request_cache_settings", "Cache Settings: Edit"),
    ("http_response_cache_settings", "Cache Settings: Edit"),
    ("http_response_compression", "Response Compression: Edit"),
    ("http_request_dynamic_redirect", "Dynamic URL Redirects: Edit"),
    ("http_config_settings", "Config Rules: Edit"),
    ("http_request_origin", "Origin Rules: Edit"),
    ("http_custom_errors", "Custom Error Rules: Edit"),
    ("transform", "Transform Rules: Edit"),
    ("/rulesets/", "Zone WAF: Edit"),
)
