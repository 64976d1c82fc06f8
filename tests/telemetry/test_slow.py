from __future__ import annotations

from pathlib import Path

import pytest

from insight_cloud.telemetry import Slow


def add(slow: Slow, seconds: float, route: str = "/") -> None:
    slow.add("id", "GET", route, 200, seconds)


def test_only_the_last_slow_requests_are_kept_and_the_very_slow_are_errors(
    caplog: pytest.LogCaptureFixture,
) -> None:
    slow = Slow(keep=2)
    for seconds in (1.0, 4.99, 5.0):
        add(slow, seconds)
    assert [request.seconds for request in slow.requests()] == [5.0, 4.99]
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING", "ERROR"]


def test_several_processes_remember_together(tmp_path: Path) -> None:
    one, other = (Slow(file=tmp_path / "slow.jsonl", keep=3) for _ in range(2))
    for number in range(2):
        add(one, 1 + number)
        add(other, 10 + number)
    assert [request.seconds for request in one.requests()] == [11, 2, 10]
    assert one.requests() == other.requests()
    assert one.requests()[0].at.tzinfo is not None
