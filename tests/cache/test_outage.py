"""A store that dies, hangs or comes back: no request raises, none waits, all is counted."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from datetime import timedelta
from statistics import median

import pytest

from insight_cloud.cache import Cache, Redis, check
from tests.cache.contract import Counter, eventually
from tests.patience import BUSY
from tests.redis import RedisServer
from tests.redis import redis_server as own_redis_server


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with own_redis_server() as server:
        yield server


@pytest.fixture
async def cache(server: RedisServer) -> AsyncIterator[Cache]:
    async with Cache(Redis(server.url)) as cache:
        await eventually(lambda: cache._store.coherent)
        yield cache


async def _seconds(work: Awaitable[object]) -> float:
    began = time.perf_counter()
    await work
    return time.perf_counter() - began


async def _all_methods(cache: Cache) -> None:
    assert await cache.get("a") is None
    assert await cache.get("a", 7) == 7
    await cache.set("a", "x")
    await cache.delete("a")
    assert not await cache.exists("a")
    assert await cache.increment("n") == 0
    assert await cache.get_many(["a", "b"]) == {}
    await cache.set_many({"a": "x"})
    assert [key async for key in cache.keys("*")] == []
    assert not await cache.touch("a")
    assert await cache.ttl("a") is None
    assert await cache.clear() == 0
    await cache.invalidate("tag")
    assert await cache.get_or_set("a", Counter("x"), tags=["tag"]) == "x"


async def test_a_killed_server_is_a_miss_at_once(server: RedisServer, cache: Cache) -> None:
    first, later, computed = [], [], []
    for number in range(5):
        server.kill()
        first.append(await _seconds(cache.get("b")))
        later += [await _seconds(cache.get("b")) for _ in range(20)]
        computed.append(await _seconds(cache.get_or_set(f"c{number}", Counter(number))))
        server.restart()
        await eventually(lambda: not cache.stats().circuit_open)
    assert median(first) < 0.005 * BUSY
    assert median(computed) < 0.005 * BUSY
    assert median(later) < 0.001 * BUSY


async def test_a_hung_server_is_waited_for_once(server: RedisServer, cache: Cache) -> None:
    first, later, computed = [], [], []
    for number in range(3):
        server.stop()
        first.append(await _seconds(cache.get("b")))
        later += [await _seconds(cache.get("b")) for _ in range(20)]
        computed.append(await _seconds(cache.get_or_set(f"c{number}", Counter(number))))
        server.resume()
        await eventually(lambda: not cache.stats().circuit_open)
    assert 0.15 < median(first) < 0.25 * 4
    assert median(later) < 0.001 * BUSY
    assert median(computed) < 0.005 * BUSY


async def test_of_many_on_a_hung_server_all_wait_together(
    server: RedisServer, cache: Cache
) -> None:
    server.stop()
    answers = asyncio.gather(*(cache.get_or_set(f"c{n}", Counter(n)) for n in range(200)))
    began = time.perf_counter()
    assert await answers == list(range(200))
    assert time.perf_counter() - began < 5


async def test_probing_a_hung_server_delays_nobody(server: RedisServer, cache: Cache) -> None:
    server.stop()
    await cache.get("b")
    waits: list[float] = []
    end = time.monotonic() + 1.5  # several probes
    while time.monotonic() < end:
        waits.append(await _seconds(cache.get("b")))
        await asyncio.sleep(0.005)
    assert sorted(waits)[len(waits) * 9 // 10] < 0.1
    assert cache.stats().circuit_open


@pytest.mark.parametrize("outage", ["kill", "stop"])
async def test_nothing_raises_while_it_is_away(
    server: RedisServer, cache: Cache, outage: str
) -> None:
    await cache.set("a", "stored")
    getattr(server, outage)()
    async with asyncio.timeout(5):
        await _all_methods(cache)
    assert (await check(cache))[0].status == "warn"


@pytest.mark.parametrize("outage", ["kill", "stop"])
async def test_all_is_normal_soon_after(
    server: RedisServer, cache: Cache, outage: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "insight_cloud.cache")
    getattr(server, outage)()
    await asyncio.sleep(0.6)
    for _ in range(20):
        await cache.get("a")
    assert cache.stats().failures >= 20
    (server.restart if outage == "kill" else server.resume)()

    async def works() -> bool:
        await cache.set("a", "again")
        return bool(await cache.get("a") == "again")

    began = time.monotonic()
    while not await works():  # noqa: ASYNC110 - there is no event on the other side
        await asyncio.sleep(0.01)
    assert time.monotonic() - began < 5
    await eventually(lambda: cache._store.coherent, seconds=5)
    await cache.get("a")
    before = cache.stats().local_hits
    await cache.get("a")
    assert cache.stats().local_hits == before + 1
    assert not cache.stats().circuit_open
    assert (await check(cache))[0].status == "pass"
    lines = [record.getMessage() for record in caplog.records]
    assert [line.split()[0] for line in lines] == ["cache.unavailable", "cache.available"]


async def test_what_was_deleted_during_an_outage_does_not_come_back(
    server: RedisServer, cache: Cache
) -> None:
    await cache.set_many({"deleted": "old", "replaced": "old", "kept": "good"})
    await cache.set("tagged", "old", tags=["x"])
    server.stop()
    await cache.delete("deleted")
    await cache.set("replaced", "new")
    await cache.invalidate("x")
    server.resume()
    await eventually(lambda: not cache.stats().circuit_open)
    keys = ["deleted", "replaced", "kept", "tagged"]
    assert await cache.get_many(keys) == {"kept": "good"}


async def test_more_changes_than_can_be_remembered_clear_the_namespace(
    server: RedisServer, cache: Cache
) -> None:
    await cache.set_many({f"k{n}": "old" for n in range(3000)})
    server.stop()
    for start in range(0, 12_000, 1000):
        await cache.delete(*(f"d{n}" for n in range(start, start + 1000)))
    server.resume()
    await eventually(lambda: not cache.stats().circuit_open)
    assert [key async for key in cache.keys("*")] == []


async def test_a_computation_goes_on_when_the_server_dies_under_it(
    server: RedisServer, cache: Cache
) -> None:
    gate = asyncio.Event()
    make = Counter("x", gate=gate)
    waiting = [asyncio.create_task(cache.get_or_set("a", make)) for _ in range(5)]
    await eventually(lambda: make.calls)
    server.kill()
    gate.set()
    assert await asyncio.gather(*waiting) == ["x"] * 5
    assert make.calls == 1


async def test_who_waits_for_another_process_is_freed_when_the_server_dies(
    server: RedisServer, cache: Cache
) -> None:
    gate = asyncio.Event()
    async with Cache(Redis(server.url)) as other:
        await eventually(lambda: other._store.coherent)
        holder = Counter("theirs", gate=gate)
        holding = asyncio.create_task(cache.get_or_set("a", holder))
        await eventually(lambda: holder.calls)
        waiting = asyncio.create_task(other.get_or_set("a", Counter("own")))
        await eventually(lambda: other._waiting)
        server.kill()
        async with asyncio.timeout(3):
            assert await waiting == "own"
        gate.set()
        assert await holding == "theirs"


async def test_a_full_server_refuses_and_is_still_read(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with Cache(Redis(server.url), local_bytes=0, timeout=timedelta(seconds=2)) as cache:
        await cache.set("a", "kept")
        await cache.set("b", "old")
        server.command("CONFIG", "SET", "maxmemory", "1")
        for _ in range(5):
            await cache.set("b", "new")
            assert await cache.get_or_set("c", Counter("x")) == "x"
        assert await cache.get("a") == "kept"
        assert await cache.get("b") is None  # the old value would be wrong
        assert not cache.stats().circuit_open
    assert caplog.text.count("cache.refused") == 1
    assert "cache.unavailable" not in caplog.text


async def test_nobody_at_the_address_is_a_miss() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"redis://:secret@127.0.0.1:{unused.getsockname()[1]}"
        async with asyncio.timeout(5), Cache(Redis(url)) as cache:
            await _all_methods(cache)
            detail = (await check(cache))[0].detail
    assert "does not answer" in detail
    assert "secret" not in detail


async def test_a_wrong_password_is_a_miss_that_says_so(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    url = server.url.replace("redis://", "redis://:wr0ng@")
    async with asyncio.timeout(5), Cache(Redis(url)) as cache:
        await _all_methods(cache)
    assert "password" in caplog.text
    assert "wr0ng" not in caplog.text


async def test_a_loop_that_stood_still_does_not_open_the_circuit(cache: Cache) -> None:
    reading = asyncio.create_task(cache.get("a"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    time.sleep(0.5)  # noqa: ASYNC251 - a busy loop is what is tested
    await reading
    assert not cache.stats().circuit_open
