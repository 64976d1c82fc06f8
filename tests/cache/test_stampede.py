"""Two processes and a hundred callers in each want one missing value at the same moment."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from tests.redis import redis_server as own_redis_server

_ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("work_seconds", [0.1, 3.0])
async def test_one_computes_and_few_commands_are_sent(work_seconds: float) -> None:
    with own_redis_server() as server:
        command = [sys.executable, "-m", "tests.cache.stampede", server.url, uuid4().hex, "100"]
        processes = [
            await asyncio.create_subprocess_exec(
                *command,
                str(work_seconds),
                cwd=_ROOT,
                env={},
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
            for _ in range(2)
        ]
        for process in processes:
            assert await _line(process) == "ready"
        before = server.commands_processed()
        for process in processes:
            _tell(process)
        results = [await _line(process) for process in processes]
        commands = server.commands_processed() - before
        for process in processes:
            _tell(process)
            assert await process.wait() == 0
    computed, served = zip(*(map(int, line.split()) for line in results), strict=True)
    assert sum(computed) == 1
    assert served == (100, 100)
    assert commands <= 50


async def _line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    return (await asyncio.wait_for(process.stdout.readline(), 30)).decode().strip()


def _tell(process: asyncio.subprocess.Process) -> None:
    assert process.stdin is not None
    process.stdin.write(b"go\n")
