"""The limits over HTTPS keep the same promises, and say at once when nobody answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from insight_cloud.core.errors import Unavailable
from insight_cloud.ratelimit import Limiter, Policy, Upstash
from tests.cache.upstash_front import TOKEN, UpstashFront, upstash_front
from tests.ratelimit.clocks import Clock
from tests.ratelimit.contract import LimiterContract
from tests.redis import RedisServer

API = Policy("api", limit=2, window=timedelta(minutes=1), on_failure="closed")


@pytest.fixture
async def front(redis_server: RedisServer) -> AsyncIterator[UpstashFront]:
    async with upstash_front(redis_server.url) as front:
        yield front


class TestLimiterWithUpstash(LimiterContract):
    @pytest.fixture
    async def limiter(self, front: UpstashFront) -> AsyncIterator[Limiter]:
        async with Upstash(front.url, TOKEN, timeout_seconds=10) as store:
            yield Limiter(store)


async def test_a_decision_is_one_request(front: UpstashFront) -> None:
    other = Policy("other", limit=3, window=timedelta(minutes=1))
    async with Upstash(front.url, TOKEN, timeout_seconds=10) as store:
        await store.hit([(API, "one")], 0)  # the script is known from here on
        before = front.requests
        assert (await Limiter(store).hit_all([(API, "two"), (other, "two")])).admitted
        assert front.requests == before + 1


async def test_a_server_that_forgot_the_script_learns_it_again(
    front: UpstashFront, redis_server: RedisServer
) -> None:
    async with Upstash(front.url, TOKEN, timeout_seconds=10) as store:
        redis_server.command("SCRIPT", "FLUSH")
        assert (await store.hit([(API, "flushed")], 1)).admitted


@pytest.mark.parametrize("fault", ["token", "slow", "broken"])
async def test_a_service_that_is_away_is_not_asked_again_for_a_while(
    front: UpstashFront, fault: str
) -> None:
    clock = Clock()
    token = "wrong" if fault == "token" else TOKEN
    front.broken = fault == "broken"
    front.delay_seconds = 5 if fault == "slow" else 0
    async with Upstash(front.url, token, timeout_seconds=0.2, clock=clock) as store:
        limiter = Limiter(store)
        decision = await limiter.hit(API, "x")
        assert (decision.admitted, decision.source) == (False, "closed")
        asked = front.requests
        with pytest.raises(Unavailable, match="a moment ago"):
            await store.hit([(API, "x")], 1)
        assert front.requests == asked
        clock.now += 1.5
        with pytest.raises(Unavailable) as failure:
            await store.hit([(API, "x")], 1)
        assert TOKEN not in str(failure.value)
        assert front.requests == asked + 1
