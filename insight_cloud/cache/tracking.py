"""Server-assisted invalidation: the server says which keys changed, so that copies stay right.

One connection to each node speaks protocol 2 and asks for broadcasts of a prefix. While every
node's connection is up, `complete` is true and copies may be kept. Whatever happens to a
connection, `on_change(None)` follows: nothing is known any more. A server that says nothing
for two heartbeats counts as gone, so a connection that died silently cannot keep old values.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from redis import exceptions

from insight_cloud.cache.backend import OnChange
from insight_cloud.cache.tasks import end
from insight_cloud.core.errors import Unavailable

__all__ = ["Tracking"]

_CHANNEL = b"__redis__:invalidate"
_HEARTBEAT_SECONDS = 1.0
_RETRY_SECONDS = 0.25
_SETUP_SECONDS = 0.5

Connect = Callable[[], Any]
Nodes = Callable[[], Awaitable[Mapping[str, Connect]]]


class Tracking:
    """Listens to every node that `nodes` names, and follows the list when it changes."""

    def __init__(self, nodes: Nodes, prefix: str, on_change: OnChange) -> None:
        self._nodes = nodes
        self._prefix = prefix
        self._on_change = on_change
        self._listeners: dict[str, asyncio.Task[None]] = {}
        self._up: set[str] = set()
        self._wanted: frozenset[str] = frozenset()
        self._task: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None

    @property
    def complete(self) -> bool:
        """Whether every node is being listened to."""
        return bool(self._wanted) and self._up >= self._wanted

    def start(self) -> None:
        """Begin to listen, in the background and for ever."""
        self._task = asyncio.create_task(self._follow(), name="cache-tracking")

    async def close(self) -> None:
        """Stop listening."""
        await end(self._task, self._ending, *self._listeners.values())
        self._listeners.clear()
        self._wanted = frozenset()
        self._on_change(None)

    async def _follow(self) -> None:
        """Keep one listener for each node; look for new nodes at each heartbeat."""
        while True:
            with contextlib.suppress(Unavailable):
                self._listen_to(await self._nodes())
            await asyncio.sleep(_HEARTBEAT_SECONDS if self._wanted else _RETRY_SECONDS)

    def _listen_to(self, nodes: Mapping[str, Connect]) -> None:
        wanted = frozenset(nodes)
        if wanted == self._wanted:
            return
        gone = [self._listeners.pop(name) for name in self._wanted - wanted]
        self._ending = asyncio.create_task(end(*gone)) if gone else None
        for name in wanted - self._wanted:
            self._listeners[name] = asyncio.create_task(self._listen(name, nodes[name]))
        self._wanted = wanted
        self._on_change(None)

    async def _listen(self, name: str, connect: Connect) -> None:
        while True:
            connection = connect()
            try:
                await self._subscribe(connection)
                self._up.add(name)
                self._on_change(None)
                await self._read(connection)
            except (exceptions.RedisError, OSError, TimeoutError):
                pass  # the same as silence: forget, and connect again
            finally:
                if name in self._up:
                    self._up.remove(name)
                    self._on_change(None)
                with contextlib.suppress(exceptions.RedisError, OSError):
                    await connection.disconnect(nowait=True)
            await asyncio.sleep(_RETRY_SECONDS)

    async def _subscribe(self, connection: Any) -> None:
        async with asyncio.timeout(_SETUP_SECONDS):
            await connection.connect()
            identity = await _ask(connection, "CLIENT", "ID")
            await _ask(
                connection,
                *("CLIENT", "TRACKING", "ON", "REDIRECT", identity),
                *("BCAST", "PREFIX", self._prefix),
            )
            await _ask(connection, "SUBSCRIBE", _CHANNEL)

    async def _read(self, connection: Any) -> None:
        asked = False
        while True:
            message = await connection.read_response(
                timeout=_HEARTBEAT_SECONDS, disconnect_on_error=False
            )
            if message is None:  # silence
                if asked:
                    return
                asked = True
                await connection.send_command("PING")
                continue
            asked = False
            if message[0] == b"message" and message[1] == _CHANNEL:
                self._announce(message[2])

    def _announce(self, names: list[bytes] | None) -> None:
        if names is None:  # FLUSHALL, FLUSHDB
            self._on_change(None)
            return
        for name in names:
            self._on_change(name.decode("utf-8", "replace"))


async def _ask(connection: Any, *words: Any) -> Any:
    await connection.send_command(*words)
    return await connection.read_response()
