from __future__ import annotations

import gzip
from collections.abc import AsyncIterator
from pathlib import Path

import brotli  # type: ignore[import-untyped]  # no types
import httpx
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as some

from insight_cloud.assets import Assets, Static, build
from insight_cloud.core.asgi import Message
from tests.assets.test_compress import unpacked
from tests.headers.asking import Reply, ask

JS = b"".join(b"function f%d() { return %d }\n" % (n, n * n) for n in range(500))
ALL = b"gzip, deflate, br, zstd, dcb, dcz"


@pytest.fixture
def assets(tmp_path: Path) -> Assets:
    sources = tmp_path / "static"
    sources.mkdir()
    (sources / "app.js").write_bytes(JS)
    (sources / "logo.png").write_bytes(bytes(range(256)) * 4)
    Assets.prepare(sources, kept=tmp_path / "built")
    (sources / "app.js").write_bytes(JS + b"let release = 2;")
    return Assets.prepare(sources, kept=tmp_path / "built")


async def get(assets: Assets, name: str = "app.js", method: str = "GET", **headers: bytes) -> Reply:
    pairs = [(key.replace("_", "-").encode(), value) for key, value in headers.items()]
    return await ask(Static(assets), assets.url(name), method=method, headers=pairs)


@pytest.mark.parametrize(
    ("accept", "coding"),
    [
        (b"", ""),
        (b"identity", ""),
        (b"gzip", "gzip"),
        (b"gzip, br", "br"),
        (b"gzip;q=1.0, br;q=0", "gzip"),
        (b"br;q=0.1", "br"),
        (b"zstd", "zstd"),
        (b"*", "br"),
        (b"*;q=0", ""),
        (b"*, br;q=0, zstd;q=0.000", "gzip"),
        (b"BR", "br"),
        (b"deflate, compress", ""),
        (ALL, "br"),
    ],
)
async def test_a_browser_gets_the_smallest_that_it_accepts(
    assets: Assets, accept: bytes, coding: str
) -> None:
    answer = await get(assets, accept_encoding=accept)
    assert answer.status == 200
    assert answer.values("content-encoding") == ([coding] if coding else [])
    unpack = {
        "br": brotli.decompress,
        "gzip": gzip.decompress,
        "zstd": zstandard.ZstdDecompressor().decompress,
        "": bytes,
    }[coding]
    assert unpack(answer.body) == assets.release["app.js"].body
    assert answer.value("content-length") == str(len(answer.body))


async def test_the_headers_keep_it_for_ever(assets: Assets) -> None:
    answer = await get(assets, accept_encoding=ALL)
    assert answer.value("cache-control") == "public, max-age=31536000, immutable"
    assert answer.value("vary") == "accept-encoding, available-dictionary"
    assert answer.value("content-type") == "text/javascript; charset=utf-8"
    assert answer.value("x-content-type-options") == "nosniff"
    assert answer.value("use-as-dictionary") == 'match="/static/app.*.js"'
    picture = await get(assets, "logo.png")
    assert picture.values("vary") == []
    assert picture.values("use-as-dictionary") == []


async def test_who_has_the_last_release_gets_only_what_changed(assets: Assets) -> None:
    (before,) = assets.earlier
    have = before["app.js"].digest
    answer = await get(assets, accept_encoding=ALL, available_dictionary=f":{have}:".encode())
    assert answer.value("content-encoding") == "dcz"
    assert unpacked(answer.body, before["app.js"].body) == assets.release["app.js"].body
    whole = await get(assets, accept_encoding=ALL)
    assert len(answer.body) < len(whole.body) / 2
    assert answer.value("etag") != whole.value("etag")


@pytest.mark.parametrize("accept", [b"br, dcz;q=0", b"br", b"gzip, br, zstd"])
async def test_a_delta_needs_a_browser_that_knows_it(assets: Assets, accept: bytes) -> None:
    have = assets.earlier[0]["app.js"].digest
    answer = await get(assets, accept_encoding=accept, available_dictionary=f":{have}:".encode())
    assert answer.value("content-encoding") == "br"


@pytest.mark.parametrize("have", [b"", b":x:", b":AAAA", b"\xff" * 50])
async def test_an_unknown_dictionary_gets_the_whole(assets: Assets, have: bytes) -> None:
    answer = await get(assets, accept_encoding=ALL, available_dictionary=have)
    assert answer.value("content-encoding") == "br"


async def test_yesterdays_page_still_finds_its_files(assets: Assets) -> None:
    path = assets.prefix + assets.earlier[0]["app.js"].path
    answer = await ask(Static(assets), path)
    assert (answer.status, answer.body) == (200, assets.earlier[0]["app.js"].body)


async def test_what_a_browser_has_is_not_sent_again(assets: Assets) -> None:
    first = await get(assets, accept_encoding=b"br")
    tag = first.value("etag").encode()
    for known in (tag, b'"x", W/' + tag, b"*"):
        again = await get(assets, accept_encoding=b"br", if_none_match=known)
        assert (again.status, again.body) == (304, b"")
        assert again.value("etag") == first.value("etag")
        assert again.value("vary") == first.value("vary")
        assert again.values("content-length") == []
    other = await get(assets, accept_encoding=b"gzip", if_none_match=tag)
    assert other.status == 200


async def test_head_says_the_same_without_the_content(assets: Assets) -> None:
    whole = await get(assets, accept_encoding=b"br")
    head = await get(assets, method="HEAD", accept_encoding=b"br")
    assert head.pairs == whole.pairs
    assert head.body == b""


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
async def test_nothing_else_can_be_done(assets: Assets, method: str) -> None:
    answer = await get(assets, method=method)
    assert answer.status == 405
    assert answer.value("allow") == "GET, HEAD"


@pytest.mark.parametrize(
    "path",
    [
        *("/static/app.js", "/static/", "/static", "/", "/static/../app.js", "/static/%2e%2e/x"),
        *("/static/manifest.json", "/other/app.js"),
    ],
)
async def test_nothing_else_is_there(assets: Assets, path: str) -> None:
    answer = await ask(Static(assets), path)
    assert answer.status == 404
    assert answer.value("cache-control") == "no-store"


@pytest.mark.parametrize(
    ("asked", "status", "part", "said"),
    [
        (b"bytes=0-9", 206, slice(0, 10), "bytes 0-9/1024"),
        (b"bytes=1000-", 206, slice(1000, None), "bytes 1000-1023/1024"),
        (b"bytes=-10", 206, slice(-10, None), "bytes 1014-1023/1024"),
        (b"bytes=-9999", 206, slice(0, None), "bytes 0-1023/1024"),
        (b"bytes=1000-9999", 206, slice(1000, None), "bytes 1000-1023/1024"),
        (b"bytes=1024-", 416, slice(0, 0), "bytes */1024"),
        (b"bytes=-0", 416, slice(0, 0), "bytes */1024"),
        (b"bytes=9-1", 200, slice(0, None), ""),
        (b"bytes=0-1,3-4", 200, slice(0, None), ""),
        (b"bytes=-", 200, slice(0, None), ""),
        (b"lines=0-1", 200, slice(0, None), ""),
        (b"bytes=0-99999999999999999999", 200, slice(0, None), ""),
    ],
)
async def test_a_part_can_be_asked_for(
    assets: Assets, asked: bytes, status: int, part: slice, said: str
) -> None:
    answer = await get(assets, "logo.png", range=asked)
    assert answer.status == status
    assert answer.body == assets.release["logo.png"].body[part]
    assert answer.values("content-range") == ([said] if said else [])
    assert answer.value("content-length") == str(len(answer.body))


async def test_a_part_is_of_the_file_itself_not_of_its_coding(assets: Assets) -> None:
    answer = await get(assets, accept_encoding=b"br", range=b"bytes=0-7")
    assert answer.status == 206
    assert answer.body == assets.release["app.js"].body[:8]
    assert answer.values("content-encoding") == []


async def test_a_part_of_another_version_is_not_mixed_in(assets: Assets) -> None:
    tag = (await get(assets, "logo.png")).value("etag").encode()
    part = await get(assets, "logo.png", range=b"bytes=0-1", if_range=tag)
    assert part.status == 206
    for other in (b'"other"', b"W/" + tag, b"Wed, 21 Oct 2015 07:28:00 GMT"):
        whole = await get(assets, "logo.png", range=b"bytes=0-1", if_range=other)
        assert whole.status == 200


_SMALL = Assets(build({"app.js": JS}))


_HEADERS = (b"accept-encoding", b"range", b"if-none-match", b"if-range", b"available-dictionary")


@given(some.lists(some.tuples(some.sampled_from(_HEADERS), some.binary(max_size=40)), max_size=6))
async def test_no_header_is_an_error(headers: list[tuple[bytes, bytes]]) -> None:
    answer = await ask(Static(_SMALL), _SMALL.url("app.js"), headers=headers)
    assert answer.status in {200, 206, 304, 416}


async def test_only_http_is_answered() -> None:
    async def nothing() -> Message:
        raise AssertionError

    async def nobody(message: Message) -> None:
        raise AssertionError

    with pytest.raises(RuntimeError, match="HTTP only"):
        await Static(_SMALL)({"type": "websocket"}, nothing, nobody)


@pytest.fixture
async def client(assets: Assets) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=Static(assets))
    async with httpx.AsyncClient(transport=transport, base_url="http://site") as http:
        yield http


async def test_a_real_client_unpacks_what_it_gets(
    assets: Assets, client: httpx.AsyncClient
) -> None:
    answer = await client.get(assets.url("app.js"))
    assert answer.content == assets.release["app.js"].body
