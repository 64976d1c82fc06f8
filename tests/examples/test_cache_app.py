"""The example of the cache does what it shows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from examples import cache_app


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(cache_app.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client
    await cache_app.cache.close()


async def test_a_report_is_computed_once_until_it_is_invalidated(
    client: httpx.AsyncClient,
) -> None:
    answers = await asyncio.gather(*(client.get("/weekly") for _ in range(20)))
    first = answers[0].json()
    assert [answer.json() for answer in answers] == [first] * 20
    assert first["name"] == "weekly"
    assert (await client.get("/weekly")).json() == first
    assert (await client.delete("/weekly")).json()["computed"] == first["computed"] + 1
