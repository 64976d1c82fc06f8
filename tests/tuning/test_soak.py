"""Soaks, shorter than an operator's: the growth that is planted is plain after some seconds."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from insight_cloud.core.errors import Refused
from insight_cloud.telemetry.trend import drifts, trend
from insight_cloud.tuning.soak import Load, Soak, soak

HERE = Path(__file__).parent
FULL = os.environ.get("INSIGHT_SOAK_SECONDS")
"""With this variable the soaks last as long as it says, as an operator's would."""


def grows(points: Sequence[tuple[float, float]], window: float, per_minute: float) -> bool:
    return drifts(trend(points), window_seconds=window, per_hour=per_minute * 60)


async def soaked(name: str, *, seconds: float, growth: float = 4 * 2**20) -> Soak:
    load = Load(f"leaky:{name}", per_second=100, directory=str(HERE))
    if FULL:
        return await soak(load, grows=grows, growth_bytes_per_minute=growth, seconds=float(FULL))
    return await soak(
        load,
        grows=grows,
        growth_bytes_per_minute=growth,
        seconds=seconds,
        warm_up_seconds=1,
        window_seconds=6,
        trace_seconds=3,
    )


def line_of(mark: str) -> str:
    lines = (HERE / "leaky.py").read_text().splitlines()
    return f"leaky.py:{next(n for n, text in enumerate(lines, 1) if mark in text)}"


@pytest.mark.parametrize(("name", "mark"), [("python", "leaks here"), ("native", "or here")])
async def test_a_leak_is_named_by_file_and_line(name: str, mark: str) -> None:
    found = await soaked(name, seconds=60)
    assert found.leaks
    first, *_ = found.holders
    wanted = line_of(mark)
    # The pages of native memory are taken when they are written to, on the line after.
    near = {wanted, f"leaky.py:{int(wanted.rpartition(':')[2]) + 1}"}
    assert first.place.rpartition("/")[2] in near
    assert first.bytes > 100_000
    assert found.errors == 0


async def test_a_healthy_service_gives_no_alarm() -> None:
    found = await soaked("healthy", seconds=12)
    assert not found.leaks
    assert found.holders == ()
    assert found.requests > 50


async def test_errors_of_the_service_are_counted_and_told() -> None:
    found = await soaked("failing", seconds=3)
    assert found.errors > 0
    assert "ended in an error" in found.problems[0]


@pytest.mark.parametrize("app", ["leaky:nothing", "no_such_module:app"])
async def test_an_application_that_cannot_be_loaded_is_told(app: str) -> None:
    with pytest.raises(Refused, match="cannot be loaded: "):
        await soak(Load(app, directory=str(HERE)), grows=grows, growth_bytes_per_minute=1)
