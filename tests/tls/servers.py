"""TLS servers with every kind of configuration: nginx, OpenSSL's and GnuTLS's test servers.

What none of today's libraries speaks any more (SSL 2.0, SSL 3.0, compression, Heartbleed) is
played by `Old`: it answers a ClientHello as such a server did, and nothing more.
"""

from __future__ import annotations

import contextlib
import socket
import socketserver
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AuthorityInformationAccessOID

from tests.tls import authority
from tests.tls.authority import Signer, leaf
from tests.tls.pebble import free_port, require

__all__ = ["HSTS", "Old", "answering", "gnutls", "incomplete", "nginx", "old", "openssl"]

HSTS = 'add_header Strict-Transport-Security "max-age=63072000; includeSubDomains" always;'
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


@contextlib.contextmanager
def nginx(
    pair: Signer | None = None,
    *,
    protocols: str = "TLSv1.2 TLSv1.3",
    ciphers: str = "HIGH:!aNULL:!kRSA:!SHA1:!SHA256:!SHA384:!DHE",
    more: str = HSTS,
    chain: bytes | None = None,
    dh_bits: int | None = None,
) -> Iterator[int]:
    """Serve a page over HTTPS; yields the port."""
    program = require("nginx", "nginx-light")
    pair = pair or leaf("localhost")
    with tempfile.TemporaryDirectory(prefix="nginx-") as name:
        folder, port = Path(name), free_port()
        (folder / "chain").write_bytes(pair.chain if chain is None else chain)
        (folder / "key").write_bytes(pair.key_bytes)
        if dh_bits:
            (folder / "dh").write_text(_dh(dh_bits))
            more += f" ssl_dhparam {folder}/dh;"
        paths = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in _TEMPORARY)
        (folder / "conf").write_text(f"""
            daemon off; master_process off; error_log {folder}/log; pid {folder}/pid;
            events {{}}
            http {{
              access_log off; {paths}
              server {{
                listen 127.0.0.1:{port} ssl; server_name localhost;
                ssl_certificate {folder}/chain; ssl_certificate_key {folder}/key;
                ssl_protocols {protocols}; ssl_ciphers {ciphers}; {more}
                return 200 "hello";
              }}
            }}""")
        with _running([program, "-p", name, "-c", str(folder / "conf")], port, folder / "log"):
            yield port


@contextlib.contextmanager
def incomplete() -> Iterator[int]:
    """A server that leaves the intermediate out, whose address is in its certificate."""
    der = authority.intermediate().certificate.public_bytes(Encoding.DER)
    with answering({"/ca.der": der}) as url:
        place = x509.AccessDescription(
            AuthorityInformationAccessOID.CA_ISSUERS,
            x509.UniformResourceIdentifier(f"{url}/ca.der"),
        )
        pair = leaf("localhost", more=[x509.AuthorityInformationAccess([place])])
        with nginx(pair, chain=pair.alone) as port:
            yield port


@contextlib.contextmanager
def answering(
    pages: Mapping[str, bytes | Callable[[bytes], bytes]],
) -> Iterator[str]:
    """A plain HTTP server with these pages, GET or POST; yields its URL."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Be quiet."""

        def do_GET(self) -> None:
            page = pages.get(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answer = page(body) if callable(page) else page
            self.send_response(404 if answer is None else 200)
            self.end_headers()
            self.wfile.write(answer or b"")

        do_POST = do_GET  # noqa: N815 - the library's name

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@contextlib.contextmanager
def openssl(*options: str, pair: Signer | None = None) -> Iterator[int]:
    """Serve by `openssl s_server`, which has options that nginx lacks."""
    pair = pair or leaf("localhost")
    with tempfile.TemporaryDirectory(prefix="s_server-") as name:
        folder, port = Path(name), free_port()
        (folder / "leaf").write_bytes(pair.alone)
        (folder / "above").write_bytes(pair.chain.removeprefix(pair.alone))
        (folder / "key").write_bytes(pair.key_bytes)
        command = [
            require("openssl"), "s_server", "-accept", f"127.0.0.1:{port}", "-www", "-quiet",
            "-cert", str(folder / "leaf"), "-cert_chain", str(folder / "above"),
            "-key", str(folder / "key"), *options,
        ]  # fmt: skip
        with _running(command, port):
            yield port


@contextlib.contextmanager
def gnutls(priority: str, *, pair: Signer | None = None) -> Iterator[int]:
    """Serve by `gnutls-serv`, which still knows RC4 and 3DES."""
    pair = pair or leaf("localhost")
    with tempfile.TemporaryDirectory(prefix="gnutls-") as name:
        folder, port = Path(name), free_port()
        (folder / "chain").write_bytes(pair.chain)
        (folder / "key").write_bytes(pair.key_bytes)
        command = [
            require("gnutls-serv", "gnutls-bin"), "--http", "--quiet", "--port", str(port),
            "--x509certfile", str(folder / "chain"), "--x509keyfile", str(folder / "key"),
            "--priority", priority,
        ]  # fmt: skip
        with _running(command, port):
            yield port


@contextlib.contextmanager
def _running(command: list[str], port: int, log: Path | None = None) -> Iterator[None]:
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        limit = time.monotonic() + 20
        while time.monotonic() < limit:
            if process.poll() is not None:
                pytest.fail(f"{command} ended: {log.read_text() if log else process.returncode}")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.02)
        yield
    finally:
        process.kill()
        process.wait()


def _dh(bits: int) -> str:
    """A group of that size; those of 1024 bits take a moment to make, so one is kept here."""
    if bits == 1024:
        return _DH_1024
    done = subprocess.run(
        ["openssl", "genpkey", "-genparam", "-algorithm", "DH", "-pkeyopt", f"group:ffdhe{bits}"],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.replace("X9.42 ", "")


_DH_1024 = """-----BEGIN X9.42 DH PARAMETERS-----
MIIBJgKBgQCuo5aBSM/CmuU5bDNz6Ul8B5s8UlpUbw9ApUDrABR+NBlvsw6E0OTy
dl0JR2sMwTY0Sx6KJfpnZDzJpmz9s1AgbBeF38rw90Ym3TqwYbMUPfgfkXXsrFhK
Ljhkxyu+Xv0tGACADbRnxca9cnTxTW4iZxcsEOpJqrEZV0iRErMxdwKBgFckAE9l
jpNzO4/NOh3ChNdBwb9/IqZFXKOzyUyiztymi30fFhbQpb4Haq25F9CLuRXRv9+/
IDI8G6Jkwb4vyDBC8omvWvKIr6PqtYpf/y1ErGD4XZ2y1pa5w3eQuWwqake67mSv
Az6lbgp6caQtvegEraQUOC9/BdAt3eOIl2KwAh0A8H7SHb1WNabVLuicXePHShoe
Hz6gdIjlU32o0w==
-----END X9.42 DH PARAMETERS-----
"""


# -- servers of old -------------------------------------------------------------------------------


@dataclass
class Old:
    """What the server speaks: suites by version, and its holes."""

    suites: dict[int, tuple[int, ...]]
    ssl2_kinds: bytes = b""
    compression: bool = False
    bleeds: bool = False
    early_ccs: bool = False
    secure_renegotiation: bool = True
    dh_bits: int = 2048
    pair: Signer = field(default_factory=lambda: leaf("localhost"))


@contextlib.contextmanager
def old(server: Old) -> Iterator[int]:
    """Play `server`; yields the port."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                self.request.settimeout(5)
                _play(server, self.request)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        request_queue_size = 64

    with Server(("127.0.0.1", 0), Handler) as listener:
        thread = threading.Thread(target=listener.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield listener.server_address[1]
        listener.shutdown()
        thread.join()


def _play(server: Old, peer: socket.socket) -> None:
    head = _exactly(peer, 5)
    if head[0] & 0x80:
        _exactly(peer, ((head[0] & 0x7F) << 8 | head[1]) - 3)
        if server.ssl2_kinds:
            peer.sendall(_ssl2_hello(server))
        return
    hello = _exactly(peer, struct.unpack("!H", head[3:5])[0])
    version, offered, compressions, extensions = _parse(hello)
    chosen = next((s for s in server.suites.get(version, ()) if s in offered), None)
    if chosen is None:
        peer.sendall(b"\x15" + struct.pack("!HHBB", max(version, 0x0300), 2, 2, 40))
        return
    compression = 1 if server.compression and 1 in compressions else 0
    peer.sendall(_flight(server, version, chosen, compression, heartbeats=15 in extensions))
    _after(server, peer, version)


def _after(server: Old, peer: socket.socket, version: int) -> None:
    swallowed = 0
    while head := _exactly(peer, 5):
        payload = _exactly(peer, struct.unpack("!H", head[3:5])[0])
        if head[0] == 24 and server.bleeds:
            claimed = struct.unpack("!H", payload[1:3])[0]
            answer = b"\x02" + payload[1:3] + b"memory of others"[:claimed] + b"p" * 16
            peer.sendall(b"\x18" + struct.pack("!HH", version, len(answer)) + answer)
        elif head[0] == 20:
            swallowed += 1
            if not server.early_ccs:
                peer.sendall(b"\x15" + struct.pack("!HHBB", version, 2, 2, 10))
                return
            if swallowed == 2:
                peer.sendall(b"\x15" + struct.pack("!HHBB", version, 2, 2, 20))
                return


def _flight(server: Old, version: int, suite: int, compression: int, *, heartbeats: bool) -> bytes:
    extensions = b"\xff\x01\x00\x01\x00" if server.secure_renegotiation else b""
    if heartbeats and server.bleeds:
        extensions += b"\x00\x0f\x00\x01\x01"
    body = struct.pack("!H", version) + b"r" * 32 + b"\x00" + struct.pack("!HB", suite, compression)
    if extensions:
        body += struct.pack("!H", len(extensions)) + extensions
    messages = _message(2, body)
    ders = [c.public_bytes(Encoding.DER) for c in (server.pair.certificate, *server.pair.above)]
    listed = b"".join(len(der).to_bytes(3, "big") + der for der in ders)
    messages += _message(11, len(listed).to_bytes(3, "big") + listed)
    if suite in {0x0014, 0x0016, 0x0033, 0x0039}:
        size = server.dh_bits // 8
        prime = struct.pack("!H", size) + b"\xff" * size
        messages += _message(12, prime + b"\x00\x01\x02" + struct.pack("!H", size) + b"y" * size)
    messages += _message(14, b"")
    # Split in odd places, as networks do.
    records = [messages[i : i + 1000] for i in range(0, len(messages), 1000)]
    return b"".join(b"\x16" + struct.pack("!HH", version, len(r)) + r for r in records)


def _message(kind: int, body: bytes) -> bytes:
    return bytes([kind]) + len(body).to_bytes(3, "big") + body


def _ssl2_hello(server: Old) -> bytes:
    der, kinds = server.pair.certificate.public_bytes(Encoding.DER), server.ssl2_kinds
    body = struct.pack("!BBBHHHH", 4, 0, 1, 2, len(der), len(kinds), 16) + der + kinds + b"c" * 16
    return struct.pack("!H", 0x8000 | len(body)) + body


def _parse(hello: bytes) -> tuple[int, set[int], bytes, set[int]]:
    """Version, suites, compressions and extensions of a ClientHello."""
    version, at = struct.unpack("!H", hello[4:6])[0], 38
    at += 1 + hello[at]
    size = struct.unpack("!H", hello[at : at + 2])[0]
    suites = {s for (s,) in struct.iter_unpack("!H", hello[at + 2 : at + 2 + size])}
    at += 2 + size
    compressions = hello[at + 1 : at + 1 + hello[at]]
    at += 1 + hello[at] + 2
    extensions = set()
    while at < len(hello):
        kind, length = struct.unpack("!HH", hello[at : at + 4])
        extensions.add(kind)
        if kind == 43:
            version = 0x0304
        at += 4 + length
    return version, suites, compressions, extensions


def _exactly(peer: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = peer.recv(count - len(data))
        if not piece:
            raise ConnectionError("gone")
        data += piece
    return data
