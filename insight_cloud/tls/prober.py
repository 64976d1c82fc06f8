"""Finds out what a TLS server accepts: every version and suite, keys, chain, known holes, HSTS.

Many short connections, several at once, each within limits; none of them harms a sound server.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field

import httpx
from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID

from insight_cloud.core.errors import Unavailable
from insight_cloud.core.report import stopwatch
from insight_cloud.tls import certificate, hello, suites
from insight_cloud.tls.certificate import Certificate
from insight_cloud.tls.hello import Flight, Heard, Version
from insight_cloud.tls.suites import Suite

__all__ = ["Findings", "probe", "served_chain"]

_AT_ONCE = 8
_PATIENCE = 8
"""After so many silent answers nothing is asked twice any more: it is the server's habit."""
_HEAD_BYTES = 64 * 1024
_HSTS = re.compile(rb"\r\nstrict-transport-security:[ \t]*([^\r\n]{0,512})", re.IGNORECASE)
_MAX_AGE = re.compile(rb"(?:^|;)\s*max-age\s*=\s*\"?(\d{1,12})\"?\s*(?:;|$)", re.IGNORECASE)
_OLD = (Version.SSL3, Version.TLS10, Version.TLS11, Version.TLS12)
_NOT_TLS = {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL"}
_BROKEN_ALERTS = {20, 21}  # bad_record_mac, decryption_failed


@dataclass(frozen=True, slots=True)
class Findings:
    """What a server accepts.

    `hsts_seconds` is None without the header, -1 with a broken one. `fetched` is the issuer that
    the server does not send, but that the certificate says where to find.
    """

    host: str
    port: int
    suites: Mapping[Version, tuple[Suite, ...]]
    ssl2_bits: tuple[int, ...] = ()
    chain: Certificate | None = None
    fetched: tuple[x509.Certificate, ...] = ()
    dh_bits: int | None = None
    curve_bits: int | None = None
    secure_renegotiation: bool | None = None
    compression: bool = False
    heartbleed: bool = False
    early_ccs: bool = False
    hsts_seconds: int | None = None
    http: bool = False
    notes: tuple[str, ...] = ()
    connections: int = 0
    seconds: float = 0.0

    @property
    def versions(self) -> tuple[Version, ...]:
        """The versions that are accepted, oldest first."""
        found = [version for version, accepted in self.suites.items() if accepted]
        return tuple(sorted([*found, *([Version.SSL2] if self.ssl2_bits else [])]))


@dataclass(slots=True)
class _Probe:
    """One run against one server, with what it has learned so far."""

    host: str
    port: int
    address: str
    timeout: float
    slots: asyncio.Semaphore
    connections: int = 0
    flights: list[Heard] = field(default_factory=list)
    silent: int = 0
    """Questions that were not answered in time, though they were asked twice."""

    async def ask(self, version: Version, offered: Sequence[int], **options: bool) -> Heard:
        """Send one ClientHello and read the answer; a refusal is an answer without a suite."""
        flight = await self.flight(version, offered, **options)
        if flight is None and self.silent < _PATIENCE:
            flight = await self.flight(version, offered, **options)
        if flight is None:
            self.silent += 1
        heard = (flight or Flight()).heard
        if heard.suite is not None and (heard.version != version or heard.suite not in offered):
            heard.suite = None  # it answered with something that was not offered
        elif heard.suite is not None:
            self.flights.append(heard)
        return heard

    async def flight(
        self, version: Version, offered: Sequence[int], **options: bool
    ) -> Flight | None:
        """What came back for one ClientHello; None when nothing did in time.

        A connection that is closed is a refusal. Silence may be one too, or a server that is busy.
        """
        flight = Flight()
        async with self.slots:
            try:
                async with asyncio.timeout(self.timeout), self.connected() as (reader, writer):
                    message = hello.client_hello(version, offered, host=self.host, **options)
                    await _read(reader, writer, message, flight)
            except TimeoutError:
                return flight if flight.heard.suite is not None else None
            except OSError:
                pass
        return flight

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """Open one connection, and let it go at once at the end."""
        self.connections += 1
        reader, writer = await asyncio.open_connection(self.address, self.port)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()

    async def accepted(self, version: Version, offered: Sequence[int]) -> list[Suite]:
        """Which of `offered` the server takes: the taken one is left out until it refuses."""
        left, found = list(offered), []
        while left:
            heard = await self.ask(version, left)
            if heard.suite is None:
                break
            left.remove(heard.suite)
            suite = suites.by_number(heard.suite)
            assert suite is not None  # noqa: S101 - only known ones are offered
            found.append(suite)
        return found

    async def all_accepted(self, version: Version) -> tuple[Suite, ...]:
        """All suites of one version, asked for in groups at the same time."""
        every = suites.numbers(tls13=version is Version.TLS13)
        if (await self.ask(version, every)).suite is None:
            return ()
        groups: dict[str, list[int]] = {}
        for number in every:
            suite = suites.by_number(number)
            groups.setdefault(suite.exchange if suite else "", []).append(number)
        found = await asyncio.gather(*(self.accepted(version, g) for g in groups.values()))
        return tuple(sorted((s for group in found for s in group), key=lambda s: s.number))

    async def ssl2(self) -> tuple[int, ...]:
        """The bits of the ciphers of SSL 2.0, if it is spoken at all."""
        data = b""
        async with self.slots:
            with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
                async with asyncio.timeout(self.timeout), self.connected() as (reader, writer):
                    writer.write(hello.ssl2_hello())
                    head = await reader.readexactly(2)
                    if head[0] & 0x80:  # anything else is a TLS alert
                        length = (head[0] & 0x7F) << 8 | head[1]
                        data = head + await reader.readexactly(length)
        kinds = hello.ssl2_kinds(data) or ()
        return tuple(bits for k in kinds if (bits := suites.SSL2_KINDS.get(k)) is not None)

    async def compresses(self, version: Version, offered: Sequence[int]) -> bool:
        """Whether DEFLATE is taken, which leaks secrets by length (CRIME)."""
        return (await self.ask(version, offered, compress=True)).compression != 0

    async def early_ccs(self, version: Version, offered: Sequence[int]) -> bool:
        """Whether a ChangeCipherSpec before the keys is swallowed (CVE-2014-0224).

        A broken server switches to empty keys at the first one, and then fails to decrypt the
        second; a sound one complains of the first, or just hangs up.
        """
        message = hello.change_cipher_spec(version)
        answers = await self._after_flight(version, offered, [message, message])
        return any(kind == 21 and body[1:2] and body[1] in _BROKEN_ALERTS for kind, body in answers)

    async def bleeds(self, version: Version, offered: Sequence[int]) -> bool:
        """Whether a heartbeat that lies about its length is answered (CVE-2014-0160)."""
        message = hello.heartbeat(version)
        answers = await self._after_flight(version, offered, [message], heartbeats=True)
        return any(kind == 24 and len(body) > 3 for kind, body in answers)

    async def _after_flight(
        self,
        version: Version,
        offered: Sequence[int],
        messages: Sequence[bytes],
        *,
        heartbeats: bool = False,
    ) -> list[tuple[int, bytes]]:
        """Go through the server's first flight, send `messages`, and return its next records."""
        flight = Flight()
        answers: list[tuple[int, bytes]] = []
        async with self.slots:
            with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
                async with asyncio.timeout(self.timeout), self.connected() as (reader, writer):
                    first = hello.client_hello(
                        version, offered, host=self.host, heartbeats=heartbeats
                    )
                    await _read(reader, writer, first, flight)
                    if not flight.heard.done or (heartbeats and not flight.heard.heartbeat):
                        return answers
                    for message in messages:
                        writer.write(message)
                        await writer.drain()
                    async with asyncio.timeout(min(1, self.timeout)):
                        while len(answers) < 3:
                            head = await reader.readexactly(5)
                            length = int.from_bytes(head[3:], "big")
                            answers.append((head[0], await reader.readexactly(min(length, 20000))))
        if not flight.heard.done:  # what it answered a moment ago, it does not now
            self.silent += 1
        return answers

    async def over_http(self) -> tuple[int | None, bool, Certificate | None]:
        """Ask for `/` by an ordinary library: the HSTS age, whether it is HTTP, the chain.

        The chain matters for servers with TLS 1.3 only, which encrypt it.
        """
        page = await self.page() or await self.page()
        if page is None:
            self.silent += 1
        return page or (None, False, None)

    async def page(self) -> tuple[int | None, bool, Certificate | None] | None:
        """The same for one connection; None when nothing came in time."""
        context = _lenient()
        head, chain = b"", None
        async with self.slots:
            self.connections += 1
            try:
                async with asyncio.timeout(self.timeout):
                    reader, writer = await asyncio.open_connection(
                        self.address, self.port, ssl=context, server_hostname=self.host
                    )
                    try:
                        chain = _chain_of(writer)
                        writer.write(_request(self.host, self.port))
                        head = await _until_blank_line(reader)
                    finally:
                        writer.transport.abort()
            except TimeoutError:
                return None
            except OSError:  # `ssl.SSLError` is one
                pass
        return _hsts(head), head.startswith(b"HTTP/"), chain


async def probe(
    host: str, port: int = 443, *, address: str | None = None, timeout_seconds: float = 5
) -> Findings:
    """Probe a server.

    Args:
        host: sent as server name, and where to connect.
        port: the TCP port.
        address: connect there instead.
        timeout_seconds: for each connection.

    Raises:
        Unavailable: nothing listens there, or it speaks no TLS.
    """
    with stopwatch() as watch:
        found = address or await _resolved(host, port, timeout_seconds)
        run = _Probe(host, port, found, timeout_seconds, asyncio.Semaphore(_AT_ONCE))
        accepted, ssl2, web = await asyncio.gather(_versions(run), run.ssl2(), run.over_http())
        if not ssl2 and not any(accepted.values()):
            raise Unavailable(f"{host} port {port} is open, but does not answer as a TLS server")
        holes = await _holes(run, accepted)
        hsts, http, chain = web
        chain = _chain_heard(run.flights) or chain
        fetched = await _fetched(chain, timeout_seconds)
    return Findings(
        host=host,
        port=port,
        suites=accepted,
        ssl2_bits=ssl2,
        chain=chain,
        fetched=fetched,
        dh_bits=min((h.dh_bits for h in run.flights if h.dh_bits is not None), default=None),
        curve_bits=min(
            (h.curve_bits for h in run.flights if h.curve_bits is not None), default=None
        ),
        secure_renegotiation=_renegotiation(run.flights),
        compression=holes[0],
        heartbleed=holes[1],
        early_ccs=holes[2],
        hsts_seconds=hsts,
        http=http,
        notes=("not tried: ROBOT, Ticketbleed", *_silence(run)),
        connections=run.connections,
        seconds=watch.seconds,
    )


def _silence(run: _Probe) -> tuple[str, ...]:
    if not run.silent:
        return ()
    said = (
        f"{run.silent} of {run.connections} questions were not answered within {run.timeout:g} s "
        "and count as refused: the grade may be another when the server is less busy"
    )
    return (said,)


async def served_chain(
    host: str, port: int = 443, *, address: str | None = None, timeout_seconds: float = 10
) -> Certificate:
    """Fetch the chain that a server shows to whoever asks for `host`, whatever it is worth.

    Raises:
        Unavailable: nothing listens there, or no handshake succeeds.
    """
    found = address or await _resolved(host, port, timeout_seconds)
    try:
        async with asyncio.timeout(timeout_seconds):
            _, writer = await asyncio.open_connection(
                found, port, ssl=_lenient(), server_hostname=host
            )
    except (OSError, TimeoutError) as error:  # `ssl.SSLError` is an OSError
        why = (
            getattr(error, "reason", None)
            or _said(error)
            or f"no answer within {timeout_seconds:g} s"
        )
        if why in _NOT_TLS:
            why = "it answers, but not in TLS; is it a plain port?"
        raise Unavailable(f"no TLS handshake with {host} port {port}: {why}") from error
    try:
        chain = _chain_of(writer)
    finally:
        writer.transport.abort()
    if chain is None:
        raise Unavailable(f"{host} port {port} shows no certificate that can be read")
    return chain


async def _versions(run: _Probe) -> dict[Version, tuple[Suite, ...]]:
    asked = (*_OLD, Version.TLS13)
    found = await asyncio.gather(*(run.all_accepted(version) for version in asked))
    return dict(zip(asked, found, strict=True))


async def _holes(
    run: _Probe, accepted: Mapping[Version, tuple[Suite, ...]]
) -> tuple[bool, bool, bool]:
    """Try the known holes on the newest version that can have them."""
    version = next((v for v in reversed(_OLD) if accepted[v]), None)
    if version is None:
        return False, False, False
    offered = [suite.number for suite in accepted[version]]
    return await asyncio.gather(
        run.compresses(version, offered),
        run.bleeds(version, offered),
        run.early_ccs(version, offered),
    )


async def _resolved(host: str, port: int, seconds: float) -> str:
    """Find an address that accepts a connection."""
    try:
        async with asyncio.timeout(seconds):
            _, writer = await asyncio.open_connection(host, port)
    except socket.gaierror as error:
        raise Unavailable(f"there is no host {host}: {error.strerror}") from error
    except (OSError, TimeoutError) as error:
        why = _said(error) or f"no answer within {seconds:g} s"
        raise Unavailable(f"cannot connect to {host} port {port}: {why}") from error
    address = str(writer.get_extra_info("peername")[0])
    writer.transport.abort()
    return address


def _said(error: OSError) -> str:
    """What the system says of a failed connection; `asyncio` repeats the address in its stead."""
    return os.strerror(error.errno) if error.errno else str(error)


async def _read(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, message: bytes, flight: Flight
) -> None:
    writer.write(message)
    while not flight.over:
        data = await reader.read(16384)
        if not data:
            return
        flight.feed(data)


async def _until_blank_line(reader: asyncio.StreamReader) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head and len(head) < _HEAD_BYTES:
        data = await reader.read(8192)
        if not data:
            break
        head += data
    return head.partition(b"\r\n\r\n")[0] + b"\r\n"


def _request(host: str, port: int) -> bytes:
    name = f"[{host}]" if ":" in host else host
    name = name if port == 443 else f"{name}:{port}"
    head = f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\nUser-Agent: insight\r\n\r\n"
    return head.encode("ascii" if name.isascii() else "idna")


def _hsts(head: bytes) -> int | None:
    header = _HSTS.search(head)
    if header is None:
        return None
    age = _MAX_AGE.search(header[1])
    return int(age[1]) if age else -1


def _lenient() -> ssl.SSLContext:
    """Connect to anybody: we want to see, and send nothing that is secret."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.set_ciphers("ALL:COMPLEMENTOFALL:@SECLEVEL=0")
    context.options |= getattr(ssl, "OP_LEGACY_SERVER_CONNECT", 0x4)
    return context


def _chain_of(writer: asyncio.StreamWriter) -> Certificate | None:
    connection = writer.get_extra_info("ssl_object")
    # Public from Python 3.13 on.
    whole = getattr(connection, "get_unverified_chain", None)
    inner = getattr(connection, "_sslobj", None)
    if whole is not None:
        return _parsed(list(whole()))
    if inner is not None and hasattr(inner, "get_unverified_chain"):
        pem = [c.public_bytes() for c in inner.get_unverified_chain() or ()]
        return _parsed([ssl.PEM_cert_to_DER_cert(text) for text in pem])
    der = connection.getpeercert(binary_form=True)
    return _parsed([der]) if der else None


def _chain_heard(flights: Sequence[Heard]) -> Certificate | None:
    return next((_parsed(h.certificates) for h in flights if h.certificates), None)


def _parsed(ders: Sequence[bytes]) -> Certificate | None:
    try:
        chain = tuple(x509.load_der_x509_certificate(der) for der in ders)
    except ValueError:
        return None
    return Certificate(chain) if chain else None


async def _fetched(chain: Certificate | None, seconds: float) -> tuple[x509.Certificate, ...]:
    """Fetch a missing issuer from where the certificate says, as browsers and SSL Labs do."""
    if chain is None or len(chain.chain) > 1 or certificate.self_issued(chain.leaf):
        return ()
    try:
        places = chain.leaf.extensions.get_extension_for_class(x509.AuthorityInformationAccess)
    except (x509.ExtensionNotFound, ValueError):
        return ()
    urls = [
        place.access_location.value
        for place in places.value
        if place.access_method == AuthorityInformationAccessOID.CA_ISSUERS
        and isinstance(place.access_location, x509.UniformResourceIdentifier)
    ]
    if not urls or not urls[0].startswith("http:"):
        return ()
    with contextlib.suppress(httpx.HTTPError, httpx.InvalidURL, ValueError):
        async with (
            httpx.AsyncClient(timeout=seconds) as client,
            client.stream("GET", urls[0]) as answer,
        ):
            data = b""
            async for piece in answer.aiter_bytes():
                data += piece
                if len(data) > certificate.CHAIN_BYTES:
                    return ()
        return (x509.load_der_x509_certificate(data),)
    return ()


def _renegotiation(flights: Sequence[Heard]) -> bool | None:
    """Whether RFC 5746 is spoken; None when only TLS 1.3 is, which has no renegotiation."""
    old = [h.secure_renegotiation for h in flights if h.version != Version.TLS13]
    return all(old) if old else None
