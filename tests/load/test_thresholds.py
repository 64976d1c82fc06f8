from __future__ import annotations

import pytest

from insight_cloud.core.errors import Invalid
from insight_cloud.load import Histogram, thresholds
from insight_cloud.load.tally import Tally
from insight_cloud.load.thresholds import Metric, Selector


def asked(metric: str, expression: str, found: Metric) -> tuple[float | None, bool]:
    threshold = thresholds.parse(thresholds.selector(metric), expression)
    value = found.ask(threshold.what, threshold.percent)
    return value, threshold.holds(value)


def trend(*values: float) -> Metric:
    made = Histogram()
    for value in values:
        made.add(value)
    return Metric(made)


@pytest.mark.parametrize(
    ("expression", "holds"),
    [
        ("p(95)<500", True),
        ("p(99.9) < 100", False),
        ("med<=30.5", True),
        ("avg>25", True),
        ("min>=10", True),
        ("max<100", False),
        ("max==100", True),
        ("max===100", True),
        ("count!=4", False),
    ],
)
def test_k6s_expressions(expression: str, holds: bool) -> None:  # noqa: FBT001 - a table
    assert asked("http_req_duration", expression, trend(10, 20, 30, 100))[1] is holds


def test_rates_are_a_share_or_per_second() -> None:
    assert asked("http_req_failed", "rate<0.5", Metric(None, 1, of=4)) == (0.25, True)
    assert asked("http_reqs", "rate>=10", Metric(None, 100, seconds=10)) == (10, True)
    assert asked("http_reqs", "count<100", Metric(None, 100, seconds=10)) == (100, False)


@pytest.mark.parametrize("expression", ["p(95)<1", "p(95)>=0", "avg!=3"])
def test_nothing_measured_is_never_what_was_wanted(expression: str) -> None:
    assert asked("http_req_duration", expression, trend()) == (None, False)


@pytest.mark.parametrize(
    ("metric", "expression"),
    [
        ("http_req_durations", "p(95)<1"),
        ("http_req_duration", "p95<1"),
        ("http_req_duration", "p(101)<1"),
        ("http_req_duration", "rate<1"),
        ("http_req_duration", "p(95)<1;p(99)<2"),
        ("http_req_failed", "avg<1"),
        ("http_req_duration{name}", "avg<1"),
        ("http_req_duration{status:200}", "avg<1"),
        ("http_req_duration{name:other}", "avg<1"),
        ("http_req_duration{scenario:other}", "avg<1"),
    ],
)
def test_what_cannot_be_measured_is_refused(metric: str, expression: str) -> None:
    with pytest.raises(Invalid):
        thresholds.parse(thresholds.selector(metric, ["home"], ["people"]), expression)


def test_tags_choose_requests() -> None:
    tally = Tally()
    tally.request(("people", "home", "GET"), 0, 10, 100, None)
    tally.request(("people", "sign in", "POST"), 0, 30, 100, "HTTP 500")
    tally.iteration("people", 50, whole=False)
    tally.dropped = 3

    def value(metric: str, what: str, percent: float = 0) -> float | None:
        return tally.metric(thresholds.selector(metric), 2).ask(what, percent)

    assert value("http_req_duration", "p", 50) == pytest.approx(10, rel=0.005)
    assert value("http_req_duration{name:sign in}", "p", 50) == pytest.approx(30, rel=0.005)
    assert value("http_req_duration{method:GET,name:home}", "max") == 10
    assert value("http_req_failed{name:home}", "rate") == 0
    assert value("http_req_failed", "rate") == 0.5
    assert value("checks", "count") == 1
    assert value("http_reqs", "rate") == 1
    assert value("data_received", "count") == 200
    assert value("iterations", "count") == 1
    assert value("iteration_duration{scenario:people}", "max") == 50
    assert value("dropped_iterations", "count") == 3
    assert value("schedule_lag", "avg") is None


def test_a_selector_is_written_as_it_is_read() -> None:
    text = "http_req_duration{name:sign in,method:POST}"
    assert str(thresholds.selector(text)) == text
    assert thresholds.selector(text) == Selector(
        "http_req_duration", (("name", "sign in"), ("method", "POST"))
    )
