"""Answers get smaller where that helps, and are the same to whoever reads them."""

from __future__ import annotations

import gzip
from collections.abc import Sequence

import httpx
import pytest
import zstandard

from insight_cloud.app.compression import Compression
from insight_cloud.core.asgi import Receive, Scope, Send

PAGE = b"<p>the same again</p>" * 500


def app(
    *parts: bytes,
    kind: bytes = b"text/html; charset=utf-8",
    extra: Sequence[tuple[bytes, bytes]] = (),
) -> Compression:
    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        length = str(sum(map(len, parts))).encode()
        headers = [(b"content-type", kind), (b"content-length", length), *extra]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for number, part in enumerate(parts, 1):
            more = number < len(parts)
            await send({"type": "http.response.body", "body": part, "more_body": more})

    return Compression(inner)


async def raw(application: Compression, accepted: str) -> tuple[httpx.Headers, bytes]:
    transport = httpx.ASGITransport(application)
    async with (
        httpx.AsyncClient(transport=transport, base_url="http://x") as http,
        http.stream("GET", "/", headers={"accept-encoding": accepted}) as answer,
    ):
        body = b"".join([chunk async for chunk in answer.aiter_raw()])
        return answer.headers, body


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [("gzip, deflate, br, zstd", "zstd"), ("gzip", "gzip"), ("zstd;q=0, gzip", "gzip")],
)
async def test_a_page_is_compressed_as_the_client_can_read_it(accepted: str, encoding: str) -> None:
    headers, body = await raw(app(PAGE), accepted)
    assert headers["content-encoding"] == encoding
    assert headers["content-length"] == str(len(body))
    assert headers["vary"] == "accept-encoding"
    assert len(body) < len(PAGE) / 10
    plain = zstandard.decompress(body) if encoding == "zstd" else gzip.decompress(body)
    assert plain == PAGE


async def test_the_validator_of_other_bytes_is_a_weak_one() -> None:
    headers, _ = await raw(app(PAGE, extra=[(b"etag", b'"a"')]), "gzip")
    assert headers["etag"] == 'W/"a"'
    headers, _ = await raw(app(PAGE, extra=[(b"etag", b'"a"')]), "identity")
    assert headers["etag"] == '"a"'


@pytest.mark.parametrize(
    ("application", "accepted"),
    [
        (app(PAGE), "identity"),
        (app(PAGE), "br"),
        (app(b"short"), "gzip"),
        (app(PAGE, kind=b"image/png"), "gzip"),
        (app(PAGE, kind=b"text/event-stream"), "gzip"),
        (app(PAGE, extra=[(b"content-encoding", b"br")]), "gzip"),
        (app(PAGE, extra=[(b"cache-control", b"no-store")]), "gzip"),
        (app(PAGE, PAGE), "gzip"),
    ],
)
async def test_what_would_not_gain_or_must_not_wait_is_left_alone(
    application: Compression, accepted: str
) -> None:
    headers, body = await raw(application, accepted)
    assert headers.get("content-encoding") in {None, "br"}
    assert body in {PAGE, PAGE + PAGE, b"short"}
    assert headers["content-length"] == str(len(body))
