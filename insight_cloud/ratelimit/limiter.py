"""`Limiter`: what people import. It decides with Redis, with memory, or by `on_failure`."""

from __future__ import annotations

import functools
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal, ParamSpec, Protocol, TypeVar

from insight_cloud.core.errors import RateLimited, Unavailable
from insight_cloud.ratelimit.memory import Memory
from insight_cloud.ratelimit.policy import Decision, Pair, Policy
from insight_cloud.ratelimit.redis import Answer

__all__ = ["Limiter", "Stats", "Store"]

P = ParamSpec("P")
T = TypeVar("T")


class Store(Protocol):
    """Where the shared logs are; `redis.Redis` is one."""

    async def hit(self, pairs: Sequence[Pair], cost: int) -> Answer:
        """Decide and note in one step, or raise `Unavailable`."""

    async def refund(self, pairs: Sequence[Pair], stamps: Sequence[float], cost: int) -> None:
        """Give back what a hit took, or raise `Unavailable`."""

    async def reset(self, pairs: Sequence[Pair]) -> None:
        """Forget the pairs, or raise `Unavailable`."""


@dataclass(slots=True)
class Stats:
    """What happened since the start."""

    denied_locally: int = 0
    """Denials repeated from memory, without a round trip."""
    degraded: int = 0
    """Decisions that Redis should have made and could not."""


class Limiter:
    """Never more than the limit of a policy in any window of its length.

    Without a `store` the limits are this process's own. With one they are shared: one round
    trip decides all policies of a request, concurrent checks travel together, and a key that
    is denied is denied from memory until its next permit falls due (but asked about again
    every `recheck_seconds`, so that a reset or refund elsewhere is noticed). While the store is
    away each policy's `on_failure` decides; what is known to be denied stays denied.

    No method raises for a store that is away, except `reset`.
    """

    def __init__(
        self,
        store: Store | None = None,
        *,
        memory: Memory | None = None,
        recheck_seconds: float = 1.0,
        max_denials: int = 100_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._memory = memory or Memory(clock=clock)
        self._recheck = recheck_seconds
        self._max_denials = max_denials
        self._clock = clock
        self._denied: dict[tuple[str, str], _Denial] = {}
        self.stats = Stats()

    async def hit(self, policy: Policy, key: str, *, cost: int = 1) -> Decision:
        """Ask for `cost` permits of one policy, and take them if they are there.

        Raises:
            ValueError: `cost` is not between 1 and the limit.
        """
        if not 1 <= cost <= policy.limit:
            raise _impossible(cost, policy)
        if self._store is None:
            return self._memory.hit(policy, key, cost)
        denial = self._denied.get((policy.name, key))
        if denial is not None and cost >= denial[2].cost and self._clock() < denial[0]:
            self.stats.denied_locally += 1
            return denial[2]
        return await self._ask(((policy, key),), cost)

    async def hit_all(self, pairs: Sequence[Pair], *, cost: int = 1) -> Decision:
        """Ask several policies at once: permits are taken from all of them or from none.

        Raises:
            ValueError: `cost` is impossible, or a policy occurs twice with the same key.
        """
        for policy, _ in pairs:
            if not 1 <= cost <= policy.limit:
                raise _impossible(cost, policy)
        names = {(policy.name, key) for policy, key in pairs}
        if len(names) < len(pairs):
            raise ValueError("a policy occurs twice with the same key")
        if self._store is None or not pairs:
            return self._memory.hit_all(pairs, cost)
        if self._denied:
            now = self._clock()
            for name in names:
                denial = self._denied.get(name)
                if denial is not None and cost >= denial[2].cost and now < denial[0]:
                    self.stats.denied_locally += 1
                    return denial[2]
        return await self._ask(tuple(pairs), cost)

    def denied(self, policy: Policy, key: str) -> bool:
        """Whether this process knows, without asking, that one more permit would be denied.

        False may mean that nobody knows: it is a reason to go on and ask, not to admit.
        """
        if self._store is None:
            return not self._memory.peek(((policy, key),)).standings[0].remaining
        denial = self._denied.get((policy.name, key))
        return denial is not None and self._clock() < denial[0]

    async def peek(self, pairs: Sequence[Pair]) -> Decision:
        """Say how the pairs stand and take nothing."""
        if self._store is None:
            return self._memory.peek(pairs)
        try:
            answer = await self._store.hit(pairs, 0)
        except Unavailable:
            decision = self._memory.peek(pairs)
            decision.source = "fallback"
            return decision
        return self._decision(answer, 0)

    async def reset(self, pairs: Sequence[Pair]) -> None:
        """Give the pairs all their permits back.

        Raises:
            Unavailable: the store is away; nothing was reset there.
        """
        self._memory.reset(pairs)
        for policy, key in pairs:
            self._denied.pop((policy.name, key), None)
        if self._store is not None:
            await self._store.reset(pairs)

    async def refund(self, decision: Decision) -> None:
        """Give back what `decision` took, for limits that count only failures.

        Does nothing for a denial. When the store is away, the permits stay taken.
        """
        if not decision.admitted:
            return
        if decision.source in {"memory", "fallback"}:
            self._memory.refund(decision)
        if decision.source != "redis" or self._store is None:
            return
        for policy, key in decision.pairs:
            self._denied.pop((policy.name, key), None)
        try:
            await self._store.refund(decision.pairs, decision.stamps, decision.cost)
        except Unavailable:
            self.stats.degraded += 1

    def limit(
        self,
        policy: Policy,
        key: Callable[P, str],
        *,
        cost: int = 1,
        count: Literal["all", "failures"] = "all",
    ) -> Callable[[Callable[P, Awaitable[T]]], Callable[P, Awaitable[T]]]:
        """Decorate an async function: `key(*arguments)` names whose permits a call takes.

        With `count="failures"` the permits are given back when the function returns, so only
        calls that raise are counted. A call without permit raises `RateLimited`.
        """

        def decorate(function: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
            @functools.wraps(function)
            async def limited(*args: P.args, **kwargs: P.kwargs) -> T:
                decision = await self.hit(policy, key(*args, **kwargs), cost=cost)
                require(decision)
                result = await function(*args, **kwargs)
                if count == "failures":
                    await self.refund(decision)
                return result

            return limited

        return decorate

    # -- with a store --------------------------------------------------------------------------

    async def _ask(self, pairs: Sequence[Pair], cost: int) -> Decision:
        assert self._store is not None  # noqa: S101 - the callers have looked
        try:
            answer = await self._store.hit(pairs, cost)
        except Unavailable:
            return self._without_store(pairs, cost)
        decision = self._decision(answer, cost)
        if not answer.admitted:
            self._remember(decision)
            return decision
        mirrored = [pair for pair in pairs if pair[0].on_failure == "local"]
        if mirrored:
            self._memory.note(mirrored, cost)
        return decision

    def _decision(self, answer: Answer, cost: int) -> Decision:
        now, clock = self._clock(), self._clock
        return Decision(
            answer.admitted, answer.pairs, answer.rows, cost, "redis", answer.stamps, now, clock
        )

    def _remember(self, decision: Decision) -> None:
        """Keep a denial until the permit falls due: (asked again at, due at, decision)."""
        if len(self._denied) >= self._max_denials:
            self._forget_some()
        now = self._clock()
        for (policy, key), (left, wait, following) in zip(
            decision.pairs, decision.rows, strict=True
        ):
            if wait <= 0:
                continue
            one = self._decision(
                Answer(False, ((policy, key),), ((left, wait, following),), ()), decision.cost
            )
            self._denied[policy.name, key] = (now + min(wait, self._recheck), now + wait, one)

    def _forget_some(self) -> None:
        """Drop what is due; if that is nothing, the older half. Redis knows them all."""
        now = self._clock()
        due = [name for name, denial in self._denied.items() if denial[1] <= now]
        for name in due or list(self._denied)[: self._max_denials // 2]:
            del self._denied[name]

    # -- without it ----------------------------------------------------------------------------

    def _without_store(self, pairs: Sequence[Pair], cost: int) -> Decision:
        self.stats.degraded += 1
        now = self._clock()
        for policy, key in pairs:
            denial = self._denied.get((policy.name, key))
            if denial is not None and cost >= denial[2].cost and now < denial[1]:
                return denial[2]
        if any(policy.on_failure == "closed" for policy, _ in pairs):
            closed = [pair for pair in pairs if pair[0].on_failure == "closed"]
            return Decision(False, closed, (), cost, "closed", (), now, self._clock)
        local = [pair for pair in pairs if pair[0].on_failure == "local"]
        if not local:
            return Decision(True, pairs, (), cost, "open", (), now, self._clock)
        return self._memory.hit_all(local, cost, "fallback")


_Denial = tuple[float, float, Decision]


def require(decision: Decision) -> None:
    """Do nothing when it is admitted.

    Raises:
        RateLimited: a limit is used up.
        Unavailable: Redis is away, and a policy admits nobody then.
    """
    if decision.admitted:
        return
    names = ", ".join(policy.name for policy in decision.violated)
    if decision.source == "closed":
        raise Unavailable(f"the rate limit {names} cannot be checked now; try again")
    raise RateLimited(
        f"too many requests (limit: {names}); try again in {decision.retry_after:.0f} s",
        retry_after=decision.retry_after,
    )


def _impossible(cost: int, policy: Policy) -> ValueError:
    return ValueError(f"{policy.name} admits costs from 1 to {policy.limit}, not {cost}")
