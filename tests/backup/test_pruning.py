from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from insight_cloud.backup import Catalogue, Job, Policy, create, pruning
from insight_cloud.backup.retention import Entry, decide_bases, needed

NOW = datetime(2026, 11, 25, tzinfo=UTC)


async def test_after_pruning_the_plan_is_empty_and_the_store_too(job: Job) -> None:
    policy = Policy({"daily": 0}, at_least=1)
    job = dataclasses.replace(job, policy=policy)
    made = [(await create(job, "daily")).manifest.id for _ in range(3)]
    catalogue = Catalogue(job.stores[0], job.name)
    plans = await pruning.plan(job, [await catalogue.read()])
    assert [change.before for change in plans[0].plan] == [made[1], made[0]]
    assert len((await catalogue.read()).backups) == 3  # a plan changes nothing
    removed = await pruning.apply(job, plans)
    assert {change.before for change in removed} == set(made[:2])
    assert not (await pruning.plan(job, [await catalogue.read()]))[0].plan
    paths = [found.path async for found in job.stores[0].list(job.name)]
    assert all(made[2] in path for path in paths)


async def test_a_plan_that_is_out_of_date_removes_nothing_good(job: Job) -> None:
    """Between the plan and its application the newest backup turned out to be damaged."""
    job = dataclasses.replace(job, policy=Policy({"daily": 0}, at_least=1))
    first, second = [(await create(job, "daily")).manifest.id for _ in range(2)]
    catalogue = Catalogue(job.stores[0], job.name)
    plans = await pruning.plan(job, [await catalogue.read()])
    await catalogue.mark(second, "a verification failed", NOW)
    assert await pruning.apply(job, plans) == ()
    assert (await catalogue.read()).newest_good().id == first


@given(
    st.lists(st.tuples(st.integers(0, 3000), st.booleans()), max_size=30),
    st.integers(1, 60),
)
def test_base_backups_reach_back_as_far_as_promised(
    made: list[tuple[int, bool]], days: int
) -> None:
    bases = [
        Entry(f"{place}", "manual", NOW - timedelta(hours=hours), good)
        for place, (hours, good) in enumerate(made)
    ]
    kept = needed(bases, days=days, now=NOW)
    usable = [entry for entry in bases if entry.good]
    assert set(kept) <= set(usable)
    if not usable:
        return
    newest = max(entry.at for entry in usable)
    assert newest in {entry.at for entry in kept}
    edge = min(NOW, newest + timedelta(days=1)) - timedelta(days=days)
    older = [entry.at for entry in usable if entry.at <= edge]
    if older:  # the moment `edge` can still be reached
        assert max(older) in {entry.at for entry in kept}
        assert len([entry for entry in kept if entry.at <= edge]) == 1
    decisions = decide_bases(bases, days=days, now=NOW)
    left = [decision.entry for decision in decisions if decision.keep]
    assert set(kept) <= set(left)
    assert all(decision.reasons for decision in decisions if decision.keep)
    assert all(entry.at > min(one.at for one in kept) for entry in left if not entry.good)
    again = decide_bases(left, days=days, now=NOW)
    assert all(decision.keep for decision in again)
