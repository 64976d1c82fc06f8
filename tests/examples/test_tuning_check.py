from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).resolve().parents[2] / "examples/tuning_check.py"


async def test_the_example_looks_at_a_database(database_url: str) -> None:
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, str(EXAMPLE)],
        env={**os.environ, "DATABASE_URL": database_url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "pass  database.index.invalid" in done.stdout
    assert "skip  database.statement.slow" in done.stdout
