from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insight_cloud.load import Histogram

times = st.lists(st.floats(0, 3_600_000), min_size=1, max_size=50)


def of(values: list[float]) -> Histogram:
    made = Histogram()
    for value in values:
        made.add(value)
    return made


@given(times, st.floats(0.1, 100))
def test_a_percentile_is_that_of_the_values_to_half_a_percent(
    values: list[float], percent: float
) -> None:
    rank = max(1, math.ceil(len(values) * percent / 100))
    exact = sorted(values)[rank - 1]
    assert of(values).percentile(percent) == pytest.approx(exact, rel=0.005, abs=0.002)


@given(times, times)
def test_parts_add_up_to_the_whole(ones: list[float], others: list[float]) -> None:
    added, whole = of(ones), of(ones + others)
    added.merge(Histogram.of_list(of(others).as_list()))
    assert added.buckets == whole.buckets
    assert (added.count, added.least, added.longest) == (whole.count, whole.least, whole.longest)
    assert added.average == pytest.approx(whole.average)


def test_nothing_has_no_durations() -> None:
    empty = Histogram()
    assert (empty.percentile(99), empty.average, empty.least, empty.longest) == (0, 0, 0, 0)
    assert Histogram.of_list(empty.as_list()).least == 0


def test_the_longest_is_exact() -> None:
    assert of([1.0, 123_456.789]).percentile(100) == 123_456.789
