"""What a limiter promises, wherever its logs are; the suites of memory and Redis inherit it."""

from __future__ import annotations

import asyncio
import itertools
from datetime import timedelta

import pytest

from insight_cloud.core.errors import RateLimited
from insight_cloud.ratelimit import Limiter, Policy

__all__ = ["LimiterContract"]

_keys = itertools.count()


def policy(limit: int, name: str = "tier", *, window: float = 60.0) -> Policy:
    return Policy(name, limit=limit, window=timedelta(seconds=window))


class LimiterContract:
    """Inherit and give a fixture `limiter`."""

    @pytest.fixture
    def key(self) -> str:
        return f"user:{next(_keys)}"

    async def test_as_many_as_the_limit_are_admitted_and_no_more(
        self, limiter: Limiter, key: str
    ) -> None:
        decisions = [await limiter.hit(policy(3), key) for _ in range(5)]
        assert [d.admitted for d in decisions] == [True, True, True, False, False]
        assert [d.standings[0].remaining for d in decisions] == [2, 1, 0, 0, 0]

    async def test_a_denial_says_how_long_to_wait(self, limiter: Limiter, key: str) -> None:
        await limiter.hit(policy(1), key)
        denied = await limiter.hit(policy(1), key)
        assert 59 < denied.retry_after <= 60
        assert [p.name for p in denied.violated] == ["tier"]

    async def test_what_has_left_the_window_is_admitted_again(
        self, limiter: Limiter, key: str
    ) -> None:
        short = policy(1, window=0.05)
        await limiter.hit(short, key)
        denied = await limiter.hit(short, key)
        await asyncio.sleep(denied.retry_after + 0.001)
        assert (await limiter.hit(short, key)).admitted

    async def test_keys_and_policies_do_not_share_permits(self, limiter: Limiter, key: str) -> None:
        assert await limiter.hit(policy(1), key)
        assert await limiter.hit(policy(1), key + "x")
        assert await limiter.hit(policy(1, "other"), key)

    async def test_a_cost_takes_several_permits(self, limiter: Limiter, key: str) -> None:
        assert await limiter.hit(policy(10), key, cost=7)
        assert not await limiter.hit(policy(10), key, cost=4)
        assert await limiter.hit(policy(10), key, cost=3)

    async def test_an_impossible_cost_is_the_callers_fault(
        self, limiter: Limiter, key: str
    ) -> None:
        for cost in (0, -1, 4):
            with pytest.raises(ValueError, match="costs from 1 to 3"):
                await limiter.hit(policy(3), key, cost=cost)
            with pytest.raises(ValueError, match="costs from 1 to 3"):
                await limiter.hit_all([(policy(3), key)], cost=cost)

    async def test_several_policies_take_from_all_or_from_none(
        self, limiter: Limiter, key: str
    ) -> None:
        wide, narrow = policy(5, "wide"), policy(1, "narrow")
        assert await limiter.hit_all([(wide, key), (narrow, key)])
        for _ in range(3):
            denied = await limiter.hit_all([(wide, key), (narrow, key)])
            assert not denied
            assert [p.name for p in denied.violated] == ["narrow"]
        standing = (await limiter.peek([(wide, key)])).standings[0]
        assert standing.remaining == 4

    async def test_policies_may_have_different_keys(self, limiter: Limiter, key: str) -> None:
        by_user, by_address = policy(2, "user"), policy(1, "address")
        first = [(by_user, key), (by_address, f"ip:{key}-1")]
        assert await limiter.hit_all(first)
        assert not await limiter.hit_all(first)
        assert (await limiter.peek([(by_user, key)])).standings[0].remaining == 1
        assert await limiter.hit_all([(by_user, key), (by_address, f"ip:{key}-2")])
        assert not await limiter.hit_all([(by_user, key), (by_address, f"ip:{key}-3")])
        assert (await limiter.peek([(by_address, f"ip:{key}-3")])).standings[0].remaining == 1

    async def test_a_policy_twice_for_one_key_is_the_callers_fault(
        self, limiter: Limiter, key: str
    ) -> None:
        with pytest.raises(ValueError, match="twice"):
            await limiter.hit_all([(policy(1), key), (policy(1), key)])

    async def test_to_peek_takes_nothing(self, limiter: Limiter, key: str) -> None:
        for _ in range(3):
            standing = (await limiter.peek([(policy(2), key)])).standings[0]
            assert (standing.remaining, standing.next_seconds) == (2, 0)
        await limiter.hit(policy(2), key)
        standing = (await limiter.peek([(policy(2), key)])).standings[0]
        assert standing.remaining == 1
        assert 59 < standing.next_seconds <= 60

    async def test_a_reset_gives_all_permits_back(self, limiter: Limiter, key: str) -> None:
        await limiter.hit(policy(1), key)
        assert not await limiter.hit(policy(1), key)
        await limiter.reset([(policy(1), key)])
        assert await limiter.hit(policy(1), key)

    async def test_a_refund_gives_back_what_was_taken(self, limiter: Limiter, key: str) -> None:
        decision = await limiter.hit(policy(5), key, cost=3)
        await limiter.hit(policy(5), key)
        await limiter.refund(decision)
        assert (await limiter.peek([(policy(5), key)])).standings[0].remaining == 4
        await limiter.refund(decision)  # a second time there is nothing to give back
        assert (await limiter.peek([(policy(5), key)])).standings[0].remaining == 4

    async def test_a_refund_of_several_policies_gives_back_to_each(
        self, limiter: Limiter, key: str
    ) -> None:
        pairs = [(policy(5, "one"), key), (policy(7, "two"), f"ip:{key}")]
        await limiter.refund(await limiter.hit_all(pairs))
        standings = (await limiter.peek(pairs)).standings
        assert [s.remaining for s in standings] == [5, 7]

    async def test_a_refund_of_a_denial_changes_nothing(self, limiter: Limiter, key: str) -> None:
        await limiter.hit(policy(1), key)
        await limiter.refund(await limiter.hit(policy(1), key))
        assert not await limiter.hit(policy(1), key)

    async def test_concurrent_hits_are_not_admitted_twice(self, limiter: Limiter, key: str) -> None:
        decisions = await asyncio.gather(*(limiter.hit(policy(20), key) for _ in range(100)))
        assert sum(map(bool, decisions)) == 20

    async def test_a_large_limit_is_exact_too(self, limiter: Limiter, key: str) -> None:
        large = policy(2000)
        left = [(await limiter.hit(large, key, cost=90)).standings[0].remaining for _ in range(22)]
        assert left == [2000 - 90 * number for number in range(1, 23)]
        denied = await limiter.hit(large, key, cost=90)
        assert (denied.admitted, denied.standings[0].remaining) == (False, 20)
        assert await limiter.hit(large, key, cost=20)

    async def test_a_decorated_function_raises_when_the_limit_is_used_up(
        self, limiter: Limiter, key: str
    ) -> None:
        @limiter.limit(policy(1), key=lambda user: user)
        async def work(user: str) -> str:
            return user.upper()

        assert await work(key) == key.upper()
        with pytest.raises(RateLimited) as caught:
            await work(key)
        assert 59 < caught.value.retry_after <= 60

    async def test_only_failures_are_counted_if_one_wishes(
        self, limiter: Limiter, key: str
    ) -> None:
        @limiter.limit(policy(2), key=lambda user, password: user, count="failures")
        async def sign_in(user: str, password: str) -> None:
            if password != "right":
                raise PermissionError

        for _ in range(5):
            await sign_in(key, "right")
        for _ in range(2):
            with pytest.raises(PermissionError):
                await sign_in(key, "wrong")
        with pytest.raises(RateLimited):
            await sign_in(key, "right")
