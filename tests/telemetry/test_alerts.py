from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insight_cloud.telemetry import REQUESTS, Recorder
from insight_cloud.telemetry.alerts import Alert, Alerts, Rule, State, Word, rules, step
from insight_cloud.telemetry.history import History


def rule(*, for_seconds: float = 60, repeat_seconds: float = 600) -> Rule:
    return Rule(
        "test",
        "it is {value:g} of {limit:g}",
        lambda: None,
        above=10,
        clear=5,
        for_seconds=for_seconds,
        repeat_seconds=repeat_seconds,
    )


def told(values: Sequence[float | None], *, every: float = 30) -> list[tuple[float, Word]]:
    state, words = State(), []
    for number, value in enumerate(values):
        state, word = step(rule(), state, value, number * every)
        if word is not None:
            words.append((number * every, word))
    return words


def test_a_value_must_stay_above_for_a_while() -> None:
    assert told([11, 11, 9, 11, 11]) == []
    assert told([9, 11, 11, 11]) == [(90, "began")]
    assert told([10] * 20) == []  # above, not at


def test_a_value_between_the_lines_changes_nothing() -> None:
    assert told([11] * 3 + [7] * 10) == [(60, "began")]
    assert told([7] * 10) == []
    assert told([11] * 3 + [4, 7, 4, 7, 4]) == [(60, "began")]
    assert told([11] * 3 + [4] * 3) == [(60, "began"), (150, "ended")]


def test_what_goes_on_is_told_again() -> None:
    words = told([11] * 50)
    assert words == [(60, "began"), (660, "continues"), (1260, "continues")]


def test_where_nothing_can_be_said_nothing_begins_or_ends() -> None:
    assert told([11, 11, None, 11, 11]) == []
    assert told([11] * 3 + [None] * 10) == [(60, "began")]
    assert told([None] * 5) == []


@given(st.lists(st.one_of(st.none(), st.floats(0, 20)), max_size=120))
def test_beginnings_and_ends_alternate_and_each_had_its_time(values: list[float | None]) -> None:
    words = told(values)
    kinds = [word for _, word in words if word != "continues"]
    assert kinds == ["began", "ended"] * (len(kinds) // 2) + ["began"] * (len(kinds) % 2)
    for at, word in words:
        position = int(at // 30)
        before = values[position - 2 : position + 1]
        if word == "began":
            assert all(value is not None and value > 10 for value in before)
        if word == "ended":
            assert all(value is not None and value <= 5 for value in before)
    for (earlier, _), (later, word) in pairwise(words):
        assert later - earlier >= (600 if word == "continues" else 60)


class Outside:
    """Clock, value and receiver of a rule under test."""

    def __init__(self) -> None:
        self.now = 1_764_000_000.0
        self.value: float | None = 0.0
        self.sent: list[Alert] = []
        self.broken = False

    async def send(self, alert: Alert) -> None:
        if self.broken:
            raise OSError("no route to the channel")
        self.sent.append(alert)

    def alerts(self, *, leads: bool = True) -> Alerts:
        watched = Rule("test", "it is {value:g} of {limit:g}", lambda: self.value, 10)
        return Alerts([watched], self.send, leads=lambda: leads, clock=lambda: self.now)

    async def pass_time(self, alerts: Alerts, seconds: float) -> None:
        for _ in range(int(seconds // 15)):
            self.now += 15
            await alerts.step()


async def test_people_are_told_in_sentences() -> None:
    outside = Outside()
    alerts = outside.alerts()
    outside.value = 12
    await outside.pass_time(alerts, 90)
    assert [alert.name for alert in alerts.firing] == ["test"]
    await outside.pass_time(alerts, 3600)
    outside.value = 1
    await outside.pass_time(alerts, 90)
    assert [(alert.word, alert.text) for alert in outside.sent] == [
        ("began", "It is 12 of 10"),
        ("continues", "Still: it is 12 of 10"),
        ("ended", "Over: now it is 1 of 10"),
    ]
    assert len({alert.since for alert in outside.sent}) == 1
    assert alerts.firing == ()


async def test_what_could_not_be_sent_is_sent_again(caplog: pytest.LogCaptureFixture) -> None:
    outside = Outside()
    alerts = outside.alerts()
    outside.value, outside.broken = 12, True
    with caplog.at_level(logging.ERROR):
        await outside.pass_time(alerts, 120)
    assert outside.sent == []
    assert alerts.failures > 1
    assert alerts.unsent == 1
    assert {name: value for name, _, value in alerts.samples()} == {
        "alert_firing": 0,
        "alert_send_failed_total": alerts.failures,
    }
    assert caplog.records[0].getMessage() == (
        "alert.not_sent: It is 12 of 10: OSError: no route to the channel"
    )
    outside.broken = False
    await outside.pass_time(alerts, 30)
    assert [alert.word for alert in outside.sent] == ["began"]
    assert alerts.unsent == 0


async def test_a_channel_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("insight_cloud.telemetry.alerts._SEND_SECONDS", 0.01)

    async def hang(alert: Alert) -> None:
        await asyncio.sleep(60)

    alerts = Alerts([Rule("test", "x", lambda: 12.0, 10, for_seconds=0)], hang)
    await alerts.step()
    assert alerts.failures == 1


async def test_only_the_leader_tells() -> None:
    outside = Outside()
    outside.value = 12
    await outside.pass_time(outside.alerts(leads=False), 600)
    assert outside.sent == []


async def test_a_rule_that_cannot_be_asked_stops_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    outside = Outside()

    def broken() -> float:
        raise ZeroDivisionError

    watched = [
        Rule("broken", "x", broken, 10, for_seconds=0),
        Rule("fine", "y", lambda: 12.0, 10, for_seconds=0),
    ]
    alerts = Alerts(watched, outside.send, clock=lambda: outside.now)
    for _ in range(3):
        await alerts.step()
    assert [alert.name for alert in outside.sent] == ["fine"]
    assert [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR] == [
        "alert.not_asked: broken"
    ]


class Service:
    """A recorder and its history, with a clock."""

    def __init__(self, **options: float) -> None:
        self.now = 0.0
        self.recorder = Recorder()
        self.seconds = self.recorder.histogram(REQUESTS, labels=("method", "route", "status"))
        self.slow = self.recorder.counter("database_slow_query_total")
        self.history = History(self.recorder.read, clock=lambda: self.now)
        self.history.tick()
        self.share: float | None = None
        self.rules = {one.name: one for one in rules(self.history, memory=lambda: self.share)}

    def serve(self, count: int, status: str = "2xx", seconds: float = 0.01) -> None:
        for _ in range(count):
            self.seconds.observe(seconds, ("GET", "/", status))

    def firing(self, name: str) -> bool:
        self.now += 1
        value = self.rules[name].value()
        return value is not None and value > self.rules[name].above


@pytest.mark.parametrize(("errors", "firing"), [(10, False), (11, True)])
def test_more_than_one_error_in_a_hundred_is_told(errors: int, firing: bool) -> None:  # noqa: FBT001
    service = Service()
    service.serve(1000 - errors)
    service.serve(errors, "5xx")
    assert service.firing("http.errors") is firing
    assert service.rules["http.errors"].about.format(value=0.011, limit=0.01) == (
        "1.1% of the requests fail (limit 1.0%)"
    )


def test_few_requests_say_nothing() -> None:
    service = Service()
    service.serve(3, "5xx", 9.0)
    assert service.rules["http.errors"].value() is None
    assert service.rules["http.p95"].value() is None


@pytest.mark.parametrize(("slow", "firing"), [(4, False), (6, True)])
def test_a_p95_above_two_seconds_is_told(slow: int, firing: bool) -> None:  # noqa: FBT001
    service = Service()
    service.serve(100 - slow)
    service.serve(slow, seconds=4.0)
    assert service.firing("http.p95") is firing


def test_one_slow_statement_is_told() -> None:
    service = Service()
    assert not service.firing("database.slow_queries")
    service.slow.add()
    assert service.firing("database.slow_queries")
    for _ in range(6):
        service.now += 60
        service.history.tick()
    assert not service.firing("database.slow_queries")


def test_memory_near_its_limit_is_told() -> None:
    service = Service()
    assert not service.firing("process.memory")
    service.share = 0.91
    assert service.firing("process.memory")
