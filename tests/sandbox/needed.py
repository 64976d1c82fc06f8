"""The sandbox that the tests use, where there can be one."""

from __future__ import annotations

import os

import pytest

from insight_cloud import wiring
from insight_cloud.sandbox import Sandbox, SandboxSettings
from insight_cloud.settings import Settings

__all__ = ["UID", "sandbox"]

UID = 1_000_000 + os.getpid()


async def sandbox() -> Sandbox:
    """Our sandbox; the test is skipped where none is possible, and fails on the build server."""
    # A user of this test process alone: others may be testing at the same time.
    found = wiring.sandbox(Settings(sandbox=SandboxSettings(uid=UID)))
    isolation = await found.isolation()
    if not isolation.active:
        if os.environ.get("CI") == "true":
            pytest.fail(isolation.detail)
        pytest.skip(isolation.detail)
    return found
