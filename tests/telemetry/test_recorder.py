from __future__ import annotations

import logging
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insight_cloud.telemetry.recorder import BUCKETS, OTHER, Memory, Recorder
from insight_cloud.telemetry.series import Sample


def test_a_counter_counts_by_its_labels() -> None:
    recorder = Recorder()
    hits = recorder.counter("cache_hit_total", "Hits.", ("kind",))
    hits.add(("local",))
    hits.add(("local",), 2)
    hits.add(("redis",))
    assert [(series.labels, series.values) for series in recorder.read()] == [
        ((("kind", "local"),), (3.0,)),
        ((("kind", "redis"),), (1.0,)),
    ]


def test_there_are_13_buckets_and_the_alert_thresholds_are_bounds() -> None:
    assert len(BUCKETS) + 1 == 13
    assert {1.0, 2.0, 5.0} <= set(BUCKETS)


@given(st.lists(st.floats(min_value=0, max_value=1e6), max_size=50))
def test_a_histogram_loses_nothing(values: list[float]) -> None:
    recorder = Recorder()
    histogram = recorder.histogram("took_seconds", bounds=(1.0, 10.0))
    for value in values:
        histogram.observe(value)
    found = recorder.read()
    if not values:
        assert found == ()
        return
    low = sum(value <= 1 for value in values)
    mid = sum(1 < value <= 10 for value in values)
    assert found[0].values[:3] == (low, mid, len(values) - low - mid)
    assert found[0].total == pytest.approx(sum(values))
    assert found[0].count == len(values)


def test_labels_without_number_share_one_series() -> None:
    recorder = Recorder(series=3)
    counter = recorder.counter("seen_total", labels=("name",))
    for number in range(100):
        counter.add((f"user-{number}",))
    found = {series.labels[0][1]: series.values[0] for series in recorder.read()}
    assert found == {"user-0": 1, "user-1": 1, "user-2": 1, OTHER: 97}
    assert len(counter._slots) == 4


def test_a_full_store_loses_new_series_and_keeps_the_old(caplog: pytest.LogCaptureFixture) -> None:
    recorder = Recorder(Memory(slots=65))
    first = recorder.counter("a_total")
    second = recorder.histogram("b_seconds")
    first.add()
    with caplog.at_level(logging.WARNING):
        second.observe(1)
        second.observe(1)
    first.add()
    assert [(series.name, series.values) for series in recorder.read()] == [("a_total", (2.0,))]
    assert [record.message.partition(":")[0] for record in caplog.records] == ["telemetry.full"]


def test_collectors_are_asked_at_each_reading() -> None:
    hits = 0

    def collect() -> Iterable[Sample]:
        yield "cache_hit_total", {"backend": "redis"}, hits
        yield "cache_bytes", {}, 10.0 * hits

    recorder = Recorder(collectors=[collect], merge={"cache_bytes": "max"})
    hits = 3
    recorder.read()
    hits = 5
    found = {series.name: series for series in recorder.read()}
    assert (found["cache_hit_total"].kind, found["cache_hit_total"].values) == ("counter", (5.0,))
    assert found["cache_hit_total"].labels == (("backend", "redis"),)
    assert (found["cache_bytes"].kind, found["cache_bytes"].values[0]) == ("gauge", 50.0)
    assert found["cache_bytes"].merge == "max"


def test_labels_of_samples_may_come_in_any_order() -> None:
    samples: list[Sample] = [("x", {"a": "1", "b": "2"}, 1.0), ("x", {"b": "2", "a": "1"}, 7.0)]
    (found,) = Recorder(collectors=[lambda: samples]).read()
    assert found.values[0] == 7


def test_a_broken_collector_is_logged_once_and_hurts_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken() -> Iterable[Sample]:
        raise OSError("gone")

    def wrong() -> Iterable[Sample]:
        return [("no name", {}, 1.0)]

    recorder = Recorder(collectors=[broken, wrong, lambda: [("fine", {}, 1.0)]])
    for _ in range(3):
        assert [series.name for series in recorder.read()] == ["fine"]
    assert len(caplog.records) == 2


def test_the_same_metric_is_given_twice_and_another_one_is_refused() -> None:
    recorder = Recorder()
    assert recorder.counter("a_total") is recorder.counter("a_total")
    with pytest.raises(ValueError, match="another metric"):
        recorder.counter("a_total", labels=("x",))
    with pytest.raises(ValueError, match="_total"):
        recorder.counter("a")
    with pytest.raises(ValueError, match="cannot be the name"):
        recorder.gauge("a-b")
    with pytest.raises(ValueError, match="must grow"):
        recorder.histogram("a_seconds", bounds=(2.0, 1.0))
    with pytest.raises(ValueError, match="has the labels"):
        recorder.counter("b_total", labels=("x",)).add()
