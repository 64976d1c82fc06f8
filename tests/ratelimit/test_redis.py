from __future__ import annotations

import asyncio
import functools
import itertools
import math
import re
import ssl
import statistics
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from insight_cloud.core.errors import SettingsError, Unavailable
from insight_cloud.ratelimit import Limiter, OnFailure, Policy, Redis, scripts
from insight_cloud.ratelimit.resp import pack
from insight_cloud.ratelimit.window import Log
from tests.patience import BUSY
from tests.ratelimit.contract import LimiterContract
from tests.ratelimit.schedules import Step, schedules, worst
from tests.redis import RedisCluster, RedisServer, redis_cluster, redis_server


class TestLimiterWithRedis(LimiterContract):
    @pytest.fixture
    async def limiter(self, redis_server: RedisServer) -> AsyncIterator[Limiter]:
        async with Redis(redis_server.url, timeout_seconds=5) as store:
            yield Limiter(store)


class TestLimiterWithCluster(LimiterContract):
    @pytest.fixture
    async def limiter(self, redis_cluster: RedisCluster) -> AsyncIterator[Limiter]:
        async with Redis(redis_cluster.url, timeout_seconds=5) as store:
            yield Limiter(store)


class TestLimiterWithSocket(LimiterContract):
    @pytest.fixture
    async def limiter(self, redis_server: RedisServer) -> AsyncIterator[Limiter]:
        async with Redis(f"unix://{redis_server.socket_path}?db=3", timeout_seconds=5) as store:
            yield Limiter(store)


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A server that the test may kill."""
    with redis_server() as own:
        yield own


def policy(
    limit: int, name: str = "tier", *, window: float = 60.0, on_failure: OnFailure = "local"
) -> Policy:
    return Policy(name, limit, timedelta(seconds=window), on_failure)


async def until(holds: Callable[[], bool], seconds: float) -> float:
    """Wait until `holds`, at most `seconds`; how long it took."""
    began = time.perf_counter()
    while not holds():
        assert time.perf_counter() - began < seconds, "it did not come about in time"
        await asyncio.sleep(0.005)
    return time.perf_counter() - began


async def timed(limiter: Limiter, which: Policy, key: str) -> float:
    began = time.perf_counter()
    await limiter.hit(which, key)
    return time.perf_counter() - began


# -- cost ------------------------------------------------------------------------------------


async def test_four_policies_take_one_round_trip(redis_server: RedisServer) -> None:
    pairs = [(policy(9, name), "user:four") for name in ("a", "b", "c", "d")]
    async with Redis(redis_server.url, timeout_seconds=5) as store:
        limiter = Limiter(store)
        calls = _calls(redis_server, "evalsha")
        decision = await limiter.hit_all(pairs)
        assert _calls(redis_server, "evalsha") - calls == 1
        assert [s.remaining for s in decision.standings] == [8] * 4


async def test_the_checks_of_one_turn_of_the_loop_travel_together(
    redis_server: RedisServer,
) -> None:
    async with Redis(redis_server.url, timeout_seconds=5) as store:
        connection = store._seed.connection
        assert connection is not None
        batches = len(connection._sent)
        limiter = Limiter(store)
        await asyncio.gather(*(limiter.hit(policy(100), "user:together") for _ in range(50)))
        assert len(connection._sent) - batches == 1


async def test_a_denied_key_costs_no_round_trips(redis_server: RedisServer) -> None:
    async with Redis(redis_server.url, timeout_seconds=5) as store:
        limiter = Limiter(store, recheck_seconds=60)
        await limiter.hit(policy(1), "user:attacker")
        await limiter.hit(policy(1), "user:attacker")
        calls = _calls(redis_server, "evalsha")
        for _ in range(1000):
            assert not await limiter.hit(policy(1), "user:attacker")
        assert _calls(redis_server, "evalsha") == calls


async def test_every_key_ends_by_itself_and_a_full_one_takes_at_most_1400_bytes(
    server: RedisServer,
) -> None:
    async with Redis(server.url, timeout_seconds=5) as store:
        limiter = Limiter(store)
        for number in range(20):
            for _ in range(101):
                decision = await limiter.hit(policy(100), f"user:{number}")
            await limiter.refund(decision)
        await limiter.refund(await limiter.hit_all([(policy(5, "x"), "a"), (policy(5, "y"), "a")]))
        await limiter.hit(policy(5, "x"), "b")
    keys = re.findall(r"insight:\S+", server.command("KEYS", "*"))
    assert len(keys) == 21
    for key in keys:
        assert 0 < _number(server.command("PTTL", key)) <= 60_001
        assert _number(server.command("MEMORY", "USAGE", key)) <= 1400


def _calls(server: RedisServer, command: str) -> int:
    match = re.search(rf"cmdstat_{command}:calls=(\d+)", server.command("INFO", "commandstats"))
    return int(match[1]) if match else 0


def _number(reply: str) -> int:
    return int(reply.strip().removeprefix(":"))


# -- the rule in Lua is the rule in Python ----------------------------------------------------


class ScriptedClock:
    """window.lua with the time as a last argument, for one key."""

    def __init__(self, server: RedisServer) -> None:
        text = scripts.WINDOW.text.decode()
        clock = "local clock = redis.call('TIME')\nlocal now = clock[1] * 1000000 + clock[2]\n"
        assert clock in text
        self._text = text.replace(clock, "local now = tonumber(ARGV[#ARGV])\n")
        self._server = server

    async def take(
        self, store: Redis, key: str, now: int, cost: int, *, limit: int, window: int
    ) -> tuple[int, int, int]:
        command = ("EVAL", self._text, 1, key, cost, limit, window, now)
        reply: Any = await store._ask(store._seed, pack(command))
        assert reply[1] == (1 if reply[3] == 0 else 0)
        return reply[2], reply[3], reply[4]


_names = itertools.count()


@pytest.mark.parametrize("limit", [5, 600])
async def test_redis_decides_as_the_pure_rule_does(redis_server: RedisServer, limit: int) -> None:
    """A limit of 5 is read whole, one of 600 in pieces."""
    window = 20_000_000  # in microseconds; large, so that no key ends while the test runs

    async with Redis(redis_server.url, timeout_seconds=5) as store:
        loop = asyncio.get_running_loop()
        script = ScriptedClock(redis_server)

        async def both(steps: list[Step]) -> None:
            log, key = Log(), f"lua:{next(_names)}"
            real, offset, admitted = 0, 10**15, []
            offset_back = False
            for step in steps:
                real += step.passed
                offset -= step.back
                offset_back |= step.back > 0
                now = real + offset
                expected = log.take(now, window, limit, step.cost)
                answer = await script.take(store, key, now, step.cost, limit=limit, window=window)
                # Of a clock set back, memory has forgotten a little more than Redis, which
                # keeps what has left the window until the place is needed. Both are safe.
                if not offset_back:
                    assert answer == tuple(map(math.ceil, expected))
                if not answer[1]:
                    admitted.append((real, step.cost))
            assert worst(admitted, window) <= limit

        @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(schedules(limit, window))
        def schedule(steps: list[Step]) -> None:
            asyncio.run_coroutine_threadsafe(both(steps), loop).result(60)

        await asyncio.to_thread(schedule)


async def test_a_limit_that_is_lowered_and_raised_again_forgets_nothing(
    redis_server: RedisServer,
) -> None:
    window = 10_000_000
    async with Redis(redis_server.url, timeout_seconds=5) as store:
        take = functools.partial(ScriptedClock(redis_server).take, store, "changing", window=window)
        start = 10**15
        for time in (*range(10), window, window + 1):  # the ring of ten is turned by two
            assert (await take(start + time, 1, limit=10))[1] == 0
        now = start + window + 1
        assert (await take(now, 0, limit=10))[0] == 0
        assert (await take(now, 1, limit=5))[1] == 6  # when but four are left of the ten
        now = start + window + 8  # three are left
        assert (await take(now, 2, limit=5))[1] == 0
        assert (await take(now, 1, limit=5))[1] == 1
        assert (await take(now, 0, limit=10))[0] == 5
        assert (await take(now, 5, limit=10))[1] == 0
        assert (await take(now, 1, limit=10))[1] == 1


# -- failures --------------------------------------------------------------------------------


async def test_killed_decides_at_once_and_is_normal_soon_after_the_restart(
    server: RedisServer,
) -> None:
    async with Redis(server.url) as store:
        limiter = Limiter(store)
        assert (await limiter.hit(policy(1000), "user:1")).source == "redis"
        server.kill()
        times = [await timed(limiter, policy(1000), "user:1") for _ in range(100)]
        assert times[0] <= 0.005 * BUSY
        assert statistics.quantiles(times, n=20)[-1] <= 0.005 * BUSY
        assert (await limiter.hit(policy(1000), "user:1")).source == "fallback"
        server.restart()
        await until(lambda: store.up, 5)
        assert (await limiter.hit(policy(1000), "user:1")).source == "redis"


async def test_hung_is_waited_for_once_and_is_normal_again_when_it_goes_on(
    server: RedisServer,
) -> None:
    async with Redis(server.url) as store:
        limiter = Limiter(store)
        await limiter.hit(policy(1000), "user:1")
        server.stop()
        try:
            first = await asyncio.gather(*(timed(limiter, policy(1000), "a") for _ in range(20)))
            then = [await timed(limiter, policy(1000), "user:1") for _ in range(200)]
        finally:
            server.resume()
        assert max(first) <= 0.25 * 4
        assert statistics.quantiles(then, n=20)[-1] <= 0.001 * BUSY
        await until(lambda: store.up, 5)
        assert (await limiter.hit(policy(1000), "user:1")).source == "redis"


async def test_a_server_that_is_away_at_the_start_is_found_later(server: RedisServer) -> None:
    server.kill()
    async with Redis(server.url) as store:
        limiter = Limiter(store)
        assert (await limiter.hit(policy(2, on_failure="closed"), "a")).source == "closed"
        server.restart()
        await until(lambda: store.up, 5)
        assert (await limiter.hit(policy(2, on_failure="closed"), "a")).source == "redis"


async def test_a_server_that_forgot_the_script_is_taught_again(server: RedisServer) -> None:
    async with Redis(server.url, timeout_seconds=5) as store:
        limiter = Limiter(store)
        decision = await limiter.hit(policy(2), "a")
        for _ in range(2):
            server.command("SCRIPT", "FLUSH")
            await limiter.refund(decision)
            server.command("SCRIPT", "FLUSH")
            decision = await limiter.hit(policy(2), "a")
            assert (decision.source, decision.standings[0].remaining) == ("redis", 1)


async def test_a_closed_connection_is_replaced(server: RedisServer) -> None:
    async with Redis(server.url, timeout_seconds=5) as store:
        limiter = Limiter(store)
        await limiter.hit(policy(2), "a")
        first = store._seed.connection
        server.command("CLIENT", "KILL", "TYPE", "normal")
        await until(lambda: store.up and store._seed.connection is not first, 5)
        assert (await limiter.hit(policy(2), "a")).source == "redis"


async def test_a_replica_is_not_asked(server: RedisServer) -> None:
    """After a failover the old address may lead to a server that only reads."""
    async with Redis(server.url, timeout_seconds=5) as store:
        limiter = Limiter(store)
        await limiter.hit(policy(2), "a")
        server.command("REPLICAOF", "127.0.0.1", "1")
        assert (await limiter.hit(policy(2), "a")).source == "fallback"
        server.command("REPLICAOF", "NO", "ONE")
        await until(lambda: store.up, 5)
        assert (await limiter.hit(policy(2), "a")).source == "redis"


async def test_a_value_that_is_not_ours_is_no_error_for_the_caller(server: RedisServer) -> None:
    async with Redis(server.url, timeout_seconds=5) as store:
        server.command("LPUSH", "insight:ratelimit:{a}:tier", "x")
        assert (await Limiter(store).hit(policy(2), "a")).source == "fallback"
        with pytest.raises(Unavailable, match="WRONGTYPE"):
            await store.hit([(policy(2), "a")], 1)


async def test_a_password_is_sent_and_a_wrong_one_is_a_server_that_is_away() -> None:
    with redis_server() as server:
        server.command("ACL", "SETUSER", "limiter", "on", ">p@ss", "~*", "+@all")
        server.command("ACL", "SETUSER", "default", "off")
        address = f"127.0.0.1:{server.port}"
        async with Redis(f"redis://limiter:p%40ss@{address}/2", timeout_seconds=5) as store:
            assert (await Limiter(store).hit(policy(2), "a")).source == "redis"
        async with Redis(f"redis://limiter:wrong@{address}", timeout_seconds=5) as store:
            assert not store.up
            assert (await Limiter(store).hit(policy(2), "a")).source == "fallback"


def test_a_url_is_checked_at_the_start() -> None:
    with pytest.raises(SettingsError):
        Redis("http://localhost")
    assert not Redis("rediss://localhost", ssl_context=ssl.create_default_context()).up


_HAMMERS = 4  # tasks for each key


async def test_a_cluster_node_that_fails_over_admits_nothing_wrong() -> None:
    """Hammered while its primary is killed, each key gets its limit and not one more."""
    which = policy(200, window=600, on_failure="closed")
    keys = [f"user:{number}" for number in range(12)]
    with redis_cluster() as cluster:
        async with Redis(cluster.nodes[1].url) as store:
            limiter = Limiter(store, recheck_seconds=0.05)
            admitted = dict.fromkeys(keys, 0)
            denied: set[str] = set()
            finished = False

            async def hammer(key: str) -> None:
                while not finished:
                    decision = await limiter.hit(which, key)
                    admitted[key] += decision.admitted
                    if not decision and decision.source == "redis":
                        denied.add(key)
                    await asyncio.sleep(0.005)

            tasks = [asyncio.create_task(hammer(key)) for key in keys for _ in range(_HAMMERS)]
            await until(lambda: sum(admitted.values()) > 600, 30)
            cluster.nodes[0].kill()
            await until(lambda: not store.up, 5)
            await until(lambda: store.up, 30)
            await until(lambda: len(denied) == len(keys), 30)
            denied.clear()  # everyone is asked about again after that
            await until(lambda: len(denied) == len(keys), 30)
            finished = True
            await asyncio.gather(*tasks)
    # What was on its way when the node died may have been noted without an answer.
    assert all(200 - _HAMMERS <= count <= 200 for count in admitted.values()), admitted
