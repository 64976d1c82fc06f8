"""The example says which routes the rules would stop, and which would be cached."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_routes_of_the_example_are_judged() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "edge_rules.py"],
        cwd=EXAMPLES,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "pass  GET /api/me: passes, never cached" in done.stdout
    assert "fail  GET /wp-admin: is blocked by wordpress" in done.stdout
    assert "pass  GET /blog/{slug}: passes" in done.stdout
    assert "warn  GET /blog/{slug} as /blog/x.png: is cached for its extension" in done.stdout
