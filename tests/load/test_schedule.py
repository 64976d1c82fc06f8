from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insight_cloud.load import schedule


class Stage(NamedTuple):
    seconds: float
    target: float


levels = st.integers(0, 60)
stages = st.lists(
    st.builds(Stage, st.sampled_from([0, 0.5, 1, 3, 10]), levels), min_size=1, max_size=5
)


def test_a_constant_rate_comes_evenly() -> None:
    found = list(schedule.arrivals(schedule.pieces([Stage(2, 5)], start=5)))
    assert found == pytest.approx([0.1, 0.3, 0.5, 0.7, 0.9, 1.1, 1.3, 1.5, 1.7, 1.9])


def test_one_may_be_due_just_where_a_ramp_begins() -> None:
    lines = schedule.pieces([Stage(0.5, 1), Stage(0, 0), Stage(1, 2)], start=1)
    assert list(schedule.arrivals(lines)) == [0.5]


def test_a_ramp_comes_ever_faster() -> None:
    found = list(schedule.arrivals(schedule.pieces([Stage(10, 10)])))
    assert len(found) == 50
    gaps = [after - before for before, after in pairwise(found)]
    assert gaps == sorted(gaps, reverse=True)


@given(stages, levels)
def test_as_many_arrive_as_the_rate_says(wanted: list[Stage], start: int) -> None:
    lines = schedule.pieces(wanted, start)
    area = sum((line.low + line.high) / 2 * (line.end - line.begin) for line in lines)
    found = list(schedule.arrivals(lines))
    assert abs(len(found) - area) <= 0.5 + 1e-6
    assert found == sorted(found)
    assert all(0 <= at <= schedule.total_seconds(wanted) + 1e-9 for at in found)


@given(stages, levels, st.integers(1, 4))
def test_several_workers_do_together_what_one_does(
    wanted: list[Stage], start: int, workers: int
) -> None:
    lines = schedule.pieces(wanted, start)
    parts = [list(schedule.arrivals(lines, first, workers)) for first in range(workers)]
    assert sorted(at for part in parts for at in part) == list(schedule.arrivals(lines))


@given(stages, levels, st.floats(0, 1))
def test_as_many_users_are_there_as_the_level_says(
    wanted: list[Stage], start: int, share: float
) -> None:
    lines = schedule.pieces(wanted, start)
    at = schedule.total_seconds(wanted) * share
    here = next((line for line in lines if line.begin <= at < line.end), None)
    if here is None:
        return
    level = here.low + (here.high - here.low) * (at - here.begin) / (here.end - here.begin)
    there = sum(
        any(begin <= at < end for begin, end in schedule.lives(lines, user)) for user in range(61)
    )
    assert abs(there - level) <= 0.5 + 1e-6


def test_a_user_who_stays_over_two_stages_is_there_once() -> None:
    lines = schedule.pieces([Stage(10, 10), Stage(10, 10), Stage(10, 0)])
    assert schedule.lives(lines, 0) == [(0.5, 29.5)]
    assert schedule.lives(lines, 9) == [(9.5, 20.5)]


def test_users_who_leave_may_come_back() -> None:
    lines = schedule.pieces(
        [Stage(0, 2), Stage(5, 2), Stage(0, 0), Stage(5, 0), Stage(0, 2), Stage(5, 2)]
    )
    assert schedule.lives(lines, 1) == [(0, 5), (10, 15)]


@given(st.integers(2, 200))
def test_users_are_spread_over_a_turn(users: int) -> None:
    shares = sorted(schedule.spread(user) for user in range(users))
    assert max(after - before for before, after in pairwise(shares)) <= 2.7 / users
