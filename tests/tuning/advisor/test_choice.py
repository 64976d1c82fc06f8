from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from insight_cloud.tuning.advisor.candidates import Candidate
from insight_cloud.tuning.advisor.choice import Budget, Chosen, choose

QUERIES = ("a", "b", "c")
INDEXES = [Candidate("public", "t", (f"k{number}",)) for number in range(5)]


@st.composite
def worlds(draw: st.DrawFn) -> dict[tuple[str, Candidate], float]:
    """What each index makes of each query, alone: the best of those shown counts."""
    return {(query, index): draw(st.floats(1, 150)) for query in QUERIES for index in INDEXES}


async def chosen(world: dict[tuple[str, Candidate], float], budget: Budget) -> Chosen:
    async def cost(query: str, shown: frozenset[Candidate]) -> float:
        return min([100.0, *(world[query, index] for index in shown)])

    return await choose(
        QUERIES,
        {index: frozenset(QUERIES) for index in INDEXES},
        cost,
        sizes=dict.fromkeys(INDEXES, 10),
        writes=dict.fromkeys(INDEXES, 0.1),
        budget=budget,
    )


@given(worlds(), st.integers(0, 4), st.integers(0, 60), st.floats(0, 0.6))
async def test_no_budget_is_exceeded_and_nothing_becomes_dearer(
    world: dict[tuple[str, Candidate], float], count: int, room: int, writes: float
) -> None:
    found = await chosen(world, Budget(count, room, writes))
    assert len(found.indexes) <= count
    assert 10 * len(found.indexes) <= room
    assert 0.1 * len(found.indexes) <= writes + 1e-9
    assert sum(found.after.values()) <= sum(found.before.values()) + 1e-6


@given(worlds())
async def test_every_chosen_index_is_worth_its_place(
    world: dict[tuple[str, Candidate], float],
) -> None:
    found = await chosen(world, Budget())
    for index in found.indexes:
        others = [one for one in found.indexes if one != index]
        without = sum(min([100.0, *(world[q, o] for o in others)]) for q in QUERIES)
        assert without > sum(found.after.values())


async def test_one_that_serves_all_is_taken_before_those_that_serve_one() -> None:
    world = {(query, index): 150.0 for query in QUERIES for index in INDEXES}
    world |= {("a", INDEXES[0]): 1.0, ("b", INDEXES[1]): 1.0}
    world |= {(query, INDEXES[2]): 5.0 for query in QUERIES}
    assert (await chosen(world, Budget(count=1))).indexes == [INDEXES[2]]


async def test_when_the_time_is_over_what_was_found_is_the_answer() -> None:
    world = {(query, index): 1.0 for query in QUERIES for index in INDEXES}
    assert (await chosen(world, Budget(seconds=0))).indexes == []
