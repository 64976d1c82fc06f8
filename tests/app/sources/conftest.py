"""Fixtures: the same project as for analyses, and a sandbox."""

from __future__ import annotations

import pytest

from insight_cloud.sandbox import Sandbox
from tests.app.analyses.conftest import site
from tests.sandbox import needed

__all__ = ["sandbox", "site"]


@pytest.fixture
async def sandbox() -> Sandbox:
    """A sandbox; without one the test is skipped."""
    return await needed.sandbox()
