"""A deployment to be looked at: site, databases, name servers, files. Each test builds its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dns.message
import dns.rrset
import psycopg
import uvicorn

from insight_cloud.core.asgi import Receive, Scope, Send
from insight_cloud.launch import Target, checklist
from insight_cloud.launch.file import LaunchFile
from tests import postgres
from tests.tls.authority import Signer

__all__ = ["Reply", "Servers", "Site", "World"]

NOW = datetime.now(UTC).replace(microsecond=0)


@dataclass(frozen=True)
class Reply:
    """What a path of the site answers."""

    body: str = ""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    cookies: tuple[str, ...] = ()


Page = Reply | Callable[[Scope, bytes], Reply]


class Site:
    """Answers by path, or by method and path; anything else is a proper 404."""

    def __init__(self) -> None:
        self.pages: dict[str, Page] = {}
        self.missing = Reply("Not found. " * 20, 404)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = bytearray()
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        method, path = scope["method"], scope["path"]
        page = self.pages.get(f"{method} {path}", self.pages.get(path, self.missing))
        reply = page if isinstance(page, Reply) else page(scope, bytes(body))
        data = reply.body.encode()
        headers = {"content-type": "text/html", **reply.headers, "content-length": str(len(data))}
        lines = [(name.encode(), value.encode()) for name, value in headers.items()]
        lines += [(b"set-cookie", cookie.encode()) for cookie in reply.cookies]
        await send({"type": "http.response.start", "status": reply.status, "headers": lines})
        await send({"type": "http.response.body", "body": data})


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Ctrl-C belongs to the tests."""
        yield


@asynccontextmanager
async def serving(app: Any, **options: Any) -> AsyncIterator[int]:
    """Serve on a free port of loopback."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, log_level="critical", lifespan="off", **options)
        server = _Server(config)
        running = asyncio.ensure_future(server.serve(sockets=[listener]))
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event to wait for
            await asyncio.sleep(0.005)
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            await running


class _Names(asyncio.DatagramProtocol):
    def __init__(self, records: Mapping[tuple[str, str], tuple[int, list[str]]]) -> None:
        self.records = records

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        query = dns.message.from_wire(data)
        answer = dns.message.make_response(query)
        question = query.question[0]
        kind = dns.rdatatype.to_text(question.rdtype)
        found = self.records.get((question.name.to_text(omit_final_dot=True), kind))
        if found is not None:
            ttl, texts = found
            answer.answer.append(dns.rrset.from_text(question.name, ttl, "IN", kind, *texts))
        self.transport.sendto(answer.to_wire(), addr)


class Servers:
    """PostgreSQL servers of the session, started when a test first asks for them."""

    def __init__(self, stack: contextlib.ExitStack, embedded: str) -> None:
        self._stack = stack
        self._urls = {"embedded": embedded}

    def url(self, name: str) -> str:
        if name not in self._urls:
            self._urls[name] = _started(self._stack, name)
        return self._urls[name]


def _started(stack: contextlib.ExitStack, name: str) -> str:
    """Debian's server: one as it should be, one as it should not."""
    postgres.require_debian()
    strict = {
        "shared_preload_libraries": "pg_stat_statements",
        "log_min_duration_statement": "500",
        "log_lock_waits": "on",
        "password_encryption": "scram-sha-256",
    }
    loose = {"autovacuum": "off", "log_lock_waits": "off", "password_encryption": "md5"}
    server = stack.enter_context(postgres.debian(strict if name == "strict" else loose))
    for _ in range(600):
        with contextlib.suppress(psycopg.OperationalError):
            psycopg.connect(server.url).close()
            break
        time.sleep(0.05)
    hosts = server.data / "pg_hba.conf"
    address = "reject" if name == "strict" else "trust"
    hosts.write_text(f"local all all trust\nhost all all 0.0.0.0/0 {address}\n")
    with psycopg.connect(server.url, autocommit=True) as connection:
        if name == "strict":
            _encrypt(server)
        connection.execute("select pg_reload_conf()")
        connection.execute("select pg_sleep(0.2)")
    return server.url


def _encrypt(server: postgres.Debian) -> None:
    """Give the server a certificate of its own, and let it speak TLS."""
    key, certificate = server.data / "server.key", server.data / "server.crt"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
    )  # fmt: skip
    key.chmod(0o600)
    owner = server.data.stat()
    for path in (key, certificate):
        os.chown(path, owner.st_uid, owner.st_gid)
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("alter system set ssl = on")


@dataclass
class World:
    """What a test builds, and the target that looks at it."""

    folder: Path
    servers: Servers
    stack: AsyncExitStack
    now: datetime = NOW
    site: Site = field(default_factory=Site)
    values: dict[str, Any] = field(default_factory=dict)
    file: dict[str, Any] = field(default_factory=dict)
    target: dict[str, Any] = field(default_factory=dict)

    def ago(self, **span: float) -> str:
        return (self.now - timedelta(**span)).isoformat()

    def put(self, name: str, data: Any, *, mode: int = 0o644) -> Path:
        """Write a file: text as it is, anything else as JSON."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(data if isinstance(data, str) else json.dumps(data))
        path.chmod(mode)
        os.utime(path, (self.now.timestamp() - 60, self.now.timestamp() - 60))
        return path

    def program(self, name: str, script: str) -> None:
        """A program of this name on the path of the probes."""
        path = self.put(f"bin/{name}", f"#!/bin/sh\n{script}\n", mode=0o755)
        self.target["path"] = f"{path.parent}:/usr/bin:/bin"

    def git(self, *words: str) -> str:
        """Run Git in the folder, as somebody."""
        who = ["-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "init.defaultBranch=main"]
        command = ["git", *who, "-C", str(self.folder), *words]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def commit(self, tag: str | None = None) -> str:
        """Commit all that is in the folder."""
        self.git("init", "-q")
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "All", "--allow-empty")
        if tag:
            self.git("tag", tag)
        return self.git("rev-parse", "HEAD")

    async def serve(self, pair: Signer | None = None, host: str = "127.0.0.1") -> str:
        """Serve the site, over TLS with `pair`; the target looks there."""
        options: dict[str, Any] = {}
        if pair is not None:
            options["ssl_certfile"] = str(self.put("tls/chain.pem", pair.chain.decode()))
            options["ssl_keyfile"] = str(self.put("tls/key.pem", pair.key_bytes.decode()))
        port = await self.stack.enter_async_context(serving(self.site, **options))
        url = f"{'https' if pair else 'http'}://{host}:{port}"
        self.target["url"] = url
        return url

    async def names(self, records: Mapping[tuple[str, str], tuple[int, list[str]]]) -> str:
        """A name server with these records; its address."""
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(
            lambda: _Names(records), local_addr=("127.0.0.1", 0)
        )
        self.stack.callback(transport.close)
        return f"127.0.0.1:{transport.get_extra_info('sockname')[1]}"

    async def database(self, server: str = "embedded", *statements: str) -> str:
        """A new database with these statements executed; the target looks there."""
        url = await self.stack.enter_async_context(postgres.database(self.servers.url(server)))
        await self.execute(url, *statements)
        self.target["database_url"] = url
        return url

    async def execute(self, url: str, *statements: str) -> None:
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            for statement in statements:
                await connection.execute(statement.encode())

    def built(self) -> Target:
        """The target."""
        about = {"values": self.values, **self.file}
        given = {"now": self.now, "folder": self.folder, "timeout_seconds": 5.0, **self.target}
        return Target(checklist=checklist(), file=LaunchFile(**about), **given)


Setup = Callable[[World], Awaitable[None] | None]
