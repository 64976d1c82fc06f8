"""Chooses indexes under a budget: the greatest gain first, then pruned, then swapped.

A gain is never larger later than it was found to be before (what another index has saved cannot
be saved again), nearly: so gains are kept in a heap, and only the one on top is reckoned anew.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field

from insight_cloud.tuning.advisor.candidates import Candidate

__all__ = ["Budget", "Chosen", "Cost", "choose"]

Cost = Callable[[str, frozenset[Candidate]], Awaitable[float]]
"""What one query costs with these indexes, weighted by how often it comes."""

_WORTH = 0.001
"""A gain below this share of what is left is none."""
_KEEP = 0.002
_BETTER = 0.01


@dataclass(frozen=True, slots=True)
class Budget:
    """How many indexes, of how many bytes in all, and how much dearer writing may become."""

    count: int = 24
    bytes: float = float("inf")
    write_share: float = 1.0
    seconds: float = 30.0


@dataclass(slots=True)
class Chosen:
    """The indexes, in the order of their gain, and what each query costs with all of them."""

    indexes: list[Candidate] = field(default_factory=list)
    before: dict[str, float] = field(default_factory=dict)
    after: dict[str, float] = field(default_factory=dict)


class _Search:
    def __init__(
        self,
        cost: Cost,
        relevant: Mapping[Candidate, frozenset[str]],
        *,
        sizes: Mapping[Candidate, int],
        writes: Mapping[Candidate, float],
        budget: Budget,
    ) -> None:
        self.cost = cost
        self.relevant = relevant
        self.sizes = sizes
        self.writes = writes
        self.budget = budget
        self.chosen: list[Candidate] = []
        self.costs: dict[str, float] = {}

    @property
    def total(self) -> float:
        return sum(self.costs.values())

    def affordable(self, candidate: Candidate, *, instead: Candidate | None = None) -> bool:
        others = [one for one in self.chosen if one != instead]
        return (
            len(others) < self.budget.count
            and sum(self.sizes[one] for one in (*others, candidate)) <= self.budget.bytes
            and sum(self.writes[one] for one in (*others, candidate)) <= self.budget.write_share
        )

    async def with_set(
        self, indexes: Iterable[Candidate], queries: Iterable[str]
    ) -> dict[str, float]:
        shown = frozenset(indexes)
        return {query: await self.cost(query, shown) for query in queries}

    async def gain(self, candidate: Candidate) -> float:
        queries = self.relevant[candidate]
        after = await self.with_set([*self.chosen, candidate], queries)
        return sum(self.costs[query] for query in queries) - sum(after.values())

    async def take(self, candidate: Candidate) -> None:
        self.chosen.append(candidate)
        self.costs |= await self.with_set(self.chosen, self.relevant[candidate])

    async def put(self, chosen: list[Candidate], queries: Iterable[str]) -> None:
        self.chosen = chosen
        self.costs |= await self.with_set(chosen, queries)


async def choose(
    queries: Iterable[str],
    relevant: Mapping[Candidate, frozenset[str]],
    cost: Cost,
    *,
    sizes: Mapping[Candidate, int],
    writes: Mapping[Candidate, float],
    budget: Budget,
    clock: Callable[[], float] = time.monotonic,
) -> Chosen:
    """Choose among the candidates in `relevant`, which names the queries each may help.

    `writes` is what each makes writing dearer, as a share of what writing costs now. When the
    budget's seconds are over, what has been chosen until then is the answer.
    """
    search = _Search(cost, relevant, sizes=sizes, writes=writes, budget=budget)
    search.costs = await search.with_set((), queries)
    before = dict(search.costs)
    deadline = clock() + budget.seconds
    await _grow(search, clock, deadline)
    await _prune(search)
    await _swap(search, clock, deadline)
    await _grow(search, clock, deadline)
    await _prune(search)
    return Chosen(search.chosen, before, dict(search.costs))


async def _grow(search: _Search, clock: Callable[[], float], deadline: float) -> None:
    heap: list[tuple[float, int, str, Candidate]] = []
    for candidate in search.relevant:
        if candidate in search.chosen or not search.affordable(candidate):
            continue
        gain = await search.gain(candidate)
        if gain > 0:
            heapq.heappush(heap, (-gain, search.sizes[candidate], candidate.name, candidate))
    while heap and clock() < deadline:
        _, size, name, candidate = heapq.heappop(heap)
        if not search.affordable(candidate):
            continue
        gain = await search.gain(candidate)
        if gain <= _WORTH * search.total:
            continue
        if heap and gain < -heap[0][0] * 0.999:
            heapq.heappush(heap, (-gain, size, name, candidate))
        else:
            await search.take(candidate)


async def _prune(search: _Search) -> None:
    """Take away what is of no more use since others have come."""
    for candidate in list(search.chosen):
        others = [one for one in search.chosen if one != candidate]
        after = await search.with_set(others, search.relevant[candidate])
        loss = sum(after.values()) - sum(search.costs[query] for query in after)
        covered = any(one.covers(candidate) for one in others)
        if loss <= (_BETTER if covered else _KEEP) * search.total:
            search.chosen = others
            search.costs |= after


async def _swap(search: _Search, clock: Callable[[], float], deadline: float) -> None:
    """Replace one by another of the same table where that is better in all."""
    for candidate in list(search.chosen):
        for other in search.relevant:
            if clock() >= deadline:
                return
            alike = (other.schema, other.table) == (candidate.schema, candidate.table)
            if not alike or other in search.chosen or candidate not in search.chosen:
                continue
            if not search.relevant[other] & search.relevant[candidate]:
                continue
            if not search.affordable(other, instead=candidate):
                continue
            affected = search.relevant[candidate] | search.relevant[other]
            trial = [other if one == candidate else one for one in search.chosen]
            after = await search.with_set(trial, affected)
            now = sum(search.costs[query] for query in affected)
            if sum(after.values()) < now - _BETTER * search.total:
                await search.put(trial, affected)
                break
