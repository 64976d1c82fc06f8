from __future__ import annotations

import logging
import threading
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
    file = tmp_path / "slow.jsonl"
    assert Slow(file=file).requests() == ()
    one, other = Slow(file=file, keep=3), Slow(file=file, keep=3)
    for number in range(2):
        add(one, 1 + number)
        add(other, 10 + number)
    assert [request.seconds for request in one.requests()] == [11, 2, 10]
    assert one.requests() == other.requests()
    assert one.requests()[0].at.tzinfo is not None
    assert file.stat().st_mode & 0o777 == 0o600


def test_the_common_file_stays_small_and_loses_no_recent_entry(tmp_path: Path) -> None:
    file = tmp_path / "slow.jsonl"

    def many(number: int) -> None:
        slow = Slow(file=file, keep=20)
        for turn in range(300):
            add(slow, 1000 * number + turn, "/" + "x" * 190)

    writers = [threading.Thread(target=many, args=(number,)) for number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    found = Slow(file=file, keep=20).requests()
    assert len(found) == 20
    assert {request.seconds % 1000 for request in found} >= {299}
    assert file.stat().st_size < 60_000


def test_damage_and_a_full_disk_break_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "slow.jsonl"
    file.write_bytes(b'hello\n{"at": 1}\n')
    slow = Slow(file=file)
    add(slow, 1.5)
    with file.open("ab") as writing:
        writing.write(b'{"at": "2026-')
    assert [request.seconds for request in slow.requests()] == [1.5]
    with caplog.at_level(logging.WARNING):
        add(Slow(file=tmp_path / "none" / "slow.jsonl"), 1.5)
    assert caplog.messages[-1].startswith("http.slow: GET / took 1.500 s")
