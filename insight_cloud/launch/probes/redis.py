"""Asks a Redis server."""

from __future__ import annotations

import time
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from redis import asyncio as client
from redis.exceptions import AuthenticationError, RedisError, ResponseError

from insight_cloud.core.errors import Unavailable
from insight_cloud.launch.target import NotRun, Target

__all__ = ["read_redis"]

_TRIES = 100
_MOST_KEYS = 100_000


async def read_redis(target: Target, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Round trips, memory limit, who may connect, and with `old_keys` how many match it.

    `exposed` is a server that answers without a password on an address that is not private.
    """
    url = target.redis_url
    if url is None or not url.startswith(("redis://", "rediss://", "unix://")):
        raise NotRun("no Redis is known: set REDIS_URL")
    try:
        async with _connected(target, url) as redis:
            return await _document(target, redis, url, parameters)
    except ResponseError as error:
        raise NotRun(f"the Redis server does not say that: {error}") from error
    except (RedisError, OSError, TimeoutError) as error:
        raise Unavailable(f"Redis does not answer: {type(error).__name__}") from error


def _connected(target: Target, url: str) -> Any:
    return client.Redis.from_url(
        url,
        socket_timeout=target.timeout_seconds,
        socket_connect_timeout=target.timeout_seconds,
        decode_responses=True,
        protocol=2,
    )


async def _document(
    target: Target, redis: Any, url: str, parameters: Mapping[str, Any]
) -> dict[str, Any]:
    trips = []
    for _ in range(_TRIES):
        began = time.perf_counter()
        await redis.ping()
        trips.append((time.perf_counter() - began) * 1000)
    found: dict[str, Any] = {"ping_p99_ms": round(sorted(trips)[_TRIES - 2], 3)}
    if parameters.get("configuration"):
        wanted = ("maxmemory", "maxmemory-policy", "bind", "protected-mode")
        for name in wanted:
            found[name.replace("-", "_")] = (await redis.config_get(name)).get(name, "")
        found["maxmemory"] = int(found["maxmemory"] or 0)
        found["needs_password"] = await _needs_password(target, url)
        found["exposed"] = not found["needs_password"] and not _is_private(found["bind"])
    if pattern := parameters.get("old_keys"):
        found["old"] = await _count(redis, str(pattern))
    return found


async def _needs_password(target: Target, url: str) -> bool:
    """Whether somebody who knows only the address is refused."""
    parts = urlsplit(url)
    bare = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    try:
        async with _connected(target, bare) as stranger:
            await stranger.ping()
    except AuthenticationError:
        return True
    except ResponseError as error:
        return "NOAUTH" in str(error) or "DENIED" in str(error)
    return False


def _is_private(bind: str) -> bool:
    addresses = [one.lstrip("-") for one in bind.split()]
    if not addresses or "*" in addresses:
        return False
    found = [ip_address(one) for one in addresses if one != "::*"]
    return all((one.is_private or one.is_loopback) and not one.is_unspecified for one in found)


async def _count(redis: Any, pattern: str) -> int:
    count = 0
    async for _ in redis.scan_iter(pattern, count=1000):
        count += 1
        if count >= _MOST_KEYS:
            break
    return count
