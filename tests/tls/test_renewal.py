from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insight_cloud.tls import renewal
from insight_cloud.tls.renewal import State, Window

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
moments = st.timedeltas(timedelta(0), timedelta(days=1500)).map(lambda span: NOW - 300 * DAY + span)
lives = st.timedeltas(timedelta(hours=12), timedelta(days=400))


def decided(begins: datetime, life: timedelta, now: datetime, state: State = State()) -> bool:  # noqa: B008 - frozen
    return renewal.decide(now, begins=begins, ends=begins + life, fingerprint="f", state=state).act


@pytest.mark.parametrize(
    ("days", "from_days", "to_days"),
    [(90, 57, 60), (64, 40.5, 42.7), (47, 29.7, 31.4), (45, 28.5, 30), (6, 2.8, 3)],
)
def test_without_advice_it_is_renewed_at_two_thirds_or_half(
    days: int, from_days: float, to_days: float
) -> None:
    for number in range(50):
        due = renewal.due(NOW, NOW + days * DAY, f"fingerprint {number}", None)
        assert NOW + from_days * DAY <= due <= NOW + to_days * DAY


def test_two_certificates_are_not_due_at_the_same_moment() -> None:
    found = {renewal.due(NOW, NOW + 90 * DAY, str(n), None) for n in range(100)}
    assert len(found) == 100
    assert max(found) - min(found) > DAY


@given(begins=moments, life=lives, fraction=st.floats(0, 1.2), length=st.floats(0, 0.3))
def test_advice_is_followed_but_never_too_late(
    begins: datetime, life: timedelta, fraction: float, length: float
) -> None:
    start = begins + life * fraction
    window = Window(start, start + life * length)
    due = renewal.due(begins, begins + life, "f", window)
    assert due <= begins + life * renewal.LATEST
    assert due == begins + life * renewal.LATEST or window.start <= due <= window.end


def test_advice_for_another_certificate_is_not_used() -> None:
    state = State(window=Window(NOW - DAY, NOW), window_for="another")
    assert not decided(NOW - DAY, 90 * DAY, NOW, state)
    assert decided(NOW - DAY, 90 * DAY, NOW, replace(state, window_for="f"))


def test_an_authority_that_always_says_now_does_not_exhaust_its_limit() -> None:
    state = State(window=Window(NOW - DAY, NOW), window_for="f", issued=NOW - HOUR)
    assert not decided(NOW - HOUR, 90 * DAY, NOW, state)
    assert decided(NOW - HOUR, 90 * DAY, NOW + renewal.BETWEEN, state)


@given(begins=moments, life=lives, part=st.floats(0, 2), failures=st.integers(0, 30))
def test_when_it_says_later_then_at_that_time_it_acts(
    begins: datetime, life: timedelta, part: float, failures: int
) -> None:
    now = begins + life * part
    state = State(failures=failures, tried=now if failures else None)
    later = renewal.decide(now, begins=begins, ends=begins + life, fingerprint="f", state=state)
    assert later.act is (now >= later.at)
    assert renewal.decide(
        max(later.at, now), begins=begins, ends=begins + life, fingerprint="f", state=state
    ).act


@given(st.integers(1, 10_000), st.none() | lives)
def test_pauses_grow_and_end(failures: int, life: timedelta | None) -> None:
    pause = renewal.pause(failures, life)
    assert renewal.FIRST_PAUSE <= pause <= renewal.LONGEST_PAUSE
    assert renewal.pause(failures + 1, life) >= pause
    assert renewal.pause(0, life) == timedelta(0)


def test_no_more_than_five_failures_fall_into_one_hour() -> None:
    """Let's Encrypt's limit of failed validations for each account, name and hour."""
    moments, state, now = [], State(), NOW
    for _ in range(40):
        decision = renewal.decide(now, state=state)
        now = max(now, decision.at)
        state = renewal.failed(renewal.began(state, now), now, "refused")
        moments.append(now)
    for first in moments:
        assert sum(first <= m < first + HOUR for m in moments) <= 5


def test_the_authority_s_pause_is_kept() -> None:
    state = renewal.failed(renewal.began(State(), NOW), NOW, "limited", retry_after=7200)
    assert not decided(NOW - 90 * DAY, 90 * DAY, NOW + timedelta(seconds=7199), state)
    assert decided(NOW - 90 * DAY, 90 * DAY, NOW + timedelta(seconds=7200), state)
    absurd = renewal.failed(state, NOW, "limited", retry_after=1e12)
    assert decided(NOW - 90 * DAY, 90 * DAY, NOW + 15 * DAY, absurd)


def test_a_try_that_died_counts_as_failed() -> None:
    state = renewal.began(State(), NOW)
    assert state.problem == "it was interrupted"
    assert not decided(NOW - 80 * DAY, 90 * DAY, NOW + timedelta(minutes=1), state)
    assert decided(NOW - 80 * DAY, 90 * DAY, NOW + timedelta(minutes=16), state)


def test_a_clock_that_was_wrong_does_not_put_renewal_off() -> None:
    future = NOW + 1000 * DAY
    state = State(failures=3, tried=future, issued=future)
    assert decided(NOW - 80 * DAY, 90 * DAY, NOW, state)


def test_it_is_overdue_only_when_renewing_has_not_worked() -> None:
    begins, ends = NOW, NOW + 90 * DAY

    def overdue(days: float, state: State = State()) -> bool:  # noqa: B008 - frozen
        return renewal.overdue(begins + days * DAY, begins, ends, "f", state)

    assert not overdue(59, State(failures=9))
    assert not overdue(60.5)  # due since today at the latest
    assert overdue(60.5, State(failures=1))
    assert overdue(63.5)
    # The authority advised later: then that is not late.
    later = State(window=Window(begins + 70 * DAY, begins + 71 * DAY), window_for="f")
    assert not overdue(69, later)
    assert overdue(75, later)


def test_the_operator_is_told_once_a_day() -> None:
    state = renewal.reminded(State(), NOW)
    assert not renewal.may_remind(NOW + 23 * HOUR, state)
    assert renewal.may_remind(NOW + 24 * HOUR, state)
    assert renewal.may_remind(NOW - HOUR, state)  # the clock was set back


@given(
    st.builds(
        State,
        failures=st.integers(0, 99),
        tried=st.none() | moments,
        issued=st.none() | moments,
        not_before=st.none() | moments,
        problem=st.text(max_size=20),
        notified=st.none() | moments,
        window=st.none() | st.builds(Window, moments, moments, st.text(max_size=9)),
        window_for=st.text(max_size=9),
        ask_again=st.none() | moments,
        hooks_due=st.booleans(),
    )
)
def test_the_state_is_written_and_read_back(state: State) -> None:
    assert renewal.decode(renewal.encode(state)) == state


def test_what_cannot_be_read_counts_as_not_remembered() -> None:
    raw = {"failures": "x", "tried": "yesterday", "issued": "2026-01-01", "window": 3, "more": 1}
    assert renewal.decode(raw) == State()
