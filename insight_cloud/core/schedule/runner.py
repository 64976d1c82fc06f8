"""Run a job at most once for each of its times: cron's missing half, and launchd's.

    python -m insight_cloud.core.schedule --stamp FILE --when 'daily 02:00' -- COMMAND

FILE remembers when the job ran. It is not run when it has run since its last time, or while
it runs. With `--catch-up` a job that has never run waits for its first time.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from insight_cloud.core.errors import InsightError
from insight_cloud.core.schedule.job import Job
from insight_cloud.core.schedule.scheduler import write_file
from insight_cloud.core.schedule.when import When, parse

__all__ = ["command", "is_due", "last", "main"]

_BURIAL_SECONDS = 20
_TIMED_OUT = 124  # as timeout(1) says it


def command(job: Job, *, state: Path, python: str, catch_up: bool) -> list[str]:
    """Return the command line of this module for a job whose stamp lies in `state`."""
    words = [python, "-P", "-m", "insight_cloud.core.schedule"]
    words += ["--stamp", str(_stamp(state, job.unit)), "--when", str(job.when)]
    words += ["--limit", str(int(job.limit.total_seconds()))]
    if job.delay:
        words += ["--delay", str(int(job.delay.total_seconds()))]
    if job.directory:
        words += ["--directory", str(job.directory)]
    if catch_up:
        words.append("--catch-up")
    return [*words, "--", *job.command]


def last(state: Path, unit: str) -> str:
    """Say how a job ended the last time, as far as its stamp knows."""
    try:
        seen = json.loads(_stamp(state, unit).read_text())
        if "status" not in seen:
            return ""
        ended = f"{datetime.fromisoformat(seen['ended']).astimezone():%Y-%m-%d %H:%M}"
        status = int(seen["status"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return f"succeeded, {ended}" if status == 0 else f"failed with status {status}, {ended}"


def _stamp(state: Path, unit: str) -> Path:
    return state / f"{unit}.json"


def is_due(when: When, last: datetime | None, now: datetime, *, catch_up: bool) -> bool:
    """Whether the job should run now, having run at `last`."""
    if last is None:
        return not catch_up
    return last < when.previous(now)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job if it is due; its exit status, or 0."""
    given = _parser().parse_args(arguments)
    try:
        return _run(given, parse(given.when))
    except (InsightError, OSError) as error:
        sys.stderr.write(f"insight: {error}\n")
        return getattr(error, "exit_status", 1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Run a command at most once for each time.")
    parser.add_argument("--stamp", type=Path, required=True)
    parser.add_argument("--when", required=True)
    parser.add_argument("--catch-up", action="store_true")
    parser.add_argument("--delay", type=int, default=0, help="most seconds to wait at random")
    parser.add_argument("--limit", type=int, required=True, help="seconds it may take")
    parser.add_argument("--directory", type=Path)
    parser.add_argument("command", nargs="+")
    return parser


def _run(given: argparse.Namespace, when: When) -> int:
    given.stamp.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with given.stamp.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return 0  # it is running
        now, last = datetime.now(UTC), _started(given.stamp)
        if is_due(when, last, now, catch_up=given.catch_up):
            return _execute(given, now)
        if last is None:
            _write(given.stamp, started=now)  # from here on it can be missed
        return 0


def _execute(given: argparse.Namespace, now: datetime) -> int:
    _write(given.stamp, started=now)
    time.sleep(random.uniform(0, given.delay))  # noqa: S311 - spreads load, hides nothing
    status = _wait(given)
    _write(given.stamp, started=now, ended=datetime.now(UTC), status=status)
    return status


def _wait(given: argparse.Namespace) -> int:
    """Run the command with its time limit; a signal to us is passed on to it."""
    child = subprocess.Popen(given.command, cwd=given.directory, start_new_session=True)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _: _signal(child, number))
    try:
        status = child.wait(given.limit)
    except subprocess.TimeoutExpired:
        _signal(child, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_BURIAL_SECONDS)
        _signal(child, signal.SIGKILL)
        child.wait()
        return _TIMED_OUT
    return 128 - status if status < 0 else status


def _signal(child: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, number)


def _started(stamp: Path) -> datetime | None:
    """When it ran last; a stamp that cannot be read counts as none."""
    try:
        return datetime.fromisoformat(json.loads(stamp.read_text())["started"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(
    stamp: Path, *, started: datetime, ended: datetime | None = None, status: int | None = None
) -> None:
    seen: dict[str, object] = {"started": started.isoformat(timespec="seconds")}
    if ended is not None:
        seen |= {"ended": ended.isoformat(timespec="seconds"), "status": status}
    write_file(stamp, json.dumps(seen) + "\n", mode=0o600)
