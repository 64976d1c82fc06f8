from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from insight_cloud.ratelimit.window import Log
from tests.ratelimit.schedules import Step, schedules, worst

LIMIT, WINDOW = 5, 20


@given(schedules(LIMIT, WINDOW))
def test_no_schedule_of_hits_clocks_and_costs_admits_more_than_the_limit(
    steps: list[Step],
) -> None:
    log, real, offset, admitted = Log(), 0, 1000, []
    for step in steps:
        real += step.passed
        offset -= step.back
        _, wait, _ = log.take(real + offset, WINDOW, LIMIT, step.cost)
        if not wait:
            admitted.append((real, step.cost))
    assert worst(admitted, WINDOW) <= LIMIT


@given(schedules(LIMIT, WINDOW))
def test_everything_is_admitted_that_the_limit_allows(steps: list[Step]) -> None:
    log, now = Log(), 0
    given_: list[tuple[int, int]] = []
    for step in steps:
        now += step.passed
        used = sum(cost for time, cost in given_ if time > now - WINDOW)
        left, wait, following = log.take(now, WINDOW, LIMIT, step.cost)
        allowed = used + step.cost <= LIMIT
        assert (wait == 0) == allowed
        assert left == LIMIT - used - (step.cost if allowed else 0)
        if allowed:
            given_.append((now, step.cost))
        oldest = min(time for time, _ in given_ if time > now - WINDOW)
        assert following == oldest + WINDOW - now


@given(schedules(LIMIT, WINDOW))
def test_the_promised_wait_is_exact(steps: list[Step]) -> None:
    log, now = Log(), 0.0
    for step in steps:
        now += step.passed
        _, wait, _ = log.take(now, WINDOW, LIMIT, step.cost)
        if wait:
            early = log.copy()
            assert early.take(now + wait - 0.5, WINDOW, LIMIT, step.cost)[1] > 0
            assert log.copy().take(now + wait, WINDOW, LIMIT, step.cost)[1] == 0


@given(schedules(LIMIT, WINDOW))
def test_a_clock_set_back_makes_nobody_wait_longer_than_one_window(steps: list[Step]) -> None:
    log, now = Log(), 1000
    for step in steps:
        now += step.passed - step.back
        assert log.take(now, WINDOW, LIMIT, step.cost)[1] <= WINDOW


@given(schedules(LIMIT, WINDOW), st.integers(0, 59))
def test_a_refund_leaves_the_log_as_if_the_hit_had_never_been(
    steps: list[Step], which: int
) -> None:
    log, reference, now = Log(), Log(), 0
    for number, step in enumerate(steps):
        now += step.passed + 1  # no two hits at the same time, so the stamp names one
        _, wait, _ = log.take(now, WINDOW, LIMIT, step.cost)
        if wait:
            continue
        if number == which:
            log.remove(now, step.cost)
        else:
            reference.take(now, WINDOW, LIMIT, step.cost)
        assert log.count(now, WINDOW) == reference.count(now, WINDOW)


def test_the_log_grows_only_as_far_as_it_is_used() -> None:
    log = Log()
    for tick in range(1000):
        log.take(tick, 3, 100, 1)
    assert len(log._times) <= 4
