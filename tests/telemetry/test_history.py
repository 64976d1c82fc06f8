from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insight_cloud.telemetry import REQUESTS, Recorder
from insight_cloud.telemetry.history import History, Period


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_period_knows_counts_rates_and_percentiles(clock: Clock) -> None:
    recorder = Recorder()
    seconds = recorder.histogram(REQUESTS, labels=("method", "route", "status"))
    seconds.observe(9, ("GET", "/", "5xx"))  # before the history: not its business
    history = History(recorder.read, clock=clock)
    history.tick()
    for minute in range(10):
        for _ in range(60):
            seconds.observe(0.02, ("GET", "/", "2xx"))
        if minute == 0:
            for _ in range(30):
                seconds.observe(3.0, ("GET", "/slow", "5xx"))
        clock.now += 60
        history.tick()
    period = history.over(600)
    assert period.seconds == 600
    assert period.count(REQUESTS) == 630
    assert period.count(REQUESTS, status="5xx") == 30
    assert period.rate(REQUESTS, status="2xx") == 1
    assert period.total(REQUESTS, route="/slow") == pytest.approx(90)
    assert 0.01 < (period.percentile(REQUESTS, 0.5) or 0) <= 0.025
    assert 2 < (period.percentile(REQUESTS, 0.99) or 0) <= 5
    assert period.percentile(REQUESTS, 0.5, route="/none") is None
    assert history.over(300).count(REQUESTS, status="5xx") == 0


def test_the_minute_that_runs_belongs_to_the_period(clock: Clock) -> None:
    recorder = Recorder()
    hits = recorder.counter("hit_total")
    history = History(recorder.read, clock=clock)
    history.tick()
    clock.now += 30
    hits.add()
    assert history.over(60).count("hit_total") == 1
    assert history.over(60).seconds == 30


def test_a_period_says_how_much_of_it_is_remembered(clock: Clock) -> None:
    recorder = Recorder()
    hits = recorder.counter("hit_total")
    history = History(recorder.read, minutes=5, clock=clock)
    assert history.over(60) == Period(0.0, ())
    assert history.over(60).rate("hit_total") == 0
    for _ in range(20):
        history.tick()
        clock.now += 60
        hits.add()
    history.tick()
    assert history.over(86400).seconds == 300
    assert history.over(86400).count("hit_total") == 5


def test_a_count_that_begins_anew_is_not_subtracted(clock: Clock) -> None:
    value = [100.0]
    recorder = Recorder(collectors=[lambda: [("hit_total", {}, value[0])]])
    history = History(recorder.read, clock=clock)
    history.tick()
    for value[0] in (110.0, 4.0, 5.0):
        clock.now += 60
        history.tick()
    assert history.over(600).count("hit_total") == 10 + 4 + 1


def test_gauges_are_not_counted(clock: Clock) -> None:
    recorder = Recorder()
    gauge = recorder.gauge("open")
    history = History(recorder.read, clock=clock)
    history.tick()
    gauge.set(7)
    clock.now += 60
    history.tick()
    assert history.over(60).series == ()


@given(st.lists(st.lists(st.integers(0, 9), min_size=3, max_size=3), min_size=1, max_size=30))
def test_the_minutes_add_up_to_everything(minutes: list[list[int]]) -> None:
    clock, recorder = Clock(), Recorder()
    counter = recorder.counter("n_total", labels=("name",))
    history = History(recorder.read, clock=clock)
    history.tick()
    for amounts in minutes:
        for name, amount in zip("abc", amounts, strict=True):
            counter.add((name,), amount)
        clock.now += 60
        history.tick()
    period = history.over(60 * len(minutes))
    for position, name in enumerate("abc"):
        assert period.count("n_total", name=name) == sum(m[position] for m in minutes)
    last = history.over(60)
    assert last.count("n_total") == sum(minutes[-1])
