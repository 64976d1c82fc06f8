"""Servers and worlds for the tests of the launch."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.launch.world import Servers, World
from tests.redis import redis_server_fixture

__all__ = ["redis_server_fixture"]


@pytest.fixture(scope="session")
def servers(postgres_url: str) -> Iterator[Servers]:
    """The servers of the session."""
    with contextlib.ExitStack() as stack:
        yield Servers(stack, postgres_url)


@pytest.fixture
async def world(tmp_path: Path, servers: Servers) -> AsyncIterator[World]:
    """A world with nothing in it."""
    folder = tmp_path / "project"
    folder.mkdir()
    async with AsyncExitStack() as stack:
        yield World(folder, servers, stack)
