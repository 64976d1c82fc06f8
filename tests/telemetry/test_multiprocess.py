from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from insight_cloud.core.errors import Corrupt, SettingsError
from insight_cloud.telemetry import Leader, Recorder, Shared, directory_in_memory

_PROCESS = """
import sys
from pathlib import Path
from insight_cloud.telemetry import Leader, Recorder, Shared

number = int(sys.argv[2])
recorder = Recorder(Shared(Path(sys.argv[1])))
count = recorder.counter("request_total", "Requests.", ("route",))
for _ in range(number):
    count.add(("/",))
recorder.gauge("open", merge="max").set(number)
recorder.histogram("took_seconds", bounds=(1.0,)).observe(number)
leader = Leader(Path(sys.argv[1]))
print("ready", leader(), flush=True)
sys.stdin.read()
"""


@contextmanager
def process(directory: Path, number: int) -> Iterator[subprocess.Popen[str]]:
    """Another process that has counted to `number`, and lives until it is killed or let go."""
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(_PROCESS), str(directory), str(number)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    child.leads = child.stdout.readline().split() == ["ready", "True"]  # type: ignore[attr-defined]
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def values(recorder: Recorder) -> dict[str, tuple[float, ...]]:
    return {
        series.name: series.values[:1] if series.kind == "gauge" else series.values
        for series in recorder.read()
    }


def test_any_process_reads_the_sum_of_all(tmp_path: Path) -> None:
    with process(tmp_path, 2), process(tmp_path, 3), Shared(tmp_path) as store:
        recorder = Recorder(store)
        recorder.counter("request_total", "Requests.", ("route",)).add(("/",), 10)
        assert values(recorder) == {
            "open": (3.0,),
            "request_total": (15.0,),
            "took_seconds": (0.0, 2.0, 5.0),
        }


def test_what_the_dead_have_counted_stays_and_their_gauges_go(tmp_path: Path) -> None:
    with Shared(tmp_path) as store:
        recorder = Recorder(store)
        with process(tmp_path, 2) as killed, process(tmp_path, 3) as ended:
            killed.send_signal(signal.SIGKILL)
            killed.wait()
            assert values(recorder)["request_total"] == (5.0,)
            ended.communicate("")
        for _ in range(2):  # and is not counted again
            assert values(recorder) == {"request_total": (5.0,), "took_seconds": (0.0, 2.0, 5.0)}
        with process(tmp_path, 4):
            assert values(recorder)["request_total"] == (9.0,)
        assert values(recorder)["request_total"] == (9.0,)
        assert len(list(tmp_path.glob("*.metrics"))) == 1


def test_a_new_store_in_the_same_directory_goes_on_counting(tmp_path: Path) -> None:
    with Shared(tmp_path) as store:
        Recorder(store).counter("request_total").add((), 7)
    with Shared(tmp_path) as store:
        assert values(Recorder(store)) == {"request_total": (7.0,)}


def test_counting_after_the_end_does_not_fail(tmp_path: Path) -> None:
    with Shared(tmp_path) as store:
        counter = Recorder(store).counter("request_total", labels=("route",))
        counter.add(("/",))
    counter.add(("/",))
    counter.add(("/new",))  # no room can be given any more


def test_a_death_between_burying_and_deleting_counts_nothing_twice(tmp_path: Path) -> None:
    with Shared(tmp_path) as store:
        recorder = Recorder(store)
        with process(tmp_path, 2) as killed:
            killed.kill()
            killed.wait()
            (file,) = [path for path in tmp_path.glob("*.metrics") if str(killed.pid) in path.name]
            content = file.read_bytes()
            recorder.read()
        file.write_bytes(content)  # as if it had not been deleted yet
        assert values(recorder)["request_total"] == (2.0,)
        assert not file.exists()


def test_foreign_and_half_written_files_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "foreign.metrics").write_bytes(b"hello")
    with Shared(tmp_path) as store:
        recorder = Recorder(store)
        recorder.counter("a_total").add()
        (own,) = [path for path in tmp_path.glob("*.metrics") if str(os.getpid()) in path.name]
        (tmp_path / "other.metrics").write_bytes(own.read_bytes() + b'{"first": 7, "row": 1}\n')
        with own.open("ab") as file:
            file.write(b'{"first": 7, "ser')
        assert values(recorder) == {"a_total": (1.0,)}
    assert {"foreign.metrics", "other.metrics"} <= {path.name for path in tmp_path.iterdir()}


def test_a_damaged_sum_of_the_dead_is_not_taken_for_zero(tmp_path: Path) -> None:
    (tmp_path / "ended.json").write_bytes(b"{")
    with Shared(tmp_path) as store, pytest.raises(Corrupt, match=r"ended\.json"):
        Recorder(store).read()


def test_a_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(SettingsError, match=r"cannot keep metrics in .*file"):
        Shared(file)
    assert file.read_text() == ""


def test_a_fork_is_noticed(tmp_path: Path) -> None:
    with Shared(tmp_path) as store:
        store._process = 1
        with pytest.raises(RuntimeError, match="fork"):
            store.read()


def test_a_full_file_loses_new_series(tmp_path: Path) -> None:
    with Shared(tmp_path, slots=65) as store:
        recorder = Recorder(store)
        recorder.counter("a_total").add()
        recorder.counter("b_total").add()
        assert values(recorder) == {"a_total": (1.0,)}


_HOLDER = """
import sys
from pathlib import Path
from insight_cloud.telemetry import directory_in_memory
with directory_in_memory(within=Path(sys.argv[1])) as directory:
    print(directory, flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(within: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    child = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(within)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    try:
        yield child, Path(child.stdout.readline().strip())
    finally:
        child.kill()
        child.communicate()


def test_a_directory_in_memory_is_private_and_gone_afterwards(tmp_path: Path) -> None:
    with directory_in_memory(within=tmp_path) as directory:
        assert directory.parent == tmp_path
        assert directory.stat().st_mode & 0o777 == 0o700
        with Shared(directory) as store:
            Recorder(store).counter("a_total").add()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_service_left_is_swept_and_what_a_living_one_has_is_not(
    tmp_path: Path,
) -> None:
    (tmp_path / "insight-metrics-foreign").mkdir()
    with holder(tmp_path) as (living, kept), holder(tmp_path) as (killed, left):
        killed.kill()
        killed.wait()
        assert left.exists()
        with directory_in_memory(within=tmp_path):
            assert not left.exists()
            assert kept.exists()
        living.communicate("")
        assert not kept.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["insight-metrics-foreign"]


def test_without_memory_the_directory_is_on_disk(tmp_path: Path) -> None:
    with directory_in_memory(within=tmp_path / "none") as directory:
        assert directory.is_dir()
    assert not directory.exists()


def test_one_process_leads_until_it_ends(tmp_path: Path) -> None:
    with process(tmp_path, 1) as other:
        assert other.leads  # type: ignore[attr-defined]
        ours = Leader(tmp_path)
        assert not ours()
    assert ours()
    assert ours()
    assert not Leader(tmp_path)()
    ours.close()
    assert Leader(tmp_path)()
    assert Leader(None)()
