"""One POST to an address that is a secret: nothing of it reaches a log, an error or a repr.

`httpx` is imported nowhere else here, and only when something is sent: a process that has
nothing to say does not pay for it.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

from insight_cloud.core.errors import RateLimited, Refused, SettingsError, Unavailable
from insight_cloud.notify.retry import asked_seconds

if TYPE_CHECKING:
    import httpx

__all__ = ["Answer", "Post"]

_ANSWER_BYTES = 2048
_LONGEST_URL = 4096
_REDIRECTS = range(300, 400)
_FAULTS = {"ConnectError": "cannot be reached", "RemoteProtocolError": "broke off the answer"}
_LATER = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY}


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: the status and the beginning of the text."""

    status: int
    text: str
    retry_after: float

    def require_taken(self, name: str) -> None:
        """Return for a 2xx answer.

        Raises:
            RateLimited, Unavailable: later it may be taken.
            SettingsError: a redirect. It is not followed: it could lead anywhere.
            Refused: anything else.
        """
        if self.status in range(200, 300):
            return
        if self.status == HTTPStatus.TOO_MANY_REQUESTS:
            raise RateLimited(f"{name}: too many messages (429)", retry_after=self.retry_after)
        if self.status >= 500 or self.status in _LATER:
            raise Unavailable(f"{name}: answered {self.status}", retry_after=self.retry_after)
        if self.status in _REDIRECTS:
            raise SettingsError(
                f"{name}: answered {self.status}, a redirect, which is not followed; set the URL "
                "that it leads to"
            )
        raise Refused(f"{name}: answered {self.status}")


class Post:
    """Sends to `url`. `name` stands for it in every message."""

    def __init__(self, name: str, url: str, *, context: ssl.SSLContext | None = None) -> None:
        if not _usable(url):
            raise SettingsError(
                f"{name}: the URL must begin with https:// or http://, name a host, and hold "
                "neither user name nor blanks"
            )
        self._name = name
        self._url = url
        self._context = context

    async def send(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        """POST `body` on a connection of its own; wait as long as the caller lets it.

        Raises:
            Unavailable: there was no answer.
            SettingsError: the certificate of the other side is not valid, or the URL is not.
        """
        import httpx

        try:
            request = httpx.Request("POST", self._url, content=body, headers=dict(headers))
            # The bare transport: a client of httpx would log the URL, and look for proxies in
            # the environment.
            with _muted():
                async with httpx.AsyncHTTPTransport(verify=self._verify(), trust_env=False) as http:
                    return await _read(await http.handle_async_request(request))
        except httpx.InvalidURL:
            raise SettingsError(f"{self._name}: the URL cannot be used") from None
        except httpx.TransportError as error:
            raise self._translate(error) from None  # the original may quote the request

    def _verify(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = ssl.create_default_context()
        return self._context

    def _translate(self, error: httpx.TransportError) -> Unavailable | SettingsError:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, ssl.SSLCertVerificationError):
                return SettingsError(
                    f"{self._name}: the certificate is not trusted: {cause.verify_message}"
                )
            cause = cause.__cause__ or cause.__context__
        what = _FAULTS.get(type(error).__name__, f"no answer ({type(error).__name__})")
        return Unavailable(f"{self._name}: {what}", retry_after=0)


_MUTED: ContextVar[bool] = ContextVar("notify_muted", default=False)


def _is_heard(_record: logging.LogRecord) -> bool:
    return not _MUTED.get()


@contextmanager
def _muted() -> Iterator[None]:
    """Keep httpcore from logging this exchange: an answer may quote the address, as redirects do.

    Others in the process who use it are logged as before.
    """
    for name in ("httpcore.connection", "httpcore.http11"):
        logging.getLogger(name).addFilter(_is_heard)  # once: a filter is not added again
    token = _MUTED.set(True)
    try:
        yield
    finally:
        _MUTED.reset(token)


async def _read(response: httpx.Response) -> Answer:
    """The beginning of the answer; the rest is not waited for."""
    text = bytearray()
    raw = cast("AsyncGenerator[bytes]", response.aiter_raw())  # it is one, to be closed
    async with aclosing(response), aclosing(raw) as chunks:
        async for chunk in chunks:
            text += chunk
            if len(text) >= _ANSWER_BYTES:
                break
    return Answer(
        response.status_code,
        bytes(text[:_ANSWER_BYTES]).decode("utf-8", "replace"),
        asked_seconds(response.headers.get("retry-after"), datetime.now(UTC)),
    )


def _usable(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    plain = url.isprintable() and " " not in url and len(url) <= _LONGEST_URL
    named = parts.scheme in {"http", "https"} and bool(parts.hostname) and "@" not in parts.netloc
    return plain and named and port != 0
