from __future__ import annotations

import os
from pathlib import Path

import pytest

from insight_cloud.telemetry import Recorder
from insight_cloud.telemetry.process import (
    MERGE,
    LoopLag,
    memory_limit_bytes,
    open_files,
    resident_bytes,
    samples,
)


def test_the_process_tells_memory_processor_files_and_garbage() -> None:
    found = {series.name: series for series in Recorder(collectors=[samples], merge=MERGE).read()}
    assert found["process_resident_memory_bytes"].values[0] > 10 * 2**20
    assert found["process_cpu_seconds_total"].kind == "counter"
    assert found["process_start_time_seconds"].merge == "min"
    assert set(MERGE) <= {*found, "process_loop_lag_seconds"}


def test_memory_and_files_follow_what_is_held(tmp_path: Path) -> None:
    before, files = resident_bytes(), open_files()
    held = os.urandom(64 * 2**20)
    with (tmp_path / "x").open("wb"):
        assert open_files() == files + 1
    assert resident_bytes() - before > len(held) / 2


@pytest.mark.parametrize(
    ("path", "text", "limit"),
    [
        (None, "", 2048 * 1024),
        ("sys/fs/cgroup/memory.max", "1048576\n", 1048576),
        ("sys/fs/cgroup/memory.max", "max\n", 2048 * 1024),
        ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n", 2048 * 1024),
    ],
)
def test_the_memory_limit_is_the_tightest(
    tmp_path: Path, path: str | None, text: str, limit: int
) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal:        2048 kB\nMemFree: 1 kB\n")
    if path is not None:
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text(text)
    assert memory_limit_bytes(tmp_path) == limit


def test_where_nothing_is_known_there_is_no_limit(tmp_path: Path) -> None:
    assert memory_limit_bytes(tmp_path) is None


def longest(lag: LoopLag) -> float:
    ((_, _, seconds),) = lag.samples()
    return seconds


def test_the_longest_delay_of_a_minute_is_told() -> None:
    now = 0.0
    lag = LoopLag(clock=lambda: now)
    assert longest(lag) == 0
    lag.note(0.5)
    now = 30
    lag.note(0.2)
    assert longest(lag) == 0.5
    now = 61
    assert longest(lag) == 0.2
    now = 120
    assert longest(lag) == 0.0
