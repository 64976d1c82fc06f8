"""Heavy work takes turns: never more at once, in order, and not without end."""

from __future__ import annotations

import asyncio

import pytest

from insight_cloud.core.errors import Unavailable
from insight_cloud.core.turns import Turns


class _Works:
    """Takes turns, and notes who is at work, who was, and how many at the most."""

    def __init__(self, *, at_once: int, waiting: int) -> None:
        self.turns = Turns("uploads", at_once=at_once, waiting=waiting)
        self.go_on = asyncio.Event()
        self.busy = 0
        self.most = 0
        self.begun: list[int] = []

    async def work(self, number: int) -> None:
        async with self.turns.turn():
            self.begun.append(number)
            self.busy += 1
            self.most = max(self.most, self.busy)
            await self.go_on.wait()
            self.busy -= 1


async def _settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_few_at_once_and_in_order() -> None:
    works = _Works(at_once=2, waiting=10)
    tasks = [asyncio.create_task(works.work(number)) for number in range(6)]
    await _settle()
    assert works.begun == [0, 1]
    works.go_on.set()
    await asyncio.gather(*tasks)
    assert works.begun == list(range(6))
    assert works.most == 2


async def test_one_too_many_is_told_when_to_come_back() -> None:
    works = _Works(at_once=1, waiting=2)
    tasks = [asyncio.create_task(works.work(number)) for number in range(3)]
    await _settle()
    with pytest.raises(Unavailable, match="2 uploads wait already") as refused:
        await works.work(3)
    assert refused.value.retry_after == 5
    works.go_on.set()
    await asyncio.gather(*tasks)
    await works.work(4)
    assert works.begun == [0, 1, 2, 4]


async def test_who_gives_up_waiting_leaves_no_trace() -> None:
    works = _Works(at_once=1, waiting=1)
    first = asyncio.create_task(works.work(0))
    await _settle()
    second = asyncio.create_task(works.work(1))
    await _settle()
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    third = asyncio.create_task(works.work(2))
    await _settle()
    works.go_on.set()
    await asyncio.gather(first, third)
    assert works.begun == [0, 2]


async def test_work_that_fails_gives_its_turn_back() -> None:
    turns = Turns("uploads", at_once=1, waiting=0)
    with pytest.raises(ZeroDivisionError):
        async with turns.turn():
            raise ZeroDivisionError
    async with turns.turn():
        pass
