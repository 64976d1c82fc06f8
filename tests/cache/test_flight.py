"""One works, all are served, nobody's cancellation is anybody else's."""

from __future__ import annotations

import asyncio

import pytest

from insight_cloud.cache.flight import Flights
from insight_cloud.cache.tasks import end
from insight_cloud.core.errors import Unavailable


async def test_work_that_cancels_itself_is_an_error_for_those_who_wait() -> None:
    async def suicidal() -> None:
        raise asyncio.CancelledError

    flights = Flights()
    answers = await asyncio.gather(
        *(flights.join("a", suicidal) for _ in range(3)), return_exceptions=True
    )
    assert [type(answer) for answer in answers] == [Unavailable] * 3


async def test_closing_ends_work_under_way() -> None:
    flights = Flights()
    waiting = asyncio.create_task(flights.join("a", lambda: asyncio.sleep(60)))
    await asyncio.sleep(0)
    assert flights.under_way("a")
    await flights.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not flights.under_way("a")


async def test_an_error_that_nobody_waited_for_is_not_reported_as_lost() -> None:
    async def failing() -> None:
        raise LookupError

    flights = Flights()
    flights.start("a", failing)
    while flights.under_way("a"):  # noqa: ASYNC110 - the flight has no event of its own
        await asyncio.sleep(0)


async def test_a_task_that_swallows_a_cancellation_is_ended_too() -> None:
    async def stubborn() -> None:
        for _ in range(3):
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                continue
        await asyncio.sleep(60)

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await end(task, None)
    assert task.done()


async def test_work_that_was_overtaken_is_finished_for_those_who_waited_and_for_nobody_else() -> (
    None
):
    gates = [asyncio.Event(), asyncio.Event()]
    results = iter(["old", "new"])

    async def work() -> str:
        result, gate = next(results), gates.pop(0)
        await gate.wait()
        return result

    opened = gates[:]
    flights = Flights()
    before = [asyncio.create_task(flights.join("a", work, ["x"])) for _ in range(2)]
    await asyncio.sleep(0)
    flights.overtake_tag("y")
    assert flights.under_way("a")
    flights.overtake_tag("x")
    assert not flights.under_way("a")
    after = [asyncio.create_task(flights.join("a", work, ["x"])) for _ in range(2)]
    await asyncio.sleep(0)
    opened[1].set()
    assert await asyncio.gather(*after) == ["new", "new"]
    opened[0].set()
    assert await asyncio.gather(*before) == ["old", "old"]
    assert not flights.under_way("a")


async def test_closing_ends_overtaken_work_too() -> None:
    flights = Flights()
    waiting = asyncio.create_task(flights.join("a", lambda: asyncio.sleep(60)))
    await asyncio.sleep(0)
    flights.overtake("a", "b")
    await flights.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
