"""What protects this machine from the code that it analyses, for the health page."""

from __future__ import annotations

from insight_cloud.core.report import Check
from insight_cloud.sandbox.sandbox import Sandbox

__all__ = ["check"]


async def check(sandbox: Sandbox) -> list[Check]:
    """One check: which isolation is active. None is a warning, because the rest works without."""
    found = await sandbox.isolation()
    if not found.active:
        detail = f"none, so no code is analysed here: {found.detail}"
        return [Check("sandbox.isolation", "warn", detail)]
    return [Check("sandbox.isolation", "pass" if found.memory else "warn", found.detail)]
