"""The runner that cron and launchd start: once for each time, also when it was missed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insight_cloud.core.schedule import When, daily, runner
from insight_cloud.core.schedule.runner import is_due
from tests.core.schedule.test_when import WHENS

NOW = datetime(2026, 11, 25, 10, 0, tzinfo=UTC)
ALWAYS_PAST = "daily 00:00"


def start(
    tmp_path: Path, *options: str, code: str = "print('ran')", when: str = ALWAYS_PAST
) -> subprocess.Popen[str]:
    command = [sys.executable, "-P", "-m", "insight_cloud.core.schedule"]
    command += ["--stamp", str(tmp_path / "state/job.json"), "--when", when, *options]
    command += [] if "--limit" in options else ["--limit", "60"]
    command += ["--", sys.executable, "-c", code]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    )


def run(tmp_path: Path, *options: str, code: str = "print('ran')") -> tuple[int, str]:
    with start(tmp_path, *options, code=code) as process:
        said, complaint = process.communicate(timeout=60)
    assert "Warning" not in complaint
    return process.returncode, said + complaint


def forget(tmp_path: Path, days: int) -> None:
    """Let the last run be some days ago."""
    then = datetime.now(UTC) - timedelta(days=days)
    (tmp_path / "state/job.json").write_text(json.dumps({"started": then.isoformat()}))


def test_a_job_runs_once_for_its_time(tmp_path: Path) -> None:
    assert run(tmp_path) == (0, "ran\n")
    assert run(tmp_path) == (0, "")
    assert run(tmp_path, "--catch-up") == (0, "")


def test_a_missed_run_is_caught_up_once(tmp_path: Path) -> None:
    run(tmp_path)
    forget(tmp_path, days=2)
    assert run(tmp_path, "--catch-up") == (0, "ran\n")
    assert run(tmp_path, "--catch-up") == (0, "")


def test_a_new_job_waits_for_its_first_time(tmp_path: Path) -> None:
    assert run(tmp_path, "--catch-up") == (0, "")
    assert run(tmp_path, "--catch-up") == (0, "")
    forget(tmp_path, days=2)
    assert run(tmp_path, "--catch-up") == (0, "ran\n")


def test_a_stamp_that_is_broken_does_not_stop_the_job(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state/job.json").write_text("{not JSON")
    assert run(tmp_path) == (0, "ran\n")


def test_the_exit_status_is_passed_on_and_remembered(tmp_path: Path) -> None:
    assert run(tmp_path, code="raise SystemExit(6)")[0] == 6
    seen = json.loads((tmp_path / "state/job.json").read_text())
    assert seen["status"] == 6
    (tmp_path / "state/job.json").rename(tmp_path / "state/insight-backup-daily.json")
    assert runner.last(tmp_path / "state", "insight-backup-daily").startswith(
        "failed with status 6, "
    )
    assert runner.last(tmp_path / "state", "insight-backup-never") == ""


def test_a_job_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    assert run(tmp_path, "--limit", "1", code="import time; time.sleep(60)")[0] == 124


def test_two_runs_do_not_overlap(tmp_path: Path) -> None:
    code = "import sys, time; print('first', flush=True); sys.stdin.read(); time.sleep(60)"
    with start(tmp_path, code=code) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "first\n"
        forget(tmp_path, days=2)
        assert run(tmp_path, "--catch-up") == (0, "")
        first.terminate()
        first.communicate(timeout=60)


def test_a_signal_reaches_the_job(tmp_path: Path) -> None:
    code = (
        "import signal, sys, time\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(__import__('os').getpid()))\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(9))\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)\n"
    )
    with start(tmp_path, code=code) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 9
    pid = int((tmp_path / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_it_runs_in_its_directory(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    code = "import os; print(os.path.basename(os.getcwd()))"
    assert run(tmp_path, "--directory", str(tmp_path / "there"), code=code) == (0, "there\n")


def test_what_cannot_run_is_told(tmp_path: Path) -> None:
    status, said = run(tmp_path, "--directory", str(tmp_path / "none"))
    assert status == 1
    assert "none" in said


@given(WHENS, st.lists(st.integers(1, 20_000), min_size=1, max_size=40))
def test_no_time_is_missed_for_longer_than_the_pause(when: When, pauses: list[int]) -> None:
    """Whenever the machine is looked at, the job has run since its last time, and once only."""
    now = last = NOW
    runs = 0
    for minutes in pauses:
        now += timedelta(minutes=minutes)
        if is_due(when, last, now, catch_up=True):
            assert last < when.previous(now)
            last, runs = now, runs + 1
        assert not is_due(when, last, now, catch_up=True)
        assert last >= when.previous(now)
    assert runs <= len(pauses)


def test_a_job_that_never_ran_runs_at_its_time_only() -> None:
    assert is_due(daily("02:00"), None, NOW, catch_up=False)
    assert not is_due(daily("02:00"), None, NOW, catch_up=True)
