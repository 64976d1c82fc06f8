"""Receivers on loopback: HTTP that answers as it is told, and a mail server.

`SlackReceiver` refuses what Slack documents that it refuses, so that a payload beyond a limit
fails the test and not the operator.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from pathlib import Path
from typing import Any, cast

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

__all__ = [
    "Answer",
    "MailServer",
    "Received",
    "Receiver",
    "certificate",
    "mail_server",
    "receiver",
    "slack_answer",
    "slack_faults",
]


@dataclass(frozen=True, slots=True)
class Received:
    path: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Answer:
    status: int = 200
    body: str = "ok"
    headers: tuple[str, ...] = ()
    hang: bool = False
    """Whether nothing is ever said."""
    drip: bool = False
    """Whether the body is said one character at a time, and never ends."""


@dataclass(slots=True)
class Receiver:
    """Gives one of `answers` after the other, the last one for ever."""

    answers: list[Answer | Callable[[Received], Answer]]
    received: list[Received] = field(default_factory=list)
    port: int = 0
    scheme: str = "http"
    connections: int = 0

    @property
    def url(self) -> str:
        """An address in which everything is secret."""
        return f"{self.scheme}://127.0.0.1:{self.port}/services/T0/B0/s3cr3t?token=t0k3n"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._answer(reader, writer)
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        _, path, _ = head[0].split(" ")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in head[1:] if line)
        }
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        got = Received(path, headers, body)
        self.received.append(got)
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        answer = found if isinstance(found, Answer) else found(got)
        if answer.hang:
            await reader.read()  # until the other side gives up
            return
        lines = [f"HTTP/1.1 {answer.status} Word", *answer.headers]
        if answer.drip:
            writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
            while True:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.01)
        text = answer.body.encode()
        lines.append(f"Content-Length: {len(text)}")
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode() + text)
        await writer.drain()


@asynccontextmanager
async def receiver(
    *answers: Answer | Callable[[Received], Answer], context: ssl.SSLContext | None = None
) -> AsyncIterator[Receiver]:
    found = Receiver(list(answers) or [Answer()], scheme="https" if context else "http")
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0, ssl=context)
    found.port = server.sockets[0].getsockname()[1]
    async with server:
        yield found


# -- Slack -------------------------------------------------------------------------------------


def slack_answer(received: Received) -> Answer:
    """As Slack answers: `ok`, or a code that says what is wrong."""
    faults = slack_faults(received)
    return Answer(400, "invalid_blocks" if faults else "invalid_payload") if faults else Answer()


def slack_faults(received: Received) -> list[str]:
    """What Slack's documentation forbids in this request."""
    if received.headers.get("content-type") != "application/json":
        return ["no JSON"]
    payload = received.json()
    faults = [f"unknown {name}" for name in set(payload) - {"text", "blocks"}]
    if not payload.get("text") or len(payload["text"]) > 40_000:
        faults.append("text")
    blocks = payload.get("blocks", [])
    if not 1 <= len(blocks) <= 50:
        faults.append(f"{len(blocks)} blocks")
    return faults + [fault for block in blocks for fault in _block_faults(block)]


def _block_faults(block: dict[str, Any]) -> list[str]:
    match block:
        case {"type": "header", "text": {"type": "plain_text"} as text, **rest} if not rest:
            return _text_faults(text, 150)
        case {"type": "section", "text": text, **rest} if not rest:
            return _text_faults(text, 3000)
        case {"type": "section", "fields": [_, *_] as fields, **rest} if not rest:
            too_many = ["more than 10 fields"] if len(fields) > 10 else []
            return too_many + [fault for one in fields for fault in _text_faults(one, 2000)]
        case {"type": "context", "elements": [_, *_] as elements, **rest} if not rest:
            too_many = ["more than 10 elements"] if len(elements) > 10 else []
            return too_many + [fault for one in elements for fault in _text_faults(one, 2000)]
    return [f"not a block: {block}"]


def _text_faults(text: dict[str, Any], limit: int) -> list[str]:
    kind, content = text.get("type"), text.get("text", "")
    known = {"plain_text": {"type", "text", "emoji"}, "mrkdwn": {"type", "text", "verbatim"}}
    if kind not in known or set(text) - known[kind]:
        return [f"not a text object: {text}"]
    length = len(content.encode("utf-16-le")) // 2
    return [] if 1 <= length <= limit else [f"{length} characters of at most {limit}"]


# -- mail --------------------------------------------------------------------------------------


@dataclass(slots=True)
class MailServer:
    """A real SMTP server with one user, who is called insight and has the password pa55word."""

    port: int = 0
    letters: list[EmailMessage] = field(default_factory=list)
    recipients: list[list[str]] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    users: list[str | None] = field(default_factory=list)
    replies: list[str] = field(default_factory=list)
    """What is said to the next letters, instead of taking them."""
    unknown: set[str] = field(default_factory=set)
    """Recipients that are refused."""

    async def handle_RCPT(  # noqa: N802 - as aiosmtpd calls it
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: Any
    ) -> str:
        if address in self.unknown:
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802 - as aiosmtpd calls it
        self, _server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        if self.replies:
            return self.replies.pop(0)
        raw = cast("bytes", envelope.content)
        self.letters.append(message_from_bytes(raw, policy=SMTP_POLICY))
        self.recipients.append(list(envelope.rcpt_tos))
        self.encrypted.append(session.ssl is not None)
        login: Any = session.auth_data
        self.users.append(None if login is None else login.decode())
        return "250 taken"

    def authenticate(
        self, _server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, data: Any
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        right = (data.login, data.password) == (b"insight", b"pa55word")
        return AuthResult(success=right, handled=False, auth_data=data.login)


@asynccontextmanager
async def mail_server(
    *,
    starttls: ssl.SSLContext | None = None,
    tls: ssl.SSLContext | None = None,
    login: bool = False,
) -> AsyncIterator[MailServer]:
    """Encrypted after the greeting, from the start, or not at all."""
    found = MailServer()

    def session() -> SMTP:
        return SMTP(
            found,
            hostname="localhost",
            tls_context=starttls,
            require_starttls=starttls is not None,
            auth_required=login,
            auth_require_tls=tls is None,  # it knows nothing of the encryption around it
            authenticator=found.authenticate if login else None,
            enable_SMTPUTF8=True,
        )

    server = await asyncio.get_running_loop().create_server(session, "127.0.0.1", 0, ssl=tls)
    found.port = server.sockets[0].getsockname()[1]
    async with server:
        yield found


def certificate(directory: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A certificate for 127.0.0.1: the server's side, and a client that trusts it."""
    key, chain = directory / "key.pem", directory / "chain.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    command += ["-keyout", str(key), "-out", str(chain)]
    subprocess.run(command, check=True, capture_output=True)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(chain, key)
    return server, ssl.create_default_context(cafile=str(chain))
