from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from insight_cloud.telemetry.trend import drifts, trend

WINDOW = 1800.0
MIB = 2**20


def points(values: list[float]) -> list[tuple[float, float]]:
    return [(10.0 * number, value) for number, value in enumerate(values)]


def leaks(values: list[float]) -> bool:
    return drifts(trend(points(values)), window_seconds=WINDOW, per_hour=32 * MIB)


@given(
    st.floats(min_value=40, max_value=4000),
    st.integers(min_value=0, max_value=2**32),
)
def test_steady_growth_is_found_under_noise_and_spikes(mib_per_hour: float, seed: int) -> None:
    chance = random.Random(seed)
    values = [
        200 * MIB
        + number * 10 / 3600 * mib_per_hour * MIB
        + chance.uniform(-0.5, 0.5) * MIB
        + (chance.random() < 0.1) * 100 * MIB
        for number in range(181)
    ]
    found = trend(points(values))
    assert found is not None
    assert abs(found.slope * 3600 / MIB - mib_per_hour) < 0.2 * mib_per_hour + 10
    assert leaks(values) or mib_per_hour < 60


@given(st.integers(min_value=0, max_value=2**32), st.floats(min_value=0, max_value=200))
def test_noise_without_growth_is_no_leak(seed: int, mib: float) -> None:
    chance = random.Random(seed)
    assert not leaks([200 * MIB + chance.uniform(-1, 1) * mib * MIB for _ in range(181)])


@given(st.integers(min_value=1, max_value=180), st.floats(min_value=0, max_value=1000))
def test_one_jump_between_two_plateaus_is_no_leak(at: int, mib: float) -> None:
    assert not leaks([200.0 * MIB + (number >= at) * mib * MIB for number in range(181)])


def test_a_saw_is_no_leak_and_a_rising_saw_is() -> None:
    saw = [200 * MIB + number % 20 * MIB for number in range(181)]
    assert not leaks([float(value) for value in saw])
    assert leaks([value + number * MIB for number, value in enumerate(saw)])


def test_a_window_that_is_not_full_says_nothing() -> None:
    growing = [float(number * MIB) for number in range(181)]
    assert leaks(growing)
    assert not leaks(growing[:150])
    assert trend(points([1.0, 2.0])) is None
    assert trend([]) is None
    assert trend([(0.0, 1.0)] * 9) is None
    assert not drifts(None, window_seconds=1, per_hour=0)


def test_memory_that_is_given_back_is_no_leak() -> None:
    assert not leaks([float(200 * MIB - number * MIB) for number in range(181)])
