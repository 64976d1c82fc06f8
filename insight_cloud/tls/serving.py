"""TLS in a web server: a live context that follows the store, and what runs beside the server.

    live = Live(store)
    uvicorn.Config(app, ssl_context_factory=lambda config, default: live.context)
    with live.following():
        ...

A new certificate is served from the next handshake on. Connections that are open, and those in
the middle of a handshake, keep what they began with: none of them fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import re
import socket
import ssl
import tempfile
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from insight_cloud.core.asgi import Receive, Scope, Send
from insight_cloud.core.errors import Conflict, Corrupt, InsightError, Unavailable
from insight_cloud.tls import certificate
from insight_cloud.tls.keeper import Keeper
from insight_cloud.tls.store import Store

__all__ = [
    "Challenges",
    "Live",
    "PlainHttp",
    "beside",
    "followed",
    "listen",
    "renewing",
    "server_context",
]

_log = logging.getLogger(__name__)
_LOOK_SECONDS = 0.25
_CHALLENGE = "/.well-known/acme-challenge/"
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
_HEAD_BYTES = 8192
_HEAD_SECONDS = 10
_CONNECTIONS = 500
_HOST = re.compile(
    rb"\r\nhost:[ \t]*([a-z0-9.-]{1,253}|\[[0-9a-f:.]{2,45}\])(?::\d{1,5})?[ \t]*\r\n",
    re.IGNORECASE,
)
_REQUEST = re.compile(rb"[A-Z]{3,10} (/[\x21-\x7e]*) HTTP/1\.[01]\r\n")
_LEAST_PAUSE_SECONDS = 60.0


def server_context(chain: Path, key: Path) -> ssl.SSLContext:
    """Make a context that earns an A: TLS 1.2 and 1.3, forward secrecy, authenticated ciphers.

    Raises:
        Corrupt: the pair cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(chain, key)
    except (ssl.SSLError, OSError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None)
        raise Corrupt(f"{chain} and {key} cannot be served: {reason or 'unreadable'}") from error
    return context


class Live:
    """A context whose certificate follows the store.

    Without any certificate it serves a self-signed one that it makes in memory, so that the
    port is open from the beginning; browsers warn until the first issue.

    The context given to the server never changes. At every ClientHello a callback puts the
    present one in its place, which is a single assignment here: loading a pair into a context
    in use would leave an older certificate of another key type beside it.
    """

    def __init__(self, store: Store, *, names: Sequence[str] = ()) -> None:
        self._store = store
        self._served: str | None = None
        self._refused: str | None = None
        self.context = _placeholder(names)
        self._present = self.context
        self.context.sni_callback = self._choose
        self.reload()

    @property
    def version(self) -> str | None:
        """Which version of the store is served; None for the placeholder."""
        return self._served

    def reload(self) -> bool:
        """Look at the store and serve what is in use there; whether that was something new.

        A pair that cannot be served is said once, and the one before goes on being served.
        """
        try:
            version = self._store.current()
        except InsightError as error:
            _log.warning("tls.reload failed: %s", error)
            return False
        if version is None or version.name in {self._served, self._refused}:
            return False
        try:
            fresh = server_context(version.chain, version.key)
        except Corrupt as error:
            self._refused = version.name
            _log.error("tls.reload refused, the certificate before goes on: %s", error)
            return False
        self._present, self._served, self._refused = fresh, version.name, None
        _log.info("tls.reload serves %s", version.name)
        return True

    @contextlib.contextmanager
    def following(self, *, seconds: float = _LOOK_SECONDS) -> Iterator[None]:
        """Follow the store in a thread: one look at a link every quarter of a second."""
        stop = threading.Event()
        thread = threading.Thread(target=self.follow, args=(stop, seconds), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def follow(self, stop: threading.Event | None = None, seconds: float = _LOOK_SECONDS) -> None:
        """Look again and again until `stop`."""
        stop = stop or threading.Event()
        while not stop.wait(seconds):
            self.reload()

    def _choose(
        self, connection: ssl.SSLSocket | ssl.SSLObject, _: str | None, __: ssl.SSLContext
    ) -> None:
        connection.context = self._present


def followed(store: Store, names: Sequence[str] = ()) -> ssl.SSLContext:
    """Make a context that follows the store until the process ends; for worker processes."""
    live = Live(store, names=names)
    threading.Thread(target=live.follow, name="tls-follow", daemon=True).start()
    return live.context


class Challenges:
    """ASGI middleware that answers http-01 from a store, and passes everything else on."""

    def __init__(
        self, app: Callable[[Scope, Receive, Send], Awaitable[None]], store: Store
    ) -> None:
        self._app = app
        self._store = store

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http" or not scope["path"].startswith(_CHALLENGE):
            await self._app(scope, receive, send)
            return
        answer = self._store.get_challenge(scope["path"].removeprefix(_CHALLENGE))
        body = answer if answer is not None else b"no such challenge\n"
        headers = [
            (b"content-type", b"text/plain"),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
        ]
        status = 404 if answer is None else 200
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class PlainHttp:
    """The plain HTTP port: answers http-01, and sends everybody else to HTTPS.

    One request a connection, small and within ten seconds. A host that is not one of ours is
    sent to the first that is: nobody is redirected to where the request says.

    Args:
        store: holds the challenges.
        names: the hosts that are ours.
        https_port: where HTTPS is.
    """

    def __init__(self, store: Store, *, names: Sequence[str] = (), https_port: int = 443) -> None:
        self._store = store
        self._names = tuple(names)
        self._port = "" if https_port == 443 else f":{https_port}"
        self._open = 0

    async def serve(self, listener: socket.socket) -> None:
        """Serve until cancelled."""
        server = await asyncio.start_server(self._handle, sock=listener, limit=_HEAD_BYTES)
        async with server:
            await server.serve_forever()

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open <= _CONNECTIONS:
                async with asyncio.timeout(_HEAD_SECONDS):
                    writer.write(self.answer(await reader.readuntil(b"\r\n\r\n")))
                    await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # somebody who sends no request gets no answer
        finally:
            self._open -= 1
            writer.close()

    def answer(self, head: bytes) -> bytes:
        """Answer one request, given to the end of its headers."""
        request = _REQUEST.match(head)
        if request is None:
            return _response("400 Bad Request", b"not an HTTP request\n")
        path = request[1].decode("ascii")
        if path.startswith(_CHALLENGE):
            found = self._store.get_challenge(path.removeprefix(_CHALLENGE))
            if found is not None:
                return _response("200 OK", found)
            return _response("404 Not Found", b"no such challenge\n")
        host = self._host(head)
        if host is None:
            return _response("400 Bad Request", b"this host is not served here\n")
        target = f"https://{host}{self._port}{path}"
        return _response("308 Permanent Redirect", b"", f"Location: {target}\r\n")

    def _host(self, head: bytes) -> str | None:
        match = _HOST.search(head)
        asked = match[1].decode("ascii").lower() if match else ""
        if asked and (not self._names or certificate.covers(self._names, asked.strip("[]"))):
            return asked
        first = next((name for name in self._names if not name.startswith("*.")), None)
        return f"[{first}]" if first and ":" in first else first


def listen(host: str, port: int) -> socket.socket:
    """Open the plain HTTP port.

    Raises:
        Conflict: somebody else has it.
        Unavailable: it cannot be had for another reason.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(256)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        what = f"cannot listen on {host} port {port}: {error.strerror}"
        if isinstance(error, PermissionError):
            raise Unavailable(
                f"{what}; ports below 1024 are root's: set tls.http_port to another, or give the "
                "program CAP_NET_BIND_SERVICE (the systemd unit does)"
            ) from error
        raise Conflict(f"{what}; set tls.http_port to another, or to 0 for none") from error
    return listener


async def renewing(
    keeper: Keeper,
    *,
    minutes: float,
    draw: Callable[[], float] = random.random,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Look at once, and then for ever at random moments, `minutes` apart on average.

    A failure is in the log and in the store's state; the next look is earlier then.
    """
    while True:
        with contextlib.suppress(InsightError):  # noted and logged by the keeper
            await keeper.renew()
        await sleep(_until_next_look(keeper, minutes * 60 * (0.5 + draw())))


@contextlib.contextmanager
def beside(
    *,
    keeper: Keeper | None,
    http: socket.socket | None,
    plain: PlainHttp,
    minutes: float,
) -> Iterator[None]:
    """Serve the plain port and renew, in a thread with a loop of its own, during the body.

    Apart from the web server's loop: requests do not wait for a key to be made, and it is the
    same whether the web server is one process or many.
    """
    runner = asyncio.Runner()
    loop = runner.get_loop()
    main = loop.create_task(_both(keeper, http, plain, minutes))

    def run() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            loop.run_until_complete(main)
        runner.close()

    thread = threading.Thread(target=run, name="tls-beside", daemon=True)
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(main.cancel)
        thread.join(20)
        if http is not None:
            http.close()


async def _both(
    keeper: Keeper | None, http: socket.socket | None, plain: PlainHttp, minutes: float
) -> None:
    async with asyncio.TaskGroup() as group:
        if http is not None:
            group.create_task(plain.serve(http))
        if keeper is not None:
            group.create_task(_for_ever(keeper, minutes))


async def _for_ever(keeper: Keeper, minutes: float) -> None:
    """Renewal must survive its own faults: a certificate that lapses is worse than a traceback."""
    while True:
        try:
            await renewing(keeper, minutes=minutes)
        except Exception:  # noqa: BLE001 - see above
            _log.exception("tls.renewal broke off; it is begun again in an hour")
            await asyncio.sleep(3600)


def _until_next_look(keeper: Keeper, usual: float) -> float:
    """Wait as long as usual, or until a failed try may be repeated."""
    with contextlib.suppress(InsightError):
        standing = keeper.look()
        wait = (keeper.decide(standing).at - standing.now).total_seconds()
        return max(_LEAST_PAUSE_SECONDS, min(usual, wait))
    return usual


def _placeholder(names: Sequence[str]) -> ssl.SSLContext:
    chain, key = certificate.placeholder(names, now=datetime.now(UTC))
    # `ssl` reads files only. This key protects nothing, and is gone again at once.
    with tempfile.TemporaryDirectory(prefix="insight-tls-") as folder:
        paths = Path(folder) / "chain.pem", Path(folder) / "key.pem"
        for path, data in zip(paths, (chain, key), strict=True):
            path.touch(mode=0o600)
            path.write_bytes(data)
        return server_context(*paths)


def _response(status: str, body: bytes, more: str = "") -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\n{more}Content-Type: text/plain\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode("ascii") + body
