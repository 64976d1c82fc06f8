"""Asking a site: both schemes, redirects, cookies, and certificates that do not verify."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest

from insight_cloud.core.errors import Invalid, Unavailable
from insight_cloud.headers import score, site
from insight_cloud.headers.score import PROBE_ORIGIN

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nconnection: close\r\n\r\n<p>"


def transport(handle: Callable[[httpx.Request], httpx.Response]) -> httpx.MockTransport:
    return httpx.MockTransport(handle)


async def test_both_schemes_robots_and_a_preflight_are_asked() -> None:
    asked: list[str] = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(f"{request.method} {request.url}")
        if request.method == "OPTIONS":
            assert request.headers["origin"] == PROBE_ORIGIN
            return httpx.Response(204, headers={"access-control-allow-origin": "*"})
        if request.url.scheme == "http":
            return httpx.Response(301, headers={"location": f"https://a.example{request.url.path}"})
        if request.url.path == "/robots.txt":
            return httpx.Response(200, headers=[("set-cookie", "a=1"), ("set-cookie", "b=2")])
        return httpx.Response(200, html="<script src=/a.js></script>")

    found = await site.read("http://a.example/x", transport=transport(handle))
    assert [answer.url for answer in found.http] == ["http://a.example/x", "https://a.example/x"]
    assert [answer.status for answer in found.https] == [200]
    assert found.others[-1].values("set-cookie") == ["a=1", "b=2"]
    assert found.cors is not None
    assert "OPTIONS https://a.example/x" in asked
    outcomes = {result.outcome for result in score(found).results}
    assert {"redirect-https", "sri-same-origin", "cors-public", "cookies-insecure"} <= outcomes


async def test_a_port_of_its_own_is_asked_by_its_own_scheme_only() -> None:
    found = await site.read(
        "http://a.example:8000/", transport=transport(lambda _: httpx.Response(200))
    )
    assert (len(found.http), found.https) == (1, ())


async def test_redirects_without_end_end() -> None:
    again = httpx.Response(302, headers={"location": "/"})
    found = await site.read("http://a.example:80/", transport=transport(lambda _: again))
    assert len(found.http) == 11


async def test_a_redirect_to_nowhere_is_no_answer() -> None:
    odd = httpx.Response(302, headers={"location": "ftp://a.example/"})

    def handle(request: httpx.Request) -> httpx.Response:
        if request.url.scheme == "ftp":
            raise httpx.UnsupportedProtocol("ftp")
        return odd

    with pytest.raises(Unavailable, match="does not answer"):
        await site.read("http://a.example/", transport=transport(handle))


async def test_a_large_page_is_read_in_part() -> None:
    large = httpx.Response(200, content=b"x" * (3 * 1024 * 1024))
    found = await site.read("http://a.example:8000/", transport=transport(lambda _: large))
    assert len(found.main.body) == 2 * 1024 * 1024


@pytest.mark.parametrize("url", ["a.example", "ftp://a.example/", "http://", "http://a:b/", ""])
async def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(Invalid):
        await site.read(url)


async def test_nobody_there_is_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(Unavailable, match="http: "):
        await site.read(f"http://127.0.0.1:{port}/")


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(ANSWER)
    await writer.drain()
    writer.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    key, chain = folder / "key.pem", folder / "chain.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -batch"
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(
        [*command.split(), *subject, "-keyout", key, "-out", chain], check=True, capture_output=True
    )
    return key, chain


@pytest.fixture(scope="module")
async def https_url(certificate: tuple[Path, Path]) -> AsyncIterator[str]:
    key, chain = certificate
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(chain, key)
    async with await asyncio.start_server(_answer, "127.0.0.1", 0, ssl=context) as server:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


async def test_a_certificate_that_does_not_verify_costs_points(https_url: str) -> None:
    found = await site.read(https_url)
    assert (found.verified, found.secure) == (False, True)
    assert "hsts-certificate" in {result.outcome for result in score(found).results}


async def test_a_trusted_certificate_verifies(
    https_url: str, certificate: tuple[Path, Path]
) -> None:
    found = await site.read(https_url, ca_file=str(certificate[1]))
    assert found.verified
    assert found.main.body == "<p>"
