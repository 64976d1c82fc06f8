"""Images of other hosts: fetched from a checked address, within limits, without redirects."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable
from typing import Self
from urllib.parse import SplitResult, urlsplit

import httpx

from insight_cloud.core.errors import Missing, Refused, TooLarge, Unavailable
from insight_cloud.images.addresses import is_public

__all__ = ["Remote", "Resolve", "resolve"]

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""A host and a port to the addresses behind the name."""

_PORTS = {"https": 443, "http": 80}


async def resolve(host: str, port: int) -> list[str]:
    """Ask the system's resolver."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class Remote:
    """Fetches images over HTTPS.

    `allowed` are beginnings of addresses such as `https://cdn.example/photos/`; only these are
    fetched without a signature. A name is resolved once, **every** address behind it must be
    public, and the connection goes to one of those very addresses: a second answer of a hostile
    name server is never asked for. Redirects are refused. `private` are networks that may be
    asked although they are not public, for a store of one's own. `context` decides which
    certificates are believed; by default the system's.
    """

    def __init__(
        self,
        allowed: Iterable[str] = (),
        *,
        private: Iterable[str] = (),
        seconds: float = 5.0,
        most_bytes: int = 20_000_000,
        connections: int = 16,
        resolve: Resolve = resolve,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._allowed = tuple(_prefix(text) for text in allowed)
        self._private = tuple(ipaddress.ip_network(text) for text in private)
        self._seconds = seconds
        self._most = most_bytes
        self._resolve = resolve
        self._client = httpx.AsyncClient(
            verify=context or ssl.create_default_context(),
            trust_env=False,  # a proxy would resolve the name anew
            follow_redirects=False,
            timeout=seconds,
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=0),
            headers={"accept": "image/*", "accept-encoding": "identity", "user-agent": "insight"},
        )
        self._turn = asyncio.Semaphore(connections)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    def allows(self, url: str) -> bool:
        """Whether `url` may be fetched without a signature."""
        parts = _split(url)
        wanted = (parts.scheme, parts.netloc.lower())
        return any(
            wanted == (allowed.scheme, allowed.netloc) and parts.path.startswith(allowed.path)
            for allowed in self._allowed
        )

    async def fetch(self, url: str) -> bytes:
        """Return what is at `url`. Whether it may be asked for is the caller's to decide.

        Raises:
            Refused: the address is not public, or the host sends us elsewhere.
            Missing: the host has no such image.
            TooLarge: it has too many bytes.
            Unavailable: the host does not answer in time.
        """
        parts = _split(url)
        try:
            async with self._turn, asyncio.timeout(self._seconds):
                address = await self._address(parts)
                return await self._get(parts, address)
        except (TimeoutError, httpx.HTTPError, OSError, httpx.InvalidURL) as error:
            raise Unavailable(f"{parts.hostname} does not answer") from error

    async def _address(self, parts: SplitResult) -> str:
        host = parts.hostname or ""
        port = parts.port or _PORTS[parts.scheme]
        try:
            addresses = await self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise Missing(f"there is no host {host!r}") from error
        if not addresses:
            raise Missing(f"there is no host {host!r}")
        for address in addresses:
            if not (is_public(address) or self._is_ours(address)):
                raise Refused(f"{host} is not an address of the public internet")
        return addresses[0]

    def _is_ours(self, text: str) -> bool:
        address = ipaddress.ip_address(text.partition("%")[0])
        return any(address in network for network in self._private)

    async def _get(self, parts: SplitResult, address: str) -> bytes:
        literal = f"[{address}]" if ":" in address else address
        port = f":{parts.port}" if parts.port else ""
        target = parts._replace(netloc=literal + port, fragment="").geturl()
        request = self._client.build_request(
            "GET",
            target,
            headers={"host": parts.netloc},
            # The certificate must be that of the name, not that of the address.
            extensions={"sni_hostname": parts.hostname or ""},
        )
        response = await self._client.send(request, stream=True)
        try:
            _judge(response, parts)
            return await self._body(response, parts)
        finally:
            await response.aclose()

    async def _body(self, response: httpx.Response, parts: SplitResult) -> bytes:
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > self._most:
                raise TooLarge(f"the image of {parts.hostname} has more than {self._most:,} bytes")
        return bytes(body)


def _judge(response: httpx.Response, parts: SplitResult) -> None:
    if response.is_redirect or 300 <= response.status_code < 400:
        raise Refused(f"{parts.hostname} redirects; ask for the image where it is")
    if response.status_code >= 500 or response.status_code == 429:
        raise Unavailable(f"{parts.hostname} answers with status {response.status_code}")
    if response.status_code != 200:
        raise Missing(f"{parts.hostname} has no such image (status {response.status_code})")
    if response.headers.get("content-encoding", "identity") != "identity":
        raise Refused(f"{parts.hostname} sends the image packed, although that was not asked for")


def _split(url: str) -> SplitResult:
    """Take an address apart.

    Raises:
        Refused: it is no plain HTTP address: other schemes, a user in it, a strange port.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise Refused("the address of the image cannot be read") from error
    odd = "\\" in url or not url.isascii() or not url.isprintable() or " " in url
    if parts.scheme not in _PORTS or not parts.hostname or odd:
        raise Refused("an image is given as a path, or with https://")
    if "@" in parts.netloc or "%" in parts.netloc:
        raise Refused("the address of an image names no user")
    if "/../" in f"{parts.path}/" or "/%2e" in parts.path.lower():
        raise Refused("the path of an image does not lead upwards")
    if port == 0:
        raise Refused("there is no port 0")
    return parts


def _prefix(text: str) -> SplitResult:
    parts = _split(text)
    return parts._replace(netloc=parts.netloc.lower(), path=parts.path.rstrip("/") + "/")
