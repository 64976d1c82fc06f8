"""Child processes: whatever they do, they end, and nothing of them stays behind."""

import asyncio
import contextlib
import os
import sys
from pathlib import Path

import pytest

from insight_cloud.core import process
from insight_cloud.core.errors import Missing


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


async def test_a_child_is_fed_and_heard() -> None:
    code = "import sys; print(sys.stdin.read().upper()); print('no', file=sys.stderr); sys.exit(3)"
    outcome = await process.run(python(code), timeout_seconds=20, stdin=b"hello")
    assert (outcome.status, outcome.stdout, outcome.stderr_tail) == (3, b"HELLO\n", "no")


async def test_a_child_that_takes_too_long_is_killed_with_its_children(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    code = (
        "import subprocess, time; child = subprocess.Popen(['sleep', '60']); "
        f"open({str(note)!r}, 'w').write(str(child.pid)); "
        "time.sleep(60)"
    )
    outcome = await process.run(python(code), timeout_seconds=3)
    assert outcome.timed_out
    assert outcome.status is None
    assert not await is_alive(int(note.read_text()))


async def test_a_child_that_says_too_much_is_killed() -> None:
    outcome = await process.run(
        python("while True: print('x' * 1000)"), timeout_seconds=20, output_bytes=10_000
    )
    assert outcome.truncated
    assert len(outcome.stdout) == 10_000


async def test_a_cancelled_caller_leaves_no_child(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    code = f"import os, time; open({str(note)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    running = asyncio.create_task(process.run(python(code), timeout_seconds=60))
    while not (note.exists() and note.read_text()):  # noqa: ASYNC110 - a file has no event
        await asyncio.sleep(0.01)
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    assert not await is_alive(int(note.read_text()))


async def test_a_caller_cancelled_during_the_start_leaves_no_child(tmp_path: Path) -> None:
    for turns in range(12):
        note = tmp_path / f"pid{turns}"
        code = f"import os, time; open({str(note)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
        running = asyncio.create_task(process.run(python(code), timeout_seconds=60))
        for _ in range(turns):
            await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(running, 20)
        assert not note.exists() or not await is_alive(int(note.read_text()))


async def test_a_grandchild_that_leaves_the_group_does_not_hold_us(tmp_path: Path) -> None:
    code = "import subprocess; subprocess.Popen(['sleep', '20'], start_new_session=True)"
    outcome = await asyncio.wait_for(process.run(python(code), timeout_seconds=2), 15)
    assert outcome.timed_out


async def test_a_missing_program_is_named() -> None:
    with pytest.raises(Missing, match="no-such-program"):
        await process.run(["no-such-program"], timeout_seconds=1)


async def test_the_environment_is_what_is_given() -> None:
    code = "import os; print(sorted(os.environ))"
    outcome = await process.run(
        [sys.executable, "-I", "-c", code], timeout_seconds=20, environment={"ONLY": "1"}
    )
    assert b"'ONLY'" in outcome.stdout
    assert b"HOME" not in outcome.stdout


async def is_alive(pid: int) -> bool:
    """Whether `pid` runs; a killed grandchild may take a moment until init has reaped it."""
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        if _state(pid) == "Z":
            return False
        await asyncio.sleep(0.02)
    return True


def _state(pid: int) -> str:
    """The letter that Linux gives a process: Z is dead and waits to be noticed."""
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
