from __future__ import annotations

import asyncio

import pytest

from insight_cloud.telemetry.periodic import Every, Periodic
from insight_cloud.telemetry.process import LoopLag


class Counted:
    """Work that lets the test wait until it was done often enough."""

    def __init__(self, wanted: int, *, broken: bool = False) -> None:
        self.times = 0
        self.enough = asyncio.Event()
        self._wanted = wanted
        self._broken = broken

    def __call__(self) -> None:
        self.times += 1
        if self.times >= self._wanted:
            self.enough.set()
        if self._broken:
            raise OSError("disk full")


async def test_work_is_done_at_once_and_again_until_the_end() -> None:
    often, seldom = Counted(3), Counted(1)

    async def later() -> None:
        seldom()

    async with Periodic([Every(0.001, often), Every(60, later)]):
        await often.enough.wait()
    assert seldom.times == 1
    ended = often.times
    await asyncio.sleep(0.01)
    assert often.times == ended


async def test_work_that_fails_is_logged_once_and_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken = Counted(3, broken=True)
    async with Periodic([Every(0.001, broken)]):
        await broken.enough.wait()
    (record,) = caplog.records
    assert record.getMessage().startswith("telemetry.work_failed:")


async def test_the_loops_lag_is_measured() -> None:
    lag = LoopLag(every_seconds=0.001)
    watching = asyncio.create_task(lag.watch())
    await asyncio.sleep(0.05)
    ((_, _, seconds),) = lag.samples()
    assert seconds > 0  # no loop is ever exactly on time
    watching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watching
