from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from insight_cloud.telemetry.recorder import BUCKETS, Recorder
from insight_cloud.telemetry.series import Merge, Series, matching, merged, percentile, sum_of


def merge(*processes: list[Series]) -> tuple[Series, ...]:
    return merged([(one, one.values) for one in process] for process in processes)


def gauge(value: float, at: float, merge: Merge) -> Series:
    return Series("queue", "gauge", "", (), (value, at), (), merge)


def test_counts_of_processes_are_added() -> None:
    one = Series("hits_total", "counter", "", (("kind", "a"),), (2.0,))
    other = Series("hits_total", "counter", "", (("kind", "a"),), (3.0,))
    third = Series("hits_total", "counter", "", (("kind", "b"),), (4.0,))
    assert [series.values for series in merge([one, third], [other])] == [(5.0,), (4.0,)]


def test_gauges_of_processes_become_one_by_their_rule() -> None:
    for rule, wanted in (("sum", 12.0), ("max", 7.0), ("min", 5.0), ("latest", 5.0)):
        rules: Merge = rule  # type: ignore[assignment]
        (found,) = merge([gauge(7, 1, rules)], [gauge(5, 2, rules)])
        assert found.values[0] == wanted


def test_a_gauge_that_was_never_set_takes_no_part() -> None:
    (found,) = merge([gauge(0, 0, "min")], [gauge(5, 2, "min")])
    assert found.values[0] == 5
    assert merge([gauge(0, 0, "sum")]) == ()


def test_values_of_different_meaning_are_not_added() -> None:
    old = Series("wait_seconds", "histogram", "", (), (1.0, 1.0, 3.0), (1.0,))
    new = Series("wait_seconds", "histogram", "", (), (1.0, 1.0, 3.0), (2.0,))
    assert merge([old], [new]) == (old,)


def test_series_are_found_by_some_of_their_labels() -> None:
    series = [
        Series("n_total", "counter", "", (("a", "1"), ("b", b)), (1.0,)) for b in ("x", "y", "z")
    ]
    assert len(matching(series, "n_total", {"a": "1"})) == 3
    assert len(matching(series, "n_total", {"a": "1", "b": "y"})) == 1
    assert matching(series, "n_total", {"a": "2"}) == []
    total = sum_of(matching(series, "n_total", {}))
    assert total is not None
    assert (total.values, total.labels) == ((3.0,), ())
    assert sum_of([]) is None


@given(
    st.lists(st.floats(min_value=0.0, max_value=4.9), min_size=1, max_size=60),
    st.floats(min_value=0.01, max_value=1.0),
)
def test_a_percentile_lies_in_the_bucket_of_the_true_one(values: list[float], share: float) -> None:
    recorder = Recorder()
    histogram = recorder.histogram("took_seconds")
    for value in values:
        histogram.observe(value)
    (found,) = recorder.read()
    estimate = percentile(found, share)
    rank = max(0, -(-int(share * len(values) * 1e9) // 10**9) - 1)  # the ceiling, less one
    true = sorted(values)[min(rank, len(values) - 1)]
    assert estimate is not None
    bounds = (0.0, *BUCKETS)
    upper = next(bound for bound in BUCKETS if true <= bound)
    lower = bounds[bounds.index(upper) - 1]
    # On the edge between two buckets either one is right.
    assert lower - 1e-9 <= estimate <= upper + 1e-9 or any(
        lower <= v <= upper for v in (estimate, *(x for x in values if abs(x - true) < 1e-9))
    )


def test_nothing_observed_has_no_percentile() -> None:
    assert (
        percentile(Series("x_seconds", "histogram", "", (), (0.0, 0.0, 0.0), (1.0,)), 0.5) is None
    )


def test_beyond_the_last_bound_the_bound_is_told() -> None:
    far = Series("x_seconds", "histogram", "", (), (0.0, 9.0, 900.0), (1.0,))
    assert percentile(far, 0.95) == 1.0
