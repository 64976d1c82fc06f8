"""What a Redis says of itself: memory, evictions, hits, its slowest commands, its keys."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from insight_cloud.core.errors import Refused, SettingsError, Unavailable
from insight_cloud.core.report import stopwatch

__all__ = ["CacheFacts", "Key", "SlowCommand", "read"]

_MOST_SLOW = 32


@dataclass(frozen=True, slots=True)
class Key:
    """One key that was looked at; `forever` says that it has no time to live."""

    name: str
    bytes: int
    forever: bool


@dataclass(frozen=True, slots=True)
class SlowCommand:
    """An entry of the slow log: the command's name, never its values."""

    name: str
    milliseconds: float


@dataclass(frozen=True, slots=True)
class CacheFacts:
    """What was read. `keys` are a sample of those under the prefix, `total_keys` all there are."""

    version: str
    latency_seconds: float
    used_bytes: int
    max_bytes: int
    policy: str
    evicted: int
    hits: int
    misses: int
    fragmentation: float
    rejected: int
    clients: int
    total_keys: int
    keys: tuple[Key, ...] = ()
    slow: tuple[SlowCommand, ...] | None = ()
    """None where the server does not let us see the slow log."""

    @property
    def hit_rate(self) -> float | None:
        """The share of look-ups that found something; None before there were any."""
        asked = self.hits + self.misses
        return self.hits / asked if asked else None

    def as_metrics(self) -> dict[str, float | None]:
        """The numbers that are compared from run to run."""
        return {
            "latency_ms": round(self.latency_seconds * 1000, 3),
            "used_bytes": self.used_bytes,
            "hit_rate": None if self.hit_rate is None else round(self.hit_rate, 4),
            "evicted": self.evicted,
            "keys": self.total_keys,
        }


async def read(
    url: str, *, prefix: str, sample: int = 2000, timeout_seconds: float = 5
) -> CacheFacts:
    """Look at the server at `url`, and at up to `sample` keys that begin with `prefix`.

    It scans in small steps, so that others are not kept waiting.

    Raises:
        SettingsError: `url` is no address of a Redis.
        Unavailable: it does not answer.
        Refused: it does not let us in.
    """
    async with _client(url, timeout_seconds) as client:
        with stopwatch() as watch:
            await client.ping()
        info = await client.info()
        settings = await _config(client)
        return CacheFacts(
            version=str(info.get("redis_version", "?")),
            latency_seconds=watch.seconds,
            used_bytes=int(info.get("used_memory", 0)),
            max_bytes=int(info.get("maxmemory", 0)),
            policy=str(settings or info.get("maxmemory_policy", "?")),
            evicted=int(info.get("evicted_keys", 0)),
            hits=int(info.get("keyspace_hits", 0)),
            misses=int(info.get("keyspace_misses", 0)),
            fragmentation=float(info.get("mem_fragmentation_ratio", 1) or 1),
            rejected=int(info.get("rejected_connections", 0)),
            clients=int(info.get("connected_clients", 0)),
            total_keys=int(await client.dbsize()),
            keys=tuple(await _keys(client, prefix, sample)),
            slow=await _slow(client),
        )


@asynccontextmanager
async def _client(url: str, timeout_seconds: float) -> AsyncIterator[Any]:
    from redis import exceptions
    from redis.asyncio import Redis

    try:
        client = Redis.from_url(
            url,
            protocol=3,
            socket_timeout=timeout_seconds,
            socket_connect_timeout=timeout_seconds,
            client_name="insight-tune",
        )
    except ValueError as error:  # the message may hold the address, and so a password
        raise SettingsError(
            "the address of the cache cannot be read: redis://HOST:PORT/0"
        ) from error
    try:
        yield client
    except (exceptions.AuthenticationError, exceptions.NoPermissionError) as error:
        raise Refused(f"the cache does not let us in: {error}") from error
    except (exceptions.RedisError, OSError) as error:
        raise Unavailable(f"the cache does not answer: {error}") from error
    finally:
        with contextlib.suppress(exceptions.RedisError, OSError):
            await client.aclose()


async def _config(client: Any) -> str:
    from redis import exceptions

    try:
        return str((await client.config_get("maxmemory-policy")).get("maxmemory-policy", ""))
    except exceptions.ResponseError:  # managed servers forbid CONFIG; INFO says it too
        return ""


async def _slow(client: Any) -> tuple[SlowCommand, ...] | None:
    from redis import exceptions

    try:
        entries = await client.slowlog_get(_MOST_SLOW)
    except exceptions.ResponseError:
        return None
    found = []
    for entry in entries:
        words = entry["command"]
        text = words.decode("utf-8", "replace") if isinstance(words, bytes) else str(words)
        found.append(SlowCommand(text.split(" ", 1)[0].upper(), entry["duration"] / 1000))
    return tuple(found)


async def _keys(client: Any, prefix: str, sample: int) -> list[Key]:
    if not sample:
        return []
    names: list[bytes] = []
    pattern = prefix.translate(_LITERAL) + "*"
    async for name in client.scan_iter(match=pattern, count=200):
        names.append(name)
        if len(names) >= sample:
            break
    found: list[Key] = []
    for start in range(0, len(names), 100):
        part = names[start : start + 100]
        pipeline = client.pipeline(transaction=False)
        for name in part:
            pipeline.memory_usage(name)
            pipeline.pttl(name)
        answers = await pipeline.execute()
        for name, size, left in zip(part, answers[::2], answers[1::2], strict=True):
            if left != -2:  # gone meanwhile
                found.append(Key(name.decode("utf-8", "replace"), size or 0, left == -1))
    return found


_LITERAL = {ord(sign): f"\\{sign}" for sign in "*?[]\\"}
