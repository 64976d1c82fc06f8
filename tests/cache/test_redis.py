"""A real Redis keeps the contract, and its absence is a miss in time."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from insight_cloud.cache import Backend, Redis, RedisCluster
from tests.cache.contract import Contract
from tests.redis import RedisCluster as ClusterServers
from tests.redis import RedisServer


class TestRedis(Contract):
    @pytest.fixture
    async def make_backend(self, redis_server: RedisServer) -> Callable[[], Backend]:
        return lambda: Redis(redis_server.url, timeout_seconds=5)


class TestRedisCluster(Contract):
    @pytest.fixture
    async def make_backend(self, redis_cluster: ClusterServers) -> Callable[[], Backend]:
        return lambda: RedisCluster(redis_cluster.url, timeout_seconds=5)
