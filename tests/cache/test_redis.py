"""A real Redis keeps the contract, and its absence is a miss in time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from insight_cloud.cache import Backend, Cache, Redis, RedisCluster
from tests.cache.contract import Contract
from tests.redis import RedisCluster as ClusterServers
from tests.redis import RedisServer


class TestRedis(Contract):
    @pytest.fixture
    async def make_backend(self, redis_server: RedisServer) -> Callable[[], Backend]:
        return lambda: Redis(redis_server.url, timeout_seconds=5)


def test_a_closed_cache_leaves_no_connection_and_no_task(redis_server: RedisServer) -> None:
    before = redis_server.command("CLIENT", "LIST").count(" addr=")

    async def open_and_close() -> None:
        tasks = asyncio.all_tasks()
        for _ in range(3):
            async with Cache(Redis(redis_server.url)) as cache:
                await asyncio.gather(*(cache.set(f"k{n}", n) for n in range(100)))
                assert redis_server.command("CLIENT", "LIST").count(" addr=") <= before + 34
        assert asyncio.all_tasks() == tasks
        async with asyncio.timeout(5):
            while redis_server.command("CLIENT", "LIST").count(" addr=") > before:  # noqa: ASYNC110 - the server's view
                await asyncio.sleep(0.01)

    asyncio.run(open_and_close())  # a loop of its own: others' tasks come and go


class TestRedisCluster(Contract):
    @pytest.fixture
    async def make_backend(self, redis_cluster: ClusterServers) -> Callable[[], Backend]:
        return lambda: RedisCluster(redis_cluster.url, timeout_seconds=5)
