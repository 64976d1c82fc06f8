from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insight_cloud.database.recorder import OTHERS, Recorder, SlowQueries, shape


def test_calls_are_counted_the_most_expensive_first() -> None:
    recorder = Recorder()
    recorder.record("cheap", seconds=0.1, rows=5, parameters={})
    recorder.record("dear", seconds=0.5, rows=1, parameters={"ids": [1, 2]})
    recorder.record("dear", seconds=0.2, rows=2, parameters={"ids": [1]}, failed=True)
    dear, cheap = recorder.statements()
    assert (dear.name, dear.calls, dear.errors, dear.rows) == ("dear", 2, 1, 3)
    assert dear.total_seconds == pytest.approx(0.7)
    assert dear.mean_seconds == pytest.approx(0.35)
    assert dear.max_seconds == pytest.approx(0.5)
    assert dear.slowest_parameters == {"ids": "list[2]"}
    assert cheap.name == "cheap"
    recorder.clear()
    assert recorder.statements() == ()


@given(st.lists(st.text(max_size=3)), st.integers(1, 5))
def test_the_number_of_entries_is_bounded_and_no_call_is_lost(names: list[str], limit: int) -> None:
    recorder = Recorder(limit=limit)
    for name in names:
        recorder.record(name, seconds=0.0, rows=0, parameters={})
    found = recorder.statements()
    assert len(found) <= limit + 1
    assert sum(statement.calls for statement in found) == len(names)
    assert len({*names}) <= limit or OTHERS in {statement.name for statement in found}


@pytest.mark.parametrize(
    ("seconds", "levels"),
    [(0.999, []), (1.0, [logging.WARNING]), (4.999, [logging.WARNING]), (5.0, [logging.ERROR])],
)
def test_a_slow_statement_is_logged(
    caplog: pytest.LogCaptureFixture, seconds: float, levels: list[int]
) -> None:
    recorder = Recorder(slow=SlowQueries(warn_seconds=1, error_seconds=5))
    recorder.record("get_user", seconds=seconds, rows=1, parameters={"password": "hunter2"})
    found = [record for record in caplog.records if record.name == "database.slow_query"]
    assert [record.levelno for record in found] == levels
    assert all("get_user" in record.getMessage() for record in found)
    assert "hunter2" not in caplog.text
    assert all("hunter2" not in str(record.__dict__) for record in found)


def test_a_shape_is_a_type_and_a_length() -> None:
    assert [shape(value) for value in (1, None, "secret", [1, 2], b"")] == [
        "int",
        "NoneType",
        "str[6]",
        "list[2]",
        "bytes[0]",
    ]
