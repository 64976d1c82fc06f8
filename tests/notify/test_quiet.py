from __future__ import annotations

import math
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from insight_cloud.notify.message import Message
from insight_cloud.notify.quiet import OTHERS, Held, Quiet

ALARM = Message("Alarm", severity="error")
OTHER = Message("Other")


def test_a_repetition_is_held_back_until_the_window_is_over() -> None:
    quiet = Quiet(60, 10)
    assert quiet.admit(ALARM, 0) == 0
    assert quiet.admit(ALARM, 30) is None
    assert quiet.admit(ALARM, 59.9) is None
    assert quiet.admit(OTHER, 59.9) == 0
    assert quiet.admit(ALARM, 60) == 2
    assert quiet.admit(ALARM, 119) is None


def test_what_is_not_repeated_afterwards_is_due_once() -> None:
    quiet = Quiet(60, 10)
    quiet.admit(ALARM, 0)
    quiet.admit(OTHER, 0)
    quiet.admit(ALARM, 10)
    assert quiet.take_due(59) == ()
    assert quiet.take_due(60) == (Held("Alarm", 1, "error"),)
    assert quiet.take_due(math.inf) == ()


def test_a_message_that_failed_may_be_repeated_and_counts_as_held_back() -> None:
    quiet = Quiet(60, 10)
    assert quiet.admit(ALARM, 0) == 0
    assert quiet.admit(ALARM, 1) is None  # while the first is being delivered
    quiet.failed(ALARM, 0)
    assert quiet.admit(ALARM, 2) == 2
    quiet.failed(ALARM, 2)
    assert quiet.take_due(3) == (Held("Alarm", 3, "error"),)


def test_a_failure_after_its_window_is_not_forgotten() -> None:
    quiet = Quiet(60, 10)
    quiet.admit(ALARM, 0)
    assert quiet.take_due(60) == ()
    quiet.failed(ALARM, 0)
    assert quiet.take_due(61) == (Held(OTHERS, 1, "error"),)


def test_a_flood_is_one_number() -> None:
    quiet = Quiet(60, 3)
    admitted = [quiet.admit(Message(f"m{n}", severity="warning"), n) for n in range(50)]
    assert admitted == [0, 0, 0] + [None] * 47
    assert quiet.take_due(62) == ()
    assert quiet.take_due(63) == (Held(OTHERS, 47, "warning"),)
    assert quiet.admit(OTHER, 63) == 0


def test_what_is_over_makes_room() -> None:
    quiet = Quiet(60, 1)
    quiet.admit(ALARM, 0)
    quiet.admit(ALARM, 1)
    assert quiet.admit(OTHER, 59) is None
    assert quiet.admit(OTHER, 60) == 0
    assert quiet.take_due(60) == (Held(OTHERS, 2, "error"),)


def test_a_summary_that_failed_is_due_again() -> None:
    quiet = Quiet(60, 10)
    quiet.admit(ALARM, 0)
    quiet.admit(ALARM, 1)
    quiet.restore(quiet.take_due(60))
    assert quiet.take_due(60) == (Held(OTHERS, 1, "error"),)


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abcdef"), st.floats(0, 100), st.sampled_from(["said", "lost", "sum"])
        ),
        max_size=60,
    ),
    st.integers(1, 4),
)
def test_every_message_is_said_or_counted(
    schedule: list[tuple[str, float, str]], burst: int
) -> None:
    """Nothing is said twice within the window, and nothing disappears."""
    quiet, now, told = Quiet(60, burst), 0.0, 0
    said: dict[str, float] = {}
    for title, step, what in schedule:
        now += step
        message = Message(title)
        held = quiet.admit(message, now)
        if held is not None and what == "lost":
            quiet.failed(message, held)
        elif held is not None:
            assert now - said.get(title, -math.inf) >= 60
            said[title] = now
            told += 1 + held
        if what == "sum":
            told += sum(one.count for one in quiet.take_due(now))
    told += sum(one.count for one in quiet.take_due(math.inf))
    assert told == len(schedule)
    assert Counter(title for title, _, _ in schedule).total() == told
