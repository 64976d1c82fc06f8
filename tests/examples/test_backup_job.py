"""The example backs a foreign database up and proves it."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from tests import postgres
from tests.backup import world

EXAMPLE = Path(__file__).parents[2] / "examples/backup_job.py"


async def test_it_backs_up_and_proves(tmp_path: Path) -> None:
    postgres.require_debian()
    with postgres.debian() as server:
        await server.ready()
        async with world.rich(server.url) as url:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                EXAMPLE,
                (tmp_path / "store").as_uri(),
                env={"PATH": os.environ["PATH"], "DATABASE_URL": url},
                stdout=asyncio.subprocess.PIPE,
            )
            out, _ = await process.communicate()
    assert process.returncode == 0
    assert out.decode().count("pass") == 4
    assert out.decode().endswith("nothing to do\n")
