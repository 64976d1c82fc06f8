"""One connection to one Redis server that all tasks of an event loop share.

Apart from redis-py because its connections serve one command at a time. Here the commands of
one turn of the loop leave in one write and the answers are matched in order, which serves
about four times as many checks a second (`bench/ratelimit.py`).
"""

from __future__ import annotations

import asyncio
import ssl as tls
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import hiredis

from insight_cloud.core.errors import Unavailable

__all__ = ["Connection", "Reply", "ReplyError", "Server", "connect", "pack"]

Reply = Any
"""What Redis answers: int, bytes, None, a list of them, or a `ReplyError` (as a value)."""

ReplyError = hiredis.ReplyError


def pack(words: tuple[bytes | str | int | float, ...]) -> bytes:
    """Encode one command."""
    packed: bytes = hiredis.pack_command(cast("Any", words))  # its stub asks for a tuple of one
    return packed


@dataclass(frozen=True, slots=True)
class Server:
    """Where a server is and how one signs in there."""

    host: str
    port: int
    path: str | None = None
    """A Unix socket, instead of host and port."""
    username: str | None = None
    password: str | None = None
    database: int = 0
    ssl: tls.SSLContext | None = None

    def __str__(self) -> str:
        return self.path or f"{self.host}:{self.port}"


async def connect(
    server: Server,
    *,
    timeout_seconds: float,
    prepare: Sequence[bytes],
    on_lost: Callable[[Connection], None],
) -> Connection:
    """Connect, sign in and send the commands `prepare`, all within the time-out.

    Raises:
        Unavailable: the server is not there, silent, or refuses one of the commands.
    """
    loop = asyncio.get_running_loop()
    connection = Connection(server, timeout_seconds, on_lost)
    try:
        async with asyncio.timeout(timeout_seconds):
            if server.path is not None:
                await loop.create_unix_connection(lambda: connection, server.path, ssl=server.ssl)
            else:
                await loop.create_connection(
                    lambda: connection, server.host, server.port, ssl=server.ssl
                )
            replies = await asyncio.gather(
                *(connection.send(command) for command in (*_greeting(server), *prepare))
            )
    except (OSError, TimeoutError) as error:  # an SSLError is an OSError
        connection.abort("could not connect")
        raise Unavailable(f"Redis at {server}: {str(error) or 'no answer'}") from error
    except BaseException:
        connection.abort("could not connect")
        raise
    refusal = next((reply for reply in replies if isinstance(reply, ReplyError)), None)
    if refusal is not None:
        connection.abort("could not sign in")
        raise Unavailable(f"Redis at {server} refuses: {refusal}")
    return connection


def _greeting(server: Server) -> list[bytes]:
    commands = []
    if server.password is not None:
        who = (server.username,) if server.username else ()
        commands.append(pack(("AUTH", *who, server.password)))
    if server.database:
        commands.append(pack(("SELECT", server.database)))
    return commands


class Connection(asyncio.Protocol):
    """Commands in, answers out, in the order of sending; made by `connect`.

    When the oldest unanswered command is older than the time-out, the server counts as hung:
    the connection is aborted and everything that waits fails at once.
    """

    def __init__(
        self, server: Server, timeout_seconds: float, on_lost: Callable[[Connection], None]
    ) -> None:
        self._server = server
        self._timeout = timeout_seconds
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader()
        self._waiting: deque[asyncio.Future[Reply]] = deque()
        self._sent: deque[tuple[float, int]] = deque()  # when, and the number of the last command
        self._number = 0  # commands written since the connection was made
        self._answered = 0
        self._buffer: list[bytes] = []
        self._watch: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None
        self.closed = False

    def send(self, command: bytes) -> asyncio.Future[Reply]:
        """Send a packed command with the others of this turn of the loop.

        The future brings the answer, or raises `Unavailable`.
        """
        future: asyncio.Future[Reply] = self._loop.create_future()
        if self.closed:
            future.set_exception(Unavailable(f"Redis at {self._server} is away"))
            return future
        if not self._buffer:
            self._loop.call_soon(self._flush)
        self._buffer.append(command)
        self._waiting.append(future)
        return future

    def abort(self, reason: str) -> None:
        """Close at once; everything that waits fails with `reason`."""
        if self.closed:
            return
        self.closed = True
        if self._watch is not None:
            self._watch.cancel()
        if self._transport is not None:
            self._transport.abort()
        error = f"Redis at {self._server}: {reason}"
        waiting, self._waiting = self._waiting, deque()
        for future in waiting:
            if not future.done():
                future.set_exception(Unavailable(error))
        self._on_lost(self)

    def _flush(self) -> None:
        if self.closed or self._transport is None:
            return
        self._number += len(self._buffer)
        self._sent.append((self._loop.time() + self._timeout, self._number))
        self._transport.write(b"".join(self._buffer))
        self._buffer.clear()
        if self._watch is None:
            self._watch = self._loop.call_later(self._timeout, self._on_watch)

    def _on_watch(self) -> None:
        """Look whether the oldest batch is late. One timer a connection, not one a command."""
        self._watch = None
        while self._sent and self._sent[0][1] <= self._answered:
            self._sent.popleft()
        if not self._sent:
            return
        deadline = self._sent[0][0]
        if deadline <= self._loop.time():
            self.abort(f"no answer within {self._timeout:g} s")
        else:
            self._watch = self._loop.call_at(deadline, self._on_watch)

    # -- asyncio.Protocol ----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; nothing has been sent yet."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        """Hand each complete answer to the command that waits longest."""
        reader, waiting = self._reader, self._waiting
        reader.feed(data)
        try:
            while (reply := reader.gets()) is not False:  # RESP2 has no booleans
                self._answered += 1
                future = waiting.popleft()
                if not future.done():
                    future.set_result(reply)
        except (hiredis.HiredisError, IndexError) as error:
            self.abort(f"it does not speak Redis' protocol: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail what waits."""
        self.abort(str(exc) if exc else "it closed the connection")
