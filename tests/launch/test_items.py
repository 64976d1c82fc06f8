"""Every item that a machine asks about passes in a good world and fails in a broken one."""

from __future__ import annotations

from collections.abc import Iterable
from inspect import isawaitable

import pytest

from insight_cloud.launch import checklist
from insight_cloud.launch.conditions import fill, judge
from insight_cloud.launch.items import Item
from insight_cloud.launch.run import Answer, answer
from tests.launch.cases import CASES
from tests.launch.world import NOW, Setup, World

PROBED = [item for item in checklist().items if item.probes]


async def asked(world: World, item: Item, setups: Iterable[Setup]) -> Answer:
    for setup in setups:
        done = setup(world)
        if isawaitable(done):
            await done
    target = world.built()
    probes = target.file.probes.get(item.id, item.probes)
    import msgspec

    return await answer(target, msgspec.structs.replace(item, probes=probes))


def test_there_are_185_items_of_which_a_machine_asks_176() -> None:
    items = checklist().items
    assert len(items) == len({item.id for item in items}) == 185
    assert len(PROBED) == 176
    assert {item.id for item in PROBED} == set(CASES)


@pytest.mark.parametrize("item", PROBED, ids=lambda item: item.id)
async def test_an_item_passes_where_all_is_well(item: Item, world: World) -> None:
    found = await asked(world, item, CASES[item.id].good)
    assert (found.outcome, found.reason) == ("pass", "")
    assert found.evidence


@pytest.mark.parametrize("item", PROBED, ids=lambda item: item.id)
async def test_an_item_fails_where_something_is_broken(item: Item, world: World) -> None:
    found = await asked(world, item, CASES[item.id].bad)
    assert found.outcome == "fail", found
    assert found.reason


@pytest.mark.parametrize("item", PROBED, ids=lambda item: item.id)
async def test_an_item_is_not_run_where_nothing_is_known(item: Item, world: World) -> None:
    found = await answer(world.built(), item)
    if item.id in {"P135", "P136", "P125"}:  # they ask about launch.toml, which says nothing
        assert found.outcome == "fail"
    else:
        assert found.outcome == "not_run", found
    assert found.reason


@pytest.mark.parametrize("item", PROBED, ids=lambda item: item.id)
def test_no_demand_is_met_by_nothing(item: Item) -> None:
    """A condition whose path leads nowhere fails: a misspelt one cannot pass for ever."""
    for probe in item.probes:
        for condition in probe.conditions():
            if condition.op == "absent" or "?" in condition.path:
                continue
            bare = fill(condition.path, lambda name: name)
            assert not judge(condition, {}, now=NOW).holds, bare
