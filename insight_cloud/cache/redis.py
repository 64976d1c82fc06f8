"""Redis and Redis Cluster as stores: calls and the translation of their errors.

The client library is imported here and in `tracking.py` only.
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import abstractmethod
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from redis import asyncio as client
from redis import exceptions
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from typing_extensions import override

from insight_cloud.cache.backend import Backend, OnChange
from insight_cloud.cache.scripts import INCREMENT, REMOVE, RENEW, SETTLE, TOUCH, refusal
from insight_cloud.cache.tasks import end
from insight_cloud.cache.tracking import Tracking
from insight_cloud.core.errors import Unavailable

__all__ = ["Redis", "RedisCluster", "foreign_errors"]

_DIRECT_READS = 2
_SCAN_COUNT = 500


@contextlib.contextmanager
def foreign_errors(where: str) -> Iterator[None]:
    """Turn the client library's errors into ours; `where` has no password in it."""
    try:
        yield
    except exceptions.ResponseError as error:
        if isinstance(error, exceptions.ClusterError | exceptions.AskError):
            raise Unavailable(f"the cluster of {where} is not whole: {error}") from error
        raise refusal(where, str(error)) from error
    except (exceptions.RedisError, exceptions.RedisClusterException, OSError) as error:
        raise Unavailable(f"{where} does not answer: {error}") from error


class _Commands(Backend):
    """What a server and a cluster have in common."""

    def __init__(self, url: str, *, timeout_seconds: float) -> None:
        self._url = url
        self._where = _address(url)
        self._timeout = timeout_seconds
        self._client: Any = None
        self._tracking: Tracking | None = None
        self._reading = 0
        self._queue: list[tuple[str, asyncio.Future[bytes | None]]] = []
        self._flushes: set[asyncio.Task[None]] = set()

    @property
    @override
    def coherent(self) -> bool:
        return self._tracking is not None and self._tracking.complete

    @property
    @override
    def shared(self) -> bool:
        return True

    @override
    async def close(self) -> None:
        if self._tracking is not None:
            await self._tracking.close()
            self._tracking = None
        if self._client is not None:
            closing, self._client = self._client, None
            with contextlib.suppress(Unavailable), foreign_errors(self._where):
                await closing.aclose()

    @override
    async def get(self, name: str) -> bytes | None:
        """Read at once, or, when reads are under way, together with others in one command."""
        if self._reading < _DIRECT_READS:
            self._reading += 1
            try:
                found: bytes | None = await self._call("GET", name)
                return found
            finally:
                self._reading -= 1
                self._flush()
        answer: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        self._queue.append((name, answer))
        return await answer

    @override
    async def set(self, name: str, value: bytes, ttl_ms: int) -> None:
        await self._call("SET", name, value, "PX", ttl_ms)

    @override
    async def set_many(self, values: Mapping[str, bytes], ttl_ms: int) -> None:
        with foreign_errors(self._where):
            pipeline = (await self._connected()).pipeline(transaction=False)
            for name, value in values.items():
                pipeline.set(name, value, px=ttl_ms)
            await pipeline.execute()

    @override
    async def add(self, name: str, value: bytes, ttl_ms: int) -> bool:
        return await self._call("SET", name, value, "NX", "PX", ttl_ms) is not None

    @override
    async def renew(self, name: str, value: bytes, ttl_ms: int) -> bool:
        return bool(await self._call("EVAL", RENEW, 1, name, value, ttl_ms))

    @override
    async def remove(self, name: str, value: bytes) -> bool:
        return bool(await self._call("EVAL", REMOVE, 1, name, value))

    @override
    async def settle(
        self, name: str, value: bytes, ttl_ms: int, *, lock: str, token: bytes
    ) -> bool:
        return bool(await self._call("EVAL", SETTLE, 2, name, lock, token, value, ttl_ms))

    @override
    async def delete(self, names: Sequence[str]) -> None:
        if names:
            with foreign_errors(self._where):
                await (await self._connected()).unlink(*names)

    @override
    async def increment(self, name: str, by: int, ttl_ms: int) -> int:
        return int(await self._call("EVAL", INCREMENT, 1, name, by, ttl_ms))

    @override
    async def touch(self, name: str, head: bytes, ttl_ms: int) -> bool:
        return bool(await self._call("EVAL", TOUCH, 1, name, head, ttl_ms))

    @override
    async def remaining_ms(self, name: str) -> int | None:
        left = int(await self._call("PTTL", name))
        return None if left < 0 else left

    @override
    async def scan(self, pattern: str) -> AsyncIterator[str]:
        with foreign_errors(self._where):
            connected = await self._connected()
            async for name in connected.scan_iter(match=pattern, count=_SCAN_COUNT):
                yield name.decode()

    async def _call(self, *words: Any) -> Any:
        with foreign_errors(self._where):
            return await (await self._connected()).execute_command(*words)

    @abstractmethod
    async def _connected(self) -> Any:
        """The client, ready for commands; one for the life of this store."""

    def _flush(self) -> None:
        if not self._queue:
            return
        queue, self._queue = self._queue, []
        self._reading += 1
        flush = asyncio.create_task(self._read_together(queue))
        self._flushes.add(flush)
        flush.add_done_callback(self._flushes.discard)

    async def _read_together(self, queue: list[tuple[str, asyncio.Future[bytes | None]]]) -> None:
        waiting = [(name, answer) for name, answer in queue if not answer.done()]
        try:
            names = list(dict.fromkeys(name for name, _ in waiting))
            found = dict(zip(names, await self.get_many(names), strict=True)) if names else {}
        except Exception as error:  # noqa: BLE001 - it is handed to those who wait
            for _, answer in waiting:
                if not answer.done():
                    answer.set_exception(error)
        else:
            for name, answer in waiting:
                if not answer.done():
                    answer.set_result(found[name])
        finally:
            self._reading -= 1
            self._flush()


class Redis(_Commands):
    """One Redis server at `redis://`, `rediss://` (TLS) or `unix://`.

    Nothing is tried twice and no answer is waited for longer than `timeout_seconds`: the
    library's own defaults hang for a minute on a server that is stuck.
    """

    def __init__(
        self, url: str, *, timeout_seconds: float = 0.2, max_connections: int = 32
    ) -> None:
        super().__init__(url, timeout_seconds=timeout_seconds)
        self._max_connections = max_connections

    @override
    async def open(self, prefix: str, on_change: OnChange) -> None:
        pool = (await self._connected()).connection_pool

        async def nodes() -> dict[str, Any]:
            return {self._where: lambda: pool.connection_class(**pool.connection_kwargs)}

        self._tracking = Tracking(nodes, prefix, on_change)
        self._tracking.start()

    @override
    async def ping(self) -> None:
        await self._call("PING")

    @override
    async def get_many(self, names: Sequence[str]) -> list[bytes | None]:
        if not names:
            return []
        found: list[bytes | None] = await self._call("MGET", *names)
        return found

    @override
    async def _connected(self) -> Any:
        if self._client is None:
            pool = client.BlockingConnectionPool.from_url(
                self._url,
                timeout=self._timeout,
                max_connections=self._max_connections,
                **_options(self._timeout),
            )
            self._client = client.Redis.from_pool(pool)
        return self._client


class RedisCluster(_Commands):
    """A Redis Cluster, found from the one node that `url` names."""

    def __init__(
        self, url: str, *, timeout_seconds: float = 0.2, max_connections: int = 64
    ) -> None:
        super().__init__(url, timeout_seconds=timeout_seconds)
        self._max_connections = max_connections
        self._finding: asyncio.Task[Any] | None = None

    @override
    async def open(self, prefix: str, on_change: OnChange) -> None:
        self._tracking = Tracking(self._nodes, prefix, on_change)
        self._tracking.start()

    @override
    async def ping(self) -> None:
        """Every primary must answer: a part of the keys is not a cache."""
        with foreign_errors(self._where):
            cluster = await self._connected()
            await cluster.ping(target_nodes=client.RedisCluster.PRIMARIES)

    @override
    async def get_many(self, names: Sequence[str]) -> list[bytes | None]:
        if not names:
            return []
        with foreign_errors(self._where):
            found: list[bytes | None] = await (await self._connected()).mget_nonatomic(names)
            return found

    async def _nodes(self) -> dict[str, Any]:
        """How to connect to each node, replicas too: one may be promoted at any time."""
        with foreign_errors(self._where):
            cluster = await self._connected()
            return {node.name: _connector(node) for node in cluster.get_nodes()}

    @override
    async def _connected(self) -> Any:
        """The client, once it knows the nodes.

        It looks for them in one task for all: redis-py 8.1 breaks commands that come while it
        does so for another one, and starting anew after a cancellation would do the same.
        """
        if self._client is None:
            self._client = client.RedisCluster.from_url(
                self._url, max_connections=self._max_connections, **_options(self._timeout)
            )
        if self._finding is None or (self._finding.done() and _failed(self._finding)):
            self._finding = asyncio.create_task(self._client.initialize())
        if not self._finding.done():
            await asyncio.shield(self._finding)
        return self._client

    @override
    async def close(self) -> None:
        finding, self._finding = self._finding, None
        await end(finding)
        await super().close()


def _failed(task: asyncio.Task[Any]) -> bool:
    return task.cancelled() or task.exception() is not None


def _connector(node: ClusterNode) -> Any:
    return lambda: node.connection_class(**node.connection_kwargs)


def _options(timeout_seconds: float) -> dict[str, Any]:
    """Said explicitly, because the library's defaults changed between its versions 7 and 8."""
    return {
        "protocol": 2,
        "socket_timeout": timeout_seconds,
        "socket_connect_timeout": timeout_seconds,
        "socket_keepalive": True,
        "retry": Retry(NoBackoff(), 0),
        "decode_responses": False,
    }


def _address(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return f"Redis at {parts.path}"
    return f"Redis at {parts.hostname or 'localhost'}:{parts.port or 6379}"
