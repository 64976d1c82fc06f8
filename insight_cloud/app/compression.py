"""Pages and JSON, compressed while they are answered; files are compressed beforehand.

Only an answer that comes in one piece is compressed, so a stream is never held up. What must
not be stored (`no-store`: a new token, a secret link) is left alone: its length then says
nothing about what else stands beside the secret.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator

import zstandard

from insight_cloud.core.asgi import App, Message, Receive, Scope, Send, header

__all__ = ["Compression"]

_KINDS = (b"text/", b"application/json", b"application/problem+json", b"image/svg+xml")
_SMALLEST = 1024
_VARY = (b"vary", b"accept-encoding")


class Compression:
    """ASGI middleware: Zstandard (RFC 8878) where the client takes it, else gzip.

    Both at a level that costs a fraction of what rendering the page did.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        self._zstd = zstandard.ZstdCompressor(level=3)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        chosen = self._choose(scope) if scope["type"] == "http" else None
        if chosen is None:
            await self._app(scope, receive, send)
        else:
            await self._app(scope, receive, _compressing(send, *chosen))

    def _choose(self, scope: Scope) -> tuple[bytes, Callable[[bytes], bytes]] | None:
        accepted = (header(scope, b"accept-encoding") or "").lower()
        if "zstd" in accepted and "zstd;q=0" not in accepted:
            return b"zstd", self._zstd.compress
        if "gzip" in accepted and "gzip;q=0" not in accepted:
            return b"gzip", _gzip
        return None


def _compressing(send: Send, name: bytes, compress: Callable[[bytes], bytes]) -> Send:
    start: Message | None = None

    async def compressing(message: Message) -> None:
        nonlocal start
        if message["type"] == "http.response.start" and _is_worth_it(message):
            start = message  # its headers depend on the body
            return
        if start is not None and message["type"] == "http.response.body":
            begun, start = start, None
            body = message.get("body", b"")
            headers = [*begun["headers"], _VARY]
            if not message.get("more_body") and len(body) >= _SMALLEST:
                body = compress(body)
                message = {**message, "body": body}
                headers = list(_of_other_bytes(headers))
                headers += [(b"content-encoding", name), (b"content-length", b"%d" % len(body))]
            await send({**begun, "headers": headers})
        await send(message)

    return compressing


def _of_other_bytes(headers: Iterable[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
    """The headers without the length; a strong validator (RFC 9110, 8.8.1) becomes a weak one."""
    for key, value in headers:
        name = key.lower()
        if name == b"etag" and not value.startswith(b"W/"):
            yield key, b"W/" + value
        elif name != b"content-length":
            yield key, value


def _is_worth_it(start: Message) -> bool:
    kind = b""
    for key, value in start.get("headers", ()):
        name = key.lower()
        if name == b"content-encoding" or (name == b"cache-control" and b"no-store" in value):
            return False
        if name == b"content-type":
            kind = value
    return kind.startswith(_KINDS) and not kind.startswith(b"text/event-stream")


def _gzip(body: bytes) -> bytes:
    packer = zlib.compressobj(4, zlib.DEFLATED, 31)  # 31: the largest window, in gzip's frame
    return packer.compress(body) + packer.flush()
