"""The REST store keeps the contract, and whatever HTTP can do wrong is a miss."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import pytest

from insight_cloud.cache import Backend, Cache, Upstash
from insight_cloud.core.errors import Unavailable
from tests.cache.contract import Contract, Counter
from tests.cache.upstash_front import TOKEN, UpstashFront, upstash_front
from tests.redis import RedisServer


@pytest.fixture(scope="module")
async def front(redis_server: RedisServer) -> AsyncIterator[UpstashFront]:
    async with upstash_front(redis_server.url) as front:
        yield front


class TestUpstash(Contract):
    @pytest.fixture
    async def make_backend(self, front: UpstashFront) -> Callable[[], Backend]:
        return lambda: Upstash(front.url, TOKEN, timeout_seconds=5)


async def test_a_hit_is_one_request(front: UpstashFront) -> None:
    async with Cache(Upstash(front.url, TOKEN), timeout=timedelta(seconds=5)) as cache:
        await cache.set("one-request", "x")
        before = front.requests
        assert await cache.get("one-request") == "x"
        assert front.requests - before == 1


async def test_a_wrong_token_is_a_miss_that_says_so(
    front: UpstashFront, caplog: pytest.LogCaptureFixture
) -> None:
    async with Cache(Upstash(front.url, "wrong"), timeout=timedelta(seconds=5)) as cache:
        assert await cache.get_or_set("a", Counter("x")) == "x"
        assert cache.stats().circuit_open
    assert "401: Unauthorized" in caplog.text
    assert "wrong" not in caplog.text


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://127.0.0.1:1/path"])
async def test_nobody_listening_is_unavailable(url: str) -> None:
    store = Upstash(url, TOKEN)
    with pytest.raises(Unavailable, match="does not answer"):
        await store.ping()
    await store.close()


async def test_an_answer_that_is_no_json_is_unavailable(redis_server: RedisServer) -> None:
    async with upstash_front(redis_server.url) as front:
        front.broken = True
        store = Upstash(front.url, TOKEN, timeout_seconds=5)
        with pytest.raises(Unavailable):
            await store.get("a")
        await store.close()


async def test_a_slow_answer_is_not_waited_for(redis_server: RedisServer) -> None:
    async with upstash_front(redis_server.url) as front:
        front.delay_seconds = 3
        async with Cache(Upstash(front.url, TOKEN)) as cache:
            began = time.monotonic()
            assert await asyncio.gather(*(cache.get("a") for _ in range(10))) == [None] * 10
            assert time.monotonic() - began < 2.5
