"""Every database test runs on both servers."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests import postgres
from tests.redis import redis_server_fixture

__all__ = ["redis_server_fixture"]


@pytest.fixture(scope="session", params=["embedded", "debian"])
async def postgres_url(request: pytest.FixtureRequest, embedded_url: str) -> AsyncIterator[str]:
    """The embedded server, then Debian's; CI must have both."""
    if request.param == "embedded":
        yield embedded_url
        return
    postgres.require_debian()
    with postgres.debian() as server:
        await server.ready()
        yield server.url
