from __future__ import annotations

import asyncio
import logging
import tracemalloc
from pathlib import Path

import pytest

from insight_cloud.telemetry.leaks import Leak, Measured, Watch, growing, measure

MIB = 2**20
LINES = {
    f"tests/telemetry/test_leaks.py:{number}": line
    for number, line in enumerate(Path(__file__).read_text().splitlines(), 1)
}


class Machine:
    """A clock and a memory that grows as it is told."""

    def __init__(self) -> None:
        self.now = 0.0
        self.bytes = 100 * MIB
        self.files = 20

    def look(self) -> Measured:
        return Measured(self.bytes, 0, self.files)

    async def run(self, watch: Watch, minutes: float, *, mib: float = 0, files: int = 0) -> None:
        """Let `minutes` pass, with this growth at each step of ten seconds."""
        for _ in range(round(minutes * 6)):
            self.now += 10
            self.bytes += round(mib * MIB)
            self.files += files
            await watch.step()


@pytest.fixture
def machine() -> Machine:
    return Machine()


def watching(machine: Machine, found: list[Leak], **options: float) -> Watch:
    async def report(leak: Leak) -> None:
        found.append(leak)

    return Watch(
        report, look=machine.look, clock=lambda: machine.now, **{"trace_seconds": 0.0, **options}
    )


async def test_a_leak_is_reported_once_and_again_after_a_rest(machine: Machine) -> None:
    found = list[Leak]()
    watch = watching(machine, found, rest_seconds=3600)
    await machine.run(watch, 26, mib=1)
    assert found == []
    await machine.run(watch, 24, mib=1)
    (leak,) = found
    assert leak.bytes_per_hour == pytest.approx(360 * MIB)
    assert leak.grown_bytes == pytest.approx(leak.bytes_per_hour * leak.seconds / 3600, rel=0.01)
    await machine.run(watch, 60, mib=1)
    assert len(found) == 2
    assert list(watch.samples()) == [("memory_leak_total", {}, 2.0)]


async def test_a_start_that_fills_caches_is_no_leak(machine: Machine) -> None:
    found = list[Leak]()
    watch = watching(machine, found)
    await machine.run(watch, 10, mib=5)
    await machine.run(watch, 120)
    assert found == []
    memory = watch.memory
    assert memory is not None
    assert memory.slope == 0


async def test_open_files_that_grow_are_a_leak_without_a_trace(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    found = list[Leak]()
    await machine.run(watching(machine, found, trace_seconds=60), 40, files=1)
    assert found[0].files_per_hour == pytest.approx(360)
    assert found[0].lines == ()
    assert "360 open files an hour" in caplog.records[0].getMessage()


async def test_the_line_that_leaks_is_named(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    found, kept, going = list[Leak](), list[bytes](), True

    async def leak() -> None:
        while going:
            kept.append(bytes(10_000))
            await asyncio.sleep(0.001)

    leaking = asyncio.create_task(leak())
    with caplog.at_level(logging.WARNING):
        await machine.run(watching(machine, found, trace_seconds=0.3), 40, mib=1)
    going = False
    await leaking
    place = found[0].lines[0].place
    assert LINES[place].strip() == "kept.append(bytes(10_000))"
    assert found[0].lines[0].bytes >= 10_000
    assert place in caplog.messages[0]
    assert not tracemalloc.is_tracing()


async def test_a_real_leak_is_found_in_a_real_process() -> None:
    found, kept = list[Leak](), list[bytearray]()

    async def report(leak: Leak) -> None:
        found.append(leak)

    watch = Watch(report, window_seconds=1, bytes_per_hour=100 * MIB, trace_seconds=0)
    async with asyncio.timeout(60):
        while not found:
            kept.append(bytearray(b"x" * MIB))
            await watch.step()
            await asyncio.sleep(0.02)
            if len(kept) > 500:
                kept.clear()
    assert found[0].grown_bytes > 10 * MIB


async def test_somebody_elses_trace_goes_on() -> None:
    tracemalloc.start(1)
    try:
        kept = [bytes(1_000_000)]
        lines = await growing(0.0)
        assert lines[0].bytes >= len(kept[0])
        assert tracemalloc.is_tracing()
    finally:
        tracemalloc.stop()


async def test_a_cancelled_trace_ends() -> None:
    task = asyncio.create_task(growing(60))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert tracemalloc.is_tracing()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not tracemalloc.is_tracing()


def test_this_process_can_be_measured() -> None:
    seen = measure()
    assert seen.bytes > 10 * MIB
    assert seen.files > 2
