"""Copies in the process: no command for a hit, and never an old value for long."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from uuid import uuid4

import pytest

from insight_cloud.cache import Cache, Redis, RedisCluster
from tests.cache.contract import Counter, eventually
from tests.patience import BUSY
from tests.redis import RedisCluster as ClusterServers
from tests.redis import RedisServer
from tests.redis import redis_cluster as own_redis_cluster
from tests.redis import redis_server as own_redis_server

_PATIENT = timedelta(seconds=5)


@pytest.fixture
async def namespace() -> str:
    return uuid4().hex


@pytest.fixture
async def cache(redis_server: RedisServer, namespace: str) -> AsyncIterator[Cache]:
    async with Cache(Redis(redis_server.url), namespace=namespace, timeout=_PATIENT) as cache:
        await eventually(lambda: cache._store.coherent)
        yield cache


async def test_a_hit_costs_no_command(redis_server: RedisServer, cache: Cache) -> None:
    make = Counter("x")
    await cache.set("a", "x")
    # The announcement of our own write may arrive after the first fetch.
    async with asyncio.timeout(5):
        while cache.stats().local_hits < 1:
            await cache.get("a")
            await asyncio.sleep(0.001)
    before = _reads(redis_server)
    for _ in range(1000):
        assert await cache.get("a") == "x"
        assert await cache.get_or_set("a", make) == "x"
    assert _reads(redis_server) == before
    assert make.calls == 0


def _reads(server: RedisServer) -> list[str]:
    return [
        line
        for line in server.command("INFO", "commandstats").splitlines()
        if line.startswith(("cmdstat_get:", "cmdstat_mget:", "cmdstat_set:", "cmdstat_eval:"))
    ]


async def test_a_foreign_write_is_seen_at_once(
    redis_server: RedisServer, cache: Cache, namespace: str
) -> None:
    delays: list[float] = []
    async with Cache(Redis(redis_server.url), namespace=namespace, timeout=_PATIENT) as writer:
        for number in range(51):
            await _kept(cache, "a")
            await writer.set("a", f"v{number}")
            written = time.perf_counter()
            while await cache.get("a") != f"v{number}":  # noqa: ASYNC110 - this is measured
                await asyncio.sleep(0)
            delays.append(time.perf_counter() - written)
    assert statistics.median(delays) < 0.002 * BUSY


async def _kept(cache: Cache, key: str) -> None:
    """Until there is a copy of whatever `key` is."""
    await cache.get_or_set(key, Counter("first"))
    async with asyncio.timeout(5):
        while key not in cache._copies:
            await cache.get(key)
            await asyncio.sleep(0.001)


async def test_everything_forgotten_by_the_server_is_forgotten_here(namespace: str) -> None:
    with own_redis_server() as server:
        async with Cache(Redis(server.url), namespace=namespace) as cache:
            await eventually(lambda: cache._store.coherent)
            await _kept(cache, "a")
            server.command("FLUSHALL")
            await eventually(lambda: "a" not in cache._copies)
            assert await cache.get("a") is None


async def test_an_expiry_in_the_server_is_seen_here(
    redis_server: RedisServer, cache: Cache, namespace: str
) -> None:
    await _kept(cache, "a")
    redis_server.command("PEXPIRE", f"{namespace}:{{a}}", "1")
    await eventually(lambda: "a" not in cache._copies)


async def test_a_lost_connection_forgets_all_copies_and_comes_back(
    redis_server: RedisServer, cache: Cache
) -> None:
    await _kept(cache, "a")
    redis_server.command("CLIENT", "KILL", "TYPE", "pubsub")
    await eventually(lambda: not cache._copies)
    await eventually(lambda: cache._store.coherent, seconds=1)
    await _kept(cache, "a")


async def test_a_silent_connection_forgets_all_copies(namespace: str) -> None:
    with own_redis_server() as server:
        async with Cache(Redis(server.url), namespace=namespace) as cache:
            await eventually(lambda: cache._store.coherent)
            await _kept(cache, "a")
            server.stop()
            await eventually(lambda: not cache._copies, seconds=4)
            server.resume()
            await eventually(lambda: cache._store.coherent, seconds=4)


async def test_an_idle_connection_stays(cache: Cache) -> None:
    await _kept(cache, "a")
    await asyncio.sleep(2.5)  # longer than two heartbeats
    assert "a" in cache._copies
    assert cache._store.coherent


async def test_a_value_invalidated_while_it_is_fetched_is_not_kept(cache: Cache) -> None:
    await cache.set("a", "old")
    ticket = cache._local.begin("a")
    raw = await cache._store.get(cache._names.value("a"))
    cache._changed(cache._names.value("a"))
    await cache._read("a", raw, ticket, expired=False)
    assert "a" not in cache._copies


async def test_readers_never_see_an_older_value_after_a_newer_one(
    redis_server: RedisServer, namespace: str
) -> None:
    """Two readers and a writer that counts upwards, with deletions and lost connections."""
    end = time.monotonic() + 2
    async with (
        Cache(Redis(redis_server.url), namespace=namespace, timeout=_PATIENT) as writer,
        Cache(Redis(redis_server.url), namespace=namespace, timeout=_PATIENT) as reader,
        Cache(Redis(redis_server.url), namespace=namespace, timeout=_PATIENT) as second,
    ):
        written = {"n": 0}

        async def write() -> None:
            while time.monotonic() < end:
                written["n"] += 1
                await writer.set("a", [written["n"]])
                if random.random() < 0.02:
                    redis_server.command("CLIENT", "KILL", "TYPE", "pubsub")
                await asyncio.sleep(random.random() / 200)

        async def read(cache: Cache) -> int:
            seen, copies = 0, 0
            while time.monotonic() < end:
                value = (await cache.get("a", [0]))[0]
                assert value >= seen
                seen = value
                copies += "a" in cache._copies
                await asyncio.sleep(0)
            return copies

        _, *copies = await asyncio.gather(write(), read(reader), read(second))
        assert min(copies) > 100  # it was copies that were read
        await asyncio.sleep(0.05)
        assert await reader.get("a") == [written["n"]]


# A cluster


@pytest.fixture
async def pair(redis_cluster: ClusterServers, namespace: str) -> AsyncIterator[tuple[Cache, Cache]]:
    url = redis_cluster.url
    async with (
        Cache(RedisCluster(url), namespace=namespace, timeout=_PATIENT) as cache,
        Cache(RedisCluster(url), namespace=namespace, timeout=_PATIENT) as other,
    ):
        await eventually(lambda: cache._store.coherent and other._store.coherent)
        yield cache, other


async def test_every_node_of_a_cluster_announces_its_keys(pair: tuple[Cache, Cache]) -> None:
    cache, other = pair
    keys = [f"k{n}" for n in range(30)]
    for key in keys:
        await _kept(cache, key)
    for key in keys:
        await other.set(key, "new")
    await eventually(lambda: not set(keys) & set(cache._copies))
    assert await cache.get_many(keys) == dict.fromkeys(keys, "new")


@pytest.fixture
def own_cluster() -> Iterator[ClusterServers]:
    with own_redis_cluster() as cluster:
        yield cluster


async def test_a_failover_is_survived_without_old_values(
    own_cluster: ClusterServers, namespace: str
) -> None:
    async with (
        Cache(RedisCluster(own_cluster.nodes[1].url), namespace=namespace) as cache,
        Cache(RedisCluster(own_cluster.nodes[2].url), namespace=namespace) as other,
    ):
        keys = [f"k{n}" for n in range(12)]
        await cache.set_many(dict.fromkeys(keys, "old"))
        own_cluster.nodes[0].kill()
        async with asyncio.timeout(30):
            while not (await _accepts(cache, keys) and await _accepts(other, keys)):  # noqa: ASYNC110 - nothing tells when a cluster is whole
                await asyncio.sleep(0.1)
            for key in keys:
                await _kept(cache, key)
            await other.set_many(dict.fromkeys(keys, "new"))
            await eventually(lambda: not set(keys) & set(cache._copies))
            assert await cache.get_many(keys) == dict.fromkeys(keys, "new")


async def _accepts(cache: Cache, keys: list[str]) -> bool:
    async with asyncio.timeout(2):
        await cache.set_many(dict.fromkeys(keys, "after"))
        return len(await cache.get_many(keys)) == len(keys) and cache._store.coherent
