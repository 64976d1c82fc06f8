from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest

from insight_cloud.core.errors import RateLimited, Unavailable
from insight_cloud.ratelimit import Answer, Limiter, OnFailure, Pair, Policy, require
from tests.ratelimit.clocks import Clock
from tests.ratelimit.contract import LimiterContract


class TestLimiterWithMemory(LimiterContract):
    @pytest.fixture
    def limiter(self) -> Limiter:
        return Limiter()


class Away:
    """A store that is away, or denies everything for `wait` seconds."""

    def __init__(self) -> None:
        self.away = True
        self.wait = 100.0
        self.asked = 0

    async def hit(self, pairs: Sequence[Pair], cost: int) -> Answer:
        self.asked += 1
        if self.away:
            raise Unavailable("away")
        rows = [(0, self.wait, self.wait)] * len(pairs)
        return Answer(not self.wait, pairs, rows, (1,) * len(pairs))

    async def refund(self, pairs: Sequence[Pair], stamps: Sequence[float], cost: int) -> None:
        if self.away:
            raise Unavailable("away")

    async def reset(self, pairs: Sequence[Pair]) -> None:
        if self.away:
            raise Unavailable("away")


def policy(on_failure: OnFailure, limit: int = 2) -> Policy:
    return Policy(on_failure, limit=limit, window=timedelta(minutes=1), on_failure=on_failure)


async def test_without_the_store_each_policy_decides_as_it_was_told() -> None:
    limiter = Limiter(Away())
    assert (await limiter.hit(policy("open"), "a")).source == "open"
    closed = await limiter.hit(policy("closed"), "a")
    assert (closed.admitted, closed.source, closed.violated) == (
        False,
        "closed",
        (policy("closed"),),
    )
    local = [await limiter.hit(policy("local"), "a") for _ in range(3)]
    assert [d.admitted for d in local] == [True, True, False]
    assert all(d.degraded for d in local)
    assert limiter.stats.degraded == 5


async def test_without_the_store_the_strictest_of_several_policies_decides() -> None:
    limiter = Limiter(Away())
    everything = [(policy("open"), "a"), (policy("local"), "a"), (policy("closed"), "a")]
    assert not await limiter.hit_all(everything)
    assert (await limiter.peek([(policy("local"), "a")])).standings[0].remaining == 2
    assert await limiter.hit_all(everything[:2])
    assert await limiter.hit_all(everything[:2])
    assert not await limiter.hit_all(everything[:2])


async def test_what_the_store_had_given_counts_when_the_process_goes_on_alone() -> None:
    store = Away()
    limiter = Limiter(store)
    store.away, store.wait = False, 0.0
    assert await limiter.hit(policy("local"), "a")
    store.away = True
    assert await limiter.hit(policy("local"), "a")
    assert not await limiter.hit(policy("local"), "a")


@pytest.mark.parametrize("on_failure", ["local", "closed", "open"])
async def test_what_is_known_to_be_denied_stays_denied_without_the_store(
    on_failure: OnFailure,
) -> None:
    clock, store = Clock(), Away()
    limiter = Limiter(store, clock=clock)
    store.away = False
    assert not await limiter.hit(policy(on_failure), "a")
    store.away = True
    clock.now += 99
    denied = await limiter.hit(policy(on_failure), "a")
    assert (denied.admitted, denied.source, denied.retry_after) == (False, "redis", 1.0)


async def test_a_denied_key_is_denied_without_asking_and_asked_about_once_a_second() -> None:
    clock, store = Clock(), Away()
    limiter = Limiter(store, clock=clock)
    store.away = False
    for tick in range(1000):
        clock.now = 1000 + tick * 0.01
        denied = await limiter.hit(policy("local"), "a")
        assert denied.retry_after == pytest.approx(100, abs=1.01)
    assert store.asked == 10
    assert limiter.stats.denied_locally == 990


async def test_a_denial_is_not_repeated_after_its_time() -> None:
    clock, store = Clock(), Away()
    limiter = Limiter(store, clock=clock)
    store.away, store.wait = False, 0.5
    await limiter.hit(policy("local"), "a")
    clock.now += 0.5
    store.wait = 0.0
    assert await limiter.hit(policy("local"), "a")


async def test_a_denied_large_cost_says_nothing_of_a_small_one() -> None:
    store = Away()
    limiter = Limiter(store)
    store.away = False
    await limiter.hit(policy("local"), "a", cost=2)
    await limiter.hit(policy("local"), "a", cost=2)
    assert store.asked == 1
    await limiter.hit(policy("local"), "a", cost=1)
    assert store.asked == 2


async def test_remembered_denials_are_bounded() -> None:
    store = Away()
    limiter = Limiter(store, max_denials=10)
    store.away = False
    for number in range(100):
        await limiter.hit(policy("local"), str(number))
        assert len(limiter._denied) <= 10


async def test_a_reset_that_could_not_be_done_is_said() -> None:
    with pytest.raises(Unavailable):
        await Limiter(Away()).reset([(policy("local"), "a")])


async def test_a_refund_without_the_store_is_counted_and_not_raised() -> None:
    store = Away()
    limiter = Limiter(store)
    store.away, store.wait = False, 0.0
    decision = await limiter.hit(policy("open"), "a")
    store.away = True
    await limiter.refund(decision)
    assert limiter.stats.degraded == 1


async def test_the_error_tells_a_limit_from_a_store_that_is_away() -> None:
    limiter = Limiter(Away())
    with pytest.raises(Unavailable):
        require(await limiter.hit(policy("closed"), "a"))
    require(await limiter.hit(policy("local", limit=1), "a"))
    with pytest.raises(RateLimited, match="limit: local"):
        require(await limiter.hit(policy("local", limit=1), "a"))
