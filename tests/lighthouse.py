"""Lighthouse as `scripts/node` installs it, over pages that the tests serve on loopback.

    result = await lighthouse.look(url, headers={"cookie": "…"})
    assert result.audits["unsized-images"].score == 1

A busy machine spoils what is timed (the performance score and all that goes into it), so tests
assert what is counted: audits, bytes, shifts, the other three scores. Times belong to `bench/`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from insight_cloud.core.lighthouse import CATEGORIES, Result, audit

__all__ = ["CHROMIUM", "PROGRAM", "look", "require"]

CHROMIUM = Path(os.environ.get("TEST_CHROMIUM", "/usr/bin/chromium"))
PROGRAM = Path(__file__).parent / "node/node_modules/.bin/lighthouse"
SECONDS = 400
"""A run takes 15 s on a free processor; beside a whole test run it has taken 100."""


def require() -> None:
    """Skip the test where a program is missing; under CI=true it fails."""
    for program, hint in ((CHROMIUM, "set TEST_CHROMIUM"), (PROGRAM, "scripts/setup --tests")):
        if not program.exists():
            reason = f"{program} is missing: {hint}"
            if os.environ.get("CI") == "true":
                pytest.fail(reason)
            pytest.skip(reason)


async def look(
    url: str,
    *,
    categories: Sequence[str] = CATEGORIES,
    desktop: bool = False,
    headers: Mapping[str, str] | None = None,
) -> Result:
    """Audit a page; give the test `@pytest.mark.timeout(2 * lighthouse.SECONDS)`."""
    require()
    return await audit(
        url,
        program=PROGRAM,
        chromium=CHROMIUM,
        categories=categories,
        desktop=desktop,
        headers=headers,
        timeout_seconds=SECONDS,
    )
