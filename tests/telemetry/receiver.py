"""A server on loopback that keeps what it is sent: a collector, Sentry, or Azure in the tests."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import brotli  # type: ignore[import-untyped]  # no types


@dataclass(frozen=True, slots=True)
class Received:
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class Receiver:
    """Where it listens, and what came. `hang` keeps every sender waiting until the end."""

    port: int
    received: list[Received] = field(default_factory=list)
    hang: bool = False
    arrived: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def gone(name: str) -> None:
    """Wait for the threads called `name`, so that their log does not reach the next test."""
    for thread in threading.enumerate():
        if thread.name.startswith(name):
            thread.join(60)
            assert not thread.is_alive()


def nothing(_: bytes) -> bytes:
    return b"{}"


def accepted(body: bytes) -> bytes:
    """What Application Insights answers when it takes every item."""
    count = len(json.loads(body))
    return json.dumps({"itemsReceived": count, "itemsAccepted": count, "errors": []}).encode()


@contextmanager
def receiving(answer: Callable[[bytes], bytes] = nothing) -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if receiver.hang:
                receiver.arrived.set()
                receiver.ended.wait()
                return
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            elif self.headers.get("content-encoding") == "br":
                body = brotli.decompress(body)
            headers = {name.lower(): value for name, value in self.headers.items()}
            receiver.received.append(Received(self.path, headers, body))
            content = answer(body)
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            receiver.arrived.set()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        receiver = Receiver(server.server_address[1])
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        try:
            yield receiver
        finally:
            receiver.ended.set()
            server.shutdown()
            serving.join()
