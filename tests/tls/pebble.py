"""A real ACME authority on loopback: pebble with its challenge server, and a front before it.

The front passes everything on to pebble and adds what Debian's version lacks (profiles, renewal
information), notes every order, and can be told to fail in every way in which authorities do.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.tls import authority

__all__ = ["Answer", "Front", "Pebble", "free_port", "pebble", "require"]

_PROFILES = {"classic": "90 days", "tlsserver": "45 days", "shortlived": "6 days"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What the front answers in pebble's place."""

    status: int
    body: bytes = b"{}"
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/problem+json"),)
    close: bool = False

    @classmethod
    def problem(cls, status: int, kind: str, detail: str, **headers: str) -> Answer:
        body = {"type": f"urn:ietf:params:acme:error:{kind}", "detail": detail, "status": status}
        more = tuple((name.replace("_", "-"), value) for name, value in headers.items())
        return cls(
            status, json.dumps(body).encode(), (("Content-Type", "application/problem+json"), *more)
        )


@dataclass
class Front:
    """The proxy's behaviour; tests change it while it runs."""

    fault: Callable[[str, str], Answer | None] = lambda method, path: None
    renewal: dict[str, Any] | None = None
    """What is answered as renewal information; None as a 404."""
    ask_again: str = "21600"
    orders: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Pebble:
    """Where the authority is and what a test can do to it."""

    url: str
    direct_url: str
    ca_file: Path
    http_port: int
    challenge_url: str
    management_url: str
    front: Front

    def root(self) -> bytes:
        """Pebble invents a new root at every start."""
        context = ssl.create_default_context(cafile=str(self.ca_file))
        with urllib.request.urlopen(f"{self.management_url}/roots/0", context=context) as answer:
            return bytes(answer.read())

    def tell(self, path: str, **values: Any) -> None:
        """Tell the challenge server, which is also pebble's DNS, something."""
        request = urllib.request.Request(
            f"{self.challenge_url}/{path}", json.dumps(values).encode(), method="POST"
        )
        with urllib.request.urlopen(request) as answer:
            assert answer.status == 200


def require(program: str, package: str = "") -> str:
    """Skip the test where `program` is not installed; on the build server that is a failure."""
    found = shutil.which(program)
    if found is not None:
        return found
    reason = f"{program} is not installed (Debian: apt-get install {package or program})"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def pebble(**environment: str) -> Iterator[Pebble]:
    """Start pebble, its challenge server and the front."""
    program = require("pebble")
    with tempfile.TemporaryDirectory(prefix="pebble-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        server = authority.leaf("localhost", "127.0.0.1", by=authority.root())
        (folder / "cert.pem").write_bytes(server.chain)
        (folder / "key.pem").write_bytes(server.key_bytes)
        (folder / "ca.pem").write_bytes(authority.root().alone)
        ports = [free_port() for _ in range(5)]
        listen, management, http_port, dns, control = ports
        (folder / "config.json").write_text(
            json.dumps(_config(folder, listen, management, http_port))
        )
        challenges = [
            *(require("pebble-challtestsrv", "pebble"), "-defaultIPv6", ""),
            *("-http01", "", "-https01", "", "-tlsalpn01", ""),
            *("-dns01", f"127.0.0.1:{dns}", "-management", f"127.0.0.1:{control}"),
        ]
        main = [program, "-config", "config.json", "-dnsserver", f"127.0.0.1:{dns}", "-strict"]
        quick = {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "5", "PEBBLE_AUTHZREUSE": "0"}
        for command in (challenges, main):
            stack.enter_context(_running(command, folder, {**quick, **environment}))
        _wait(listen)
        _wait(control)
        front = Front()
        port = stack.enter_context(_front(front, listen, folder))
        yield Pebble(
            f"https://127.0.0.1:{port}/dir",
            f"https://127.0.0.1:{listen}/dir",
            folder / "ca.pem",
            http_port,
            f"http://127.0.0.1:{control}",
            f"https://127.0.0.1:{management}",
            front,
        )


def _config(folder: Path, listen: int, management: int, http_port: int) -> dict[str, Any]:
    return {
        "pebble": {
            "listenAddress": f"127.0.0.1:{listen}",
            "managementListenAddress": f"127.0.0.1:{management}",
            "certificate": str(folder / "cert.pem"),
            "privateKey": str(folder / "key.pem"),
            "httpPort": http_port,
            "tlsPort": 1,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": False,
        }
    }


@contextlib.contextmanager
def _running(command: list[str], folder: Path, environment: dict[str, str]) -> Iterator[None]:
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={"PATH": os.environ.get("PATH", ""), **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _wait(port: int) -> None:
    limit = time.monotonic() + 20
    while time.monotonic() < limit:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    pytest.fail(f"nothing listens on port {port}")


@contextlib.contextmanager
def _front(front: Front, upstream: int, folder: Path) -> Iterator[int]:
    trust = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(front, upstream, trust))
    server.daemon_threads = True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(  # noqa: C901 - a class with short methods
    front: Front, upstream: int, trust: ssl.SSLContext
) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            """Be quiet."""

        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            front.asked.append(f"{self.command} {self.path}")
            answer = front.fault(self.command, self.path) or self._own()
            if answer is None:
                answer = self._passed_on(body)
            if answer.close:
                self.close_connection = True
                return
            with contextlib.suppress(OSError):  # who asked has gone: tests interrupt clients
                self._send(answer)

        def _send(self, answer: Answer) -> None:
            self.send_response(answer.status)
            for name, value in answer.headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body)

        def _own(self) -> Answer | None:
            if not self.path.startswith("/renewal-info/"):
                return None
            if front.renewal is None:
                return Answer(404)
            return Answer(
                200,
                json.dumps(front.renewal).encode(),
                (("Content-Type", "application/json"), ("Retry-After", front.ask_again)),
            )

        def _passed_on(self, body: bytes) -> Answer:
            if self.path == "/order-plz":
                front.orders.append(_payload(body))
            connection = http.client.HTTPSConnection("127.0.0.1", upstream, context=trust)
            headers = {n: v for n, v in self.headers.items() if n.lower() != "connection"}
            connection.request(self.command, self.path, body or None, headers)
            response = connection.getresponse()
            data = response.read()
            kept = [
                (name, value)
                for name, value in response.getheaders()
                if name.lower() not in {"content-length", "transfer-encoding", "connection"}
            ]
            connection.close()
            if self.path == "/dir":
                data = self._with_more(data)
            return Answer(response.status, data, tuple(kept))

        def _with_more(self, data: bytes) -> bytes:
            directory = json.loads(data)
            directory["renewalInfo"] = f"https://{self.headers['Host']}/renewal-info"
            directory["meta"]["profiles"] = _PROFILES
            return json.dumps(directory).encode()

        do_GET = do_POST = do_HEAD = _handle  # noqa: N815 - the library's names

    return Handler


def _payload(body: bytes) -> dict[str, Any]:
    text = json.loads(body)["payload"]
    decoded = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    assert isinstance(decoded, dict)
    return decoded
