from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from insight_cloud.core.errors import Conflict, Corrupt, Unavailable
from insight_cloud.tls import certificate, serving
from insight_cloud.tls.issuer import Wanted
from insight_cloud.tls.keeper import Keeper
from insight_cloud.tls.serving import Challenges, Live, PlainHttp
from insight_cloud.tls.store import Meta, Store
from tests.patience import BUSY
from tests.tls import authority
from tests.tls.authority import NOW, Signer, leaf, rsa_key
from tests.tls.issuers import Authority, Clock


def install(store: Store, signer: Signer, number: int = 0) -> str:
    meta = Meta("custom", NOW + timedelta(seconds=number))
    store.install(signer.chain, signer.key_bytes, meta)
    return certificate.load(signer.chain).fingerprint


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": scope["scheme"].encode()})


@contextlib.contextmanager
def served(context: ssl.SSLContext) -> Iterator[int]:
    """Serve `app` by uvicorn in a thread, as `insight serve` does."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(
        app,
        ssl_context_factory=lambda *_: context,
        lifespan="off",
        log_level="error",
        loop="uvloop",
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield listener.getsockname()[1]
    server.should_exit = True
    thread.join(20)


def shown(port: int, *, ciphers: str = "DEFAULT") -> str:
    """The fingerprint of what a visitor sees, after a whole handshake that is verified."""
    context = ssl.create_default_context(cadata=authority.root().alone.decode())
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(ciphers)
    with (
        socket.create_connection(("127.0.0.1", port), 20) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        der = connection.getpeercert(binary_form=True)
    assert der is not None
    return certificate.load(ssl.DER_cert_to_PEM_cert(der).encode()).fingerprint


def test_a_new_certificate_is_served_from_the_next_handshake_on(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = install(store, leaf("localhost"))
    live = Live(store)
    with served(live.context) as port:
        assert shown(port) == first
        second = install(store, leaf("localhost"), 1)
        assert shown(port) == first
        assert live.reload()
        assert not live.reload()
        assert shown(port) == second


def test_no_older_certificate_of_another_key_type_stays_behind(tmp_path: Path) -> None:
    store = Store(tmp_path)
    install(store, leaf("localhost"))
    live = Live(store)
    with served(live.context) as port:
        rsa = install(store, leaf("localhost", key=rsa_key(2048)), 1)
        live.reload()
        assert shown(port) == rsa
        with pytest.raises(ssl.SSLError):
            shown(port, ciphers="ECDHE-ECDSA-AES128-GCM-SHA256")


def test_it_is_followed_by_itself(tmp_path: Path) -> None:
    store = Store(tmp_path)
    install(store, leaf("localhost"))
    live = Live(store)
    with served(live.context) as port, live.following(seconds=0.02):
        second = install(store, leaf("localhost"), 1)
        limit = time.monotonic() + BUSY
        while shown(port) != second:
            assert time.monotonic() < limit
    assert "tls-follow" not in {t.name for t in threading.enumerate()}


def test_without_a_certificate_the_port_is_open_all_the_same(tmp_path: Path) -> None:
    store = Store(tmp_path)
    live = Live(store, names=["localhost"])
    assert live.version is None
    with served(live.context) as port:
        with pytest.raises(ssl.SSLCertVerificationError, match="self-signed"):
            shown(port)
        answer = httpx.get(f"https://127.0.0.1:{port}/", verify=False)
        assert answer.text == "https"
        first = install(store, leaf("localhost"))
        live.reload()
        assert shown(port) == first


def test_a_pair_that_cannot_be_served_is_refused_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(tmp_path)
    first = install(store, leaf("localhost"))
    live = Live(store)
    meta = Meta("custom", NOW + timedelta(seconds=1))
    broken = store.install(leaf("localhost").chain, leaf("x").key_bytes, meta)
    assert not live.reload()
    assert not live.reload()
    assert sum("refused" in r.message for r in caplog.records) == 1
    with served(live.context) as port:
        assert shown(port) == first
        store.use(store.history()[1].name)
        live.reload()
        install(store, leaf("localhost"), 2)
        assert live.reload()
    assert broken.name != live.version


def test_a_context_of_a_broken_pair_is_corrupt(tmp_path: Path) -> None:
    with pytest.raises(Corrupt, match="cannot be served"):
        serving.server_context(tmp_path / "none", tmp_path / "none")


def test_handshakes_go_on_while_certificates_change(tmp_path: Path) -> None:
    """A short form of what `bench/tls.py` does with 10,000 handshakes."""
    store = Store(tmp_path)
    known = {install(store, leaf("localhost"))}
    live = Live(store)
    stop, seen, failures = threading.Event(), set[str](), list[Exception]()

    def visit(port: int) -> None:
        while not stop.is_set():
            try:
                seen.add(shown(port))
            except (OSError, AssertionError) as error:
                failures.append(error)

    with served(live.context) as port, live.following(seconds=0.01):
        visitors = [threading.Thread(target=visit, args=(port,)) for _ in range(4)]
        for visitor in visitors:
            visitor.start()
        for number in range(10):
            fresh = install(store, leaf("localhost"), number + 1)
            known.add(fresh)
            limit = time.monotonic() + BUSY
            while fresh not in seen and time.monotonic() < limit:
                time.sleep(0.01)
        stop.set()
        for visitor in visitors:
            visitor.join()
    assert failures == []
    assert seen == known


# -- plain HTTP -----------------------------------------------------------------------------------


def request(path: str, host: str = "a.example") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


def test_challenges_are_answered_and_all_else_is_sent_to_https(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put_challenge("t" * 43, "answer")
    plain = PlainHttp(store, names=["a.example", "*.b.example", "::1"])
    path = "/.well-known/acme-challenge/"
    assert plain.answer(request(path + "t" * 43, "anything")).endswith(b"\r\n\r\nanswer")
    assert b" 404 " in plain.answer(request(path + "u" * 43))
    assert b" 404 " in plain.answer(request(path + "../../account.json"))
    moved = plain.answer(request("/x?y=1"))
    assert b" 308 " in moved
    assert b"Location: https://a.example/x?y=1\r\n" in moved
    assert b"https://www.b.example/" in plain.answer(request("/", "www.b.example:80"))
    assert b"https://[::1]/" in plain.answer(request("/", "[::1]"))


def test_nobody_is_sent_to_a_strange_host(tmp_path: Path) -> None:
    plain = PlainHttp(Store(tmp_path), names=["a.example"], https_port=8443)
    assert b"Location: https://a.example:8443/\r\n" in plain.answer(request("/", "evil.example"))
    only = PlainHttp(Store(tmp_path), names=["*.a.example"])
    assert b" 400 " in only.answer(request("/", "evil.example"))
    split = plain.answer(b"GET /\r\nX: y HTTP/1.1\r\nHost: a.example\r\n\r\n")
    assert b" 400 " in split
    assert b" 400 " in plain.answer(b"\x16\x03\x01 nonsense\r\n\r\n")


async def test_the_plain_port_serves_until_it_is_cancelled(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put_challenge("t" * 43, "answer")
    listener = serving.listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    task = asyncio.create_task(PlainHttp(store, names=["a.example"]).serve(listener))
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        answer = await client.get("/.well-known/acme-challenge/" + "t" * 43)
        assert (answer.status_code, answer.text) == (200, "answer")
        moved = await client.post("/form", content=b"x" * 100)
        assert moved.headers["location"] == "https://a.example/form"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 5000)
    assert await reader.read() == b""  # more than a head may have
    writer.close()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    with pytest.raises(OSError):  # noqa: PT011 - refused or reset
        await asyncio.open_connection("127.0.0.1", port)


def test_a_taken_port_is_said() -> None:
    with serving.listen("127.0.0.1", 0) as first, pytest.raises(Conflict, match=r"tls\.http_port"):
        serving.listen("127.0.0.1", first.getsockname()[1])


async def test_the_middleware_answers_for_any_application(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put_challenge("t" * 43, "answer")
    transport = httpx.ASGITransport(Challenges(app, store))
    async with httpx.AsyncClient(transport=transport, base_url="http://a.example") as client:
        answer = await client.get("/.well-known/acme-challenge/" + "t" * 43)
        assert (answer.status_code, answer.text) == (200, "answer")
        assert (await client.get("/.well-known/acme-challenge/x")).status_code == 404
        assert (await client.get("/other")).text == "http"


# -- beside the server ----------------------------------------------------------------------------


def test_it_renews_beside_the_server_and_ends_with_it(tmp_path: Path) -> None:
    store, clock = Store(tmp_path), Clock()
    keeper = Keeper(store, Authority(clock), Wanted(("a.example",)), now=clock)
    listener = serving.listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    plain = PlainHttp(store, names=["a.example"])
    with serving.beside(keeper=keeper, http=listener, plain=plain, minutes=240):
        limit = time.monotonic() + BUSY
        while store.current() is None:
            assert time.monotonic() < limit
            time.sleep(0.01)
        answer = httpx.get(f"http://127.0.0.1:{port}/page")
        assert answer.headers["location"] == "https://a.example/page"
    assert "tls-beside" not in {t.name for t in threading.enumerate()}


async def test_looks_are_at_random_moments_and_sooner_after_a_failure(tmp_path: Path) -> None:
    clock, slept = Clock(), list[float]()
    made = Authority(clock)
    keeper = Keeper(Store(tmp_path), made, Wanted(("a.example",)), now=clock)

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock.now += timedelta(seconds=seconds)
        if len(slept) == 6:
            raise asyncio.CancelledError

    made.failing = lambda _: Unavailable("down") if len(slept) < 2 else None
    draws = iter([0.0, 0.99, 0.5, 0.25, 0.1, 0.9])
    with contextlib.suppress(asyncio.CancelledError):
        await serving.renewing(keeper, minutes=240, draw=lambda: next(draws), sleep=sleep)
    assert slept[0] == pytest.approx(15 * 60, abs=1)
    assert slept[1] == pytest.approx(30 * 60, abs=1)
    assert slept[2:] == pytest.approx([240 * 60, 180 * 60, 144 * 60, 336 * 60])
    assert len(made.issued) == 1
