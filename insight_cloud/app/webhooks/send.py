"""One signed POST to an address that somebody typed: resolved once, checked, and then used.

Resolving a second time, as a client does that is given a name, would let the name mean another
address meanwhile. So the connection is made to the address that was checked, while TLS and the Host
header keep the name. Redirects are not followed. `httpcore` is imported nowhere else.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

import httpcore
from typing_extensions import override

from insight_cloud.app.webhooks.address import is_public

__all__ = ["Answer", "Resolve", "Sender", "resolve"]

_ANSWER_BYTES = 2_000
Resolve = Callable[[str, int], Awaitable[list[str]]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: `status` None when nothing did, and `text` says why."""

    status: int | None
    text: str

    @property
    def is_taken(self) -> bool:
        """Whether the receiver has the message."""
        return self.status is not None and 200 <= self.status < 300


class Sender:
    """Posts messages; `allow_private` admits addresses that are not on the public internet."""

    def __init__(
        self,
        *,
        allow_private: bool = False,
        timeout_seconds: float = 10,
        find: Resolve | None = None,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._timeout = timeout_seconds
        self._backend = _Checked(find or resolve, allow_private=allow_private)
        self._context = context or ssl.create_default_context()

    async def post(self, url: str, body: bytes, headers: dict[str, str]) -> Answer:
        """Send once. Whatever happens is in the answer; nothing is raised."""
        try:
            async with asyncio.timeout(self._timeout):
                return await self._post(url, body, headers)
        except TimeoutError:
            return Answer(None, f"no answer within {self._timeout:g} s")
        except _Forbidden as error:
            return Answer(None, str(error))
        except (httpcore.ConnectError, httpcore.NetworkError, OSError) as error:
            return Answer(None, f"cannot be reached: {_reason(error)}")
        except (httpcore.ProtocolError, httpcore.UnsupportedProtocol) as error:
            return Answer(None, f"did not speak HTTP: {_reason(error)}")

    async def _post(self, url: str, body: bytes, headers: dict[str, str]) -> Answer:
        # A connection for each message: one that stays open would outlive the check of its name.
        async with (
            httpcore.AsyncConnectionPool(
                network_backend=self._backend, ssl_context=self._context, max_connections=1
            ) as pool,
            pool.stream("POST", url, headers=list(headers.items()), content=body) as answer,
        ):
            text = bytearray()
            async for part in answer.aiter_stream():
                text += part
                if len(text) > _ANSWER_BYTES:
                    break
            return Answer(answer.status, _printable(bytes(text)))


class _Forbidden(Exception):  # noqa: N818 - not an error of ours; it ends in this file
    """The name leads to an address that a webhook must not reach."""


class _Checked(httpcore.AsyncNetworkBackend):
    """Connects to addresses that were checked, whatever the name means a moment later."""

    def __init__(self, find: Resolve, *, allow_private: bool) -> None:
        self._find = find
        self._allow_private = allow_private
        self._inner = httpcore.AnyIOBackend()

    @override
    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        found = await self._find(host, port)
        wrong = [one for one in found if not self._allow_private and not is_public(one)]
        if wrong:
            # One is enough: who controls the name chooses which of its addresses is tried.
            raise _Forbidden(f"{host} leads to {wrong[0]}, which is not on the public internet")
        failure: Exception = OSError(f"{host} has no address")
        for address in found:
            try:
                return await self._inner.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure


async def resolve(host: str, port: int) -> list[str]:
    """The addresses of a name, in the order in which they are to be tried."""
    loop = asyncio.get_running_loop()
    try:
        rows = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise OSError(f"the name {host} cannot be resolved") from error
    return list(dict.fromkeys(str(row[4][0]) for row in rows))


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__


def _printable(data: bytes) -> str:
    text = data.decode("utf-8", "replace")[:_ANSWER_BYTES]
    return "".join(char if char.isprintable() or char in "\n\t" else "\ufffd" for char in text)
