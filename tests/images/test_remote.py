"""Fetching from other hosts: only what was checked is reached, and nothing leads elsewhere."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from insight_cloud.core.errors import Missing, Refused, TooLarge, Unavailable
from insight_cloud.images import Remote


@dataclass
class Host:
    """A web server that sends `answer` and remembers what it was asked."""

    port: int = 0
    answer: bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nimage"
    asked: list[str] = field(default_factory=list)
    hang: bool = False


@asynccontextmanager
async def hosting(host: Host, context: ssl.SSLContext | None = None) -> AsyncIterator[Host]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        host.asked.append(head.decode())
        if host.hang:
            await asyncio.sleep(30)
        writer.write(host.answer)
        with suppress(ConnectionError):
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    host.port = server.sockets[0].getsockname()[1]
    try:
        yield host
    finally:
        server.close()


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    async with hosting(Host()) as running:
        yield running


def answering(*answers: list[str]) -> Callable[[str, int], object]:
    """A name server that gives each answer once, the last one again and again."""
    left = list(answers)
    asked: list[str] = []

    async def resolve(name: str, port: int) -> list[str]:
        asked.append(f"{name}:{port}")
        return left.pop(0) if len(left) > 1 else left[0]

    resolve.asked = asked  # type: ignore[attr-defined]  # for the test to look at
    return resolve


def remote(*answers: list[str], private: str = "127.0.0.0/8", **options: object) -> Remote:
    resolve = answering(*answers or (["127.0.0.1"],))
    return Remote(private=[private] if private else [], resolve=resolve, **options)  # type: ignore[arg-type]  # as named


async def test_an_image_is_fetched_by_name(host: Host) -> None:
    async with remote() as ours:
        assert await ours.fetch(f"http://cats.example:{host.port}/a%20cat.jpg?x=1") == b"image"
    (asked,) = host.asked
    lines = asked.lower().splitlines()
    assert lines[0] == "get /a%20cat.jpg?x=1 http/1.1"
    assert f"host: cats.example:{host.port}" in lines
    assert "accept-encoding: identity" in lines
    assert not any(line.startswith(("cookie", "authorization")) for line in lines)


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["10.0.0.1"],
        ["169.254.169.254"],
        ["::1"],
        ["::ffff:127.0.0.1"],
        ["64:ff9b::7f00:1"],
        ["8.8.8.8", "127.0.0.1"],
        ["127.0.0.1", "8.8.8.8"],
    ],
    ids=" ".join,
)
async def test_a_name_with_any_private_address_is_refused(host: Host, addresses: list[str]) -> None:
    async with remote(addresses, private="") as ours:
        with pytest.raises(Refused, match="public internet"):
            await ours.fetch(f"http://cats.example:{host.port}/a.jpg")
    assert host.asked == []


@pytest.mark.parametrize(
    "literal", ["127.0.0.1", "[::1]", "localhost", "127.1", "0x7f.1", "2130706433", "0177.0.0.1"]
)
async def test_an_address_written_out_is_judged_like_any_other(host: Host, literal: str) -> None:
    async with Remote() as ours:  # with the system's own resolver
        with pytest.raises((Refused, Missing)):
            await ours.fetch(f"http://{literal}:{host.port}/a.jpg")
    assert host.asked == []


async def test_a_name_is_resolved_once_so_a_second_answer_changes_nothing(host: Host) -> None:
    """DNS rebinding: first an address that is allowed, a moment later one that is not."""
    resolve = answering(["127.0.0.1"], ["127.0.0.2"])
    async with Remote(private=["127.0.0.1/32"], resolve=resolve) as ours:  # type: ignore[arg-type]  # as above
        assert await ours.fetch(f"http://cats.example:{host.port}/a.jpg") == b"image"
        assert resolve.asked == [f"cats.example:{host.port}"]  # type: ignore[attr-defined]
        with pytest.raises(Refused):
            await ours.fetch(f"http://cats.example:{host.port}/a.jpg")
    assert len(host.asked) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 300, 304])
async def test_redirects_are_refused(host: Host, status: int) -> None:
    host.answer = (
        f"HTTP/1.1 {status} There\r\nlocation: http://127.0.0.1:{host.port}/b\r\n"
        "content-length: 0\r\n\r\n"
    ).encode()
    async with remote() as ours:
        with pytest.raises(Refused, match="redirects"):
            await ours.fetch(f"http://cats.example:{host.port}/a")
    assert len(host.asked) == 1


@pytest.mark.parametrize(
    ("status", "error"), [(404, Missing), (403, Missing), (204, Missing), (429, Unavailable)]
)
async def test_other_answers_are_no_images(host: Host, status: int, error: type[Exception]) -> None:
    host.answer = f"HTTP/1.1 {status} So\r\ncontent-length: 0\r\n\r\n".encode()
    async with remote() as ours:
        with pytest.raises(error):
            await ours.fetch(f"http://cats.example:{host.port}/a")


async def test_too_many_bytes_are_not_read(host: Host) -> None:
    host.answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n" + bytes(3_000_000)
    async with remote(most_bytes=1_000_000) as ours:
        with pytest.raises(TooLarge):
            await ours.fetch(f"http://cats.example:{host.port}/a")


async def test_what_is_packed_unasked_is_refused(host: Host) -> None:
    host.answer = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 5\r\n\r\nimage"
    async with remote() as ours:
        with pytest.raises(Refused, match="packed"):
            await ours.fetch(f"http://cats.example:{host.port}/a")


async def test_a_host_that_hangs_or_is_away_is_not_waited_for(host: Host) -> None:
    host.hang = True
    async with remote(seconds=0.2) as ours:
        with pytest.raises(Unavailable):
            await ours.fetch(f"http://cats.example:{host.port}/a")
        with pytest.raises(Unavailable):
            await ours.fetch("http://cats.example:1/a")


async def test_a_name_that_does_not_exist_is_missing() -> None:
    async def nowhere(name: str, port: int) -> list[str]:
        raise OSError

    async with Remote(resolve=nowhere) as ours:
        with pytest.raises(Missing, match="no host"):
            await ours.fetch("https://cats.example/a")


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://cats.example/a",
        "gopher://cats.example/a",
        "//cats.example/a",
        "cats.example/a",
        "https:///a",
        "https://user@cats.example/a",
        "https://cats.example:99999/a",
        "https://cats.example:0/a",
        "https://cats.example\\@evil.example/a",
        "https://cats.example/a b",
        "https://cats.example/a\r\nx-evil: 1",
        "https://c\u00e4ts.example/a",
        "https://[::1/a",
        "https://cats%2eexample/a",
        "https://cats.example/photos/../secret",
        "https://cats.example/photos/%2E%2e/secret",
    ],
)
async def test_odd_addresses_are_refused(url: str) -> None:
    async with remote() as ours:
        with pytest.raises(Refused):
            await ours.fetch(url)
        with pytest.raises(Refused):
            ours.allows(url)


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://cats.example/photos/a.jpg", True),
        ("https://CATS.example/photos/a.jpg", True),
        ("https://cats.example/photos/below/a.jpg", True),
        ("https://cats.example/photos-of-others/a.jpg", False),
        ("https://cats.example/a.jpg", False),
        ("http://cats.example/photos/a.jpg", False),
        ("https://cats.example:8443/photos/a.jpg", False),
        ("https://cats.example.evil.example/photos/a.jpg", False),
        ("https://evil.example/?https://cats.example/photos/", False),
        ("https://cats.example./photos/a.jpg", False),
    ],
)
async def test_only_what_is_on_the_list_is_allowed(url: str, allowed: bool) -> None:  # noqa: FBT001 - of the table
    async with Remote(["https://cats.example/photos"]) as ours:
        assert ours.allows(url) is allowed


async def test_the_certificate_must_be_the_names(tmp_path: Path) -> None:
    await asyncio.to_thread(_certificate, tmp_path, "cats.example")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    trusting = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
    async with hosting(Host(), server) as host, remote(context=trusting) as ours:
        assert await ours.fetch(f"https://cats.example:{host.port}/a") == b"image"
        with pytest.raises(Unavailable):
            await ours.fetch(f"https://dogs.example:{host.port}/a")
    async with hosting(Host(), server) as host, remote() as strict:
        with pytest.raises(Unavailable):
            await strict.fetch(f"https://cats.example:{host.port}/a")


def _certificate(folder: Path, name: str) -> None:
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *(
                "-nodes",
                "-days",
                "2",
                "-subj",
                f"/CN={name}",
                "-addext",
                f"subjectAltName=DNS:{name}",
            ),
            *("-keyout", folder / "key.pem", "-out", folder / "cert.pem"),
        ],
        check=True,
        capture_output=True,
    )
