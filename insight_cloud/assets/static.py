"""`Static`: an ASGI application that serves assets, everything prepared beforehand."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

from insight_cloud.assets.assets import Assets
from insight_cloud.assets.release import Asset
from insight_cloud.core.asgi import Message, Receive, Scope, Send

__all__ = ["Static"]

_FOR_EVER = b"public, max-age=31536000, immutable"
_RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})")
_IDENTITY = "identity"


@dataclass(frozen=True, slots=True)
class _Answer:
    """One representation of a file, as ASGI messages."""

    etag: bytes
    start: Message
    not_modified: Message
    body: Message


@dataclass(frozen=True, slots=True)
class _File:
    asset: Asset
    whole: _Answer
    packed: tuple[tuple[str, _Answer], ...]
    """The smallest first."""
    deltas: dict[bytes, _Answer]


class Static:
    """Serves `assets` below their prefix: GET and HEAD, conditional requests, single ranges.

    A browser gets the smallest of what it accepts: a delta to what it has of an earlier release
    (RFC 9842), Brotli, Zstandard, gzip or the file itself. Every address holds the hash of the
    content, so it may be kept for ever. Nothing is read or compressed for a request.
    """

    def __init__(self, assets: Assets) -> None:
        self._files = {address: _file(assets.prefix, asset) for address, asset in assets.served()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Answer a request."""
        if scope["type"] != "http":
            raise RuntimeError("assets answer HTTP only")
        file = self._files.get(scope["path"])
        if file is None:
            await _say(send, 404, b"Not found", [])
            return
        if scope["method"] not in {"GET", "HEAD"}:
            await _say(send, 405, b"Not allowed", [(b"allow", b"GET, HEAD")])
            return
        given = dict(scope["headers"])
        answer = _chosen(
            file, given.get(b"accept-encoding", b""), given.get(b"available-dictionary")
        )
        known, ranged = given.get(b"if-none-match"), given.get(b"range")
        if known is not None and _matches(known, answer.etag):
            await send(answer.not_modified)
            await send(_NOTHING)
            return
        if ranged is not None and given.get(b"if-range", file.whole.etag) == file.whole.etag:
            answer = _part(file, ranged) or answer
        await send(answer.start)
        await send(_NOTHING if scope["method"] == "HEAD" else answer.body)


_NOTHING: Message = {"type": "http.response.body", "body": b""}


def _file(prefix: str, asset: Asset) -> _File:
    packed = sorted(asset.encodings.items(), key=lambda pair: len(pair[1]))
    return _File(
        asset,
        _answer(prefix, asset, _IDENTITY, asset.body),
        tuple((name, _answer(prefix, asset, name, body)) for name, body in packed),
        {
            f":{digest}:".encode(): _answer(prefix, asset, "dcz", body, digest)
            for digest, body in asset.deltas.items()
        },
    )


def _answer(prefix: str, asset: Asset, encoding: str, body: bytes, against: str = "") -> _Answer:
    suffix = "" if encoding == _IDENTITY else f"-{encoding}{against[:8]}"
    etag = f'"{asset.digest[:16]}{suffix}"'.encode()
    headers = _headers(prefix, asset, etag)
    coded = [] if encoding == _IDENTITY else [(b"content-encoding", encoding.encode())]
    whole = [
        (b"content-type", asset.media_type.encode()),
        (b"content-length", str(len(body)).encode()),
        *coded,
        *headers,
    ]
    return _Answer(
        etag,
        {"type": "http.response.start", "status": 200, "headers": whole},
        {"type": "http.response.start", "status": 304, "headers": headers},
        {"type": "http.response.body", "body": body},
    )


def _headers(prefix: str, asset: Asset, etag: bytes) -> list[tuple[bytes, bytes]]:
    headers = [
        (b"cache-control", _FOR_EVER),
        (b"etag", etag),
        (b"accept-ranges", b"bytes"),
        (b"x-content-type-options", b"nosniff"),
    ]
    if not asset.encodings:
        return headers
    if asset.pattern:
        headers.append((b"use-as-dictionary", f'match="{prefix}{asset.pattern}"'.encode()))
        return [*headers, (b"vary", b"accept-encoding, available-dictionary")]
    return [*headers, (b"vary", b"accept-encoding")]


def _chosen(file: _File, accept: bytes, dictionary: bytes | None) -> _Answer:
    accepted = _accepted(accept)
    if dictionary is not None and file.deltas and "dcz" in accepted:
        delta = file.deltas.get(dictionary.strip())
        if delta is not None:
            return delta
    for name, answer in file.packed:
        if name in accepted:
            return answer
    return file.whole


@functools.lru_cache(maxsize=512)
def _accepted(header: bytes) -> frozenset[str]:
    """The codings that may be used; `*` stands for those that are not named."""
    weights: dict[str, bool] = {}
    for item in str(header, "latin-1").lower()[:1000].split(","):
        name, *parameters = (part.strip() for part in item.split(";"))
        weights[name] = not any(re.fullmatch(r"q=0(\.0*)?", text) for text in parameters)
    if weights.get("*"):
        weights = dict.fromkeys(("br", "zstd", "gzip"), True) | weights
    return frozenset(name for name, wanted in weights.items() if wanted)


def _matches(given: bytes, etag: bytes) -> bool:
    tags = (tag.strip().removeprefix(b"W/") for tag in given.split(b","))
    return any(tag in {etag, b"*"} for tag in tags)


def _part(file: _File, header: bytes) -> _Answer | None:
    """One range of the file as it is, or 416; None to answer with all of it.

    Several ranges at once are answered with all of it, as RFC 9110 allows.
    """
    match = _RANGE.fullmatch(str(header, "latin-1").strip())
    if match is None or match[1] == match[2] == "":
        return None
    body = file.asset.body
    size = len(body)
    if match[1]:
        first, last = int(match[1]), min(int(match[2] or size), size - 1)
        if match[2] and int(match[2]) < first:
            return None
    else:
        first, last = max(0, size - int(match[2])), size - 1
    headers = [
        (name, value) for name, value in file.whole.start["headers"] if name != b"content-length"
    ]
    if first > last:
        lost = [*headers, (b"content-range", f"bytes */{size}".encode()), (b"content-length", b"0")]
        return _Answer(b"", {**file.whole.start, "status": 416, "headers": lost}, {}, _NOTHING)
    part = body[first : last + 1]
    headers.append((b"content-range", f"bytes {first}-{last}/{size}".encode()))
    headers.append((b"content-length", str(len(part)).encode()))
    start = {**file.whole.start, "status": 206, "headers": headers}
    return _Answer(file.whole.etag, start, {}, {"type": "http.response.body", "body": part})


async def _say(send: Send, status: int, text: bytes, more: list[tuple[bytes, bytes]]) -> None:
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(text)).encode()),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
        *more,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text})
