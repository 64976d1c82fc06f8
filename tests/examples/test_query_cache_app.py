"""The example of the query cache asks once until somebody writes."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest


@pytest.fixture
async def example(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    """The module, with its application started as a server does it."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.delitem(sys.modules, "examples.query_cache_app", raising=False)
    module = importlib.import_module("examples.query_cache_app")
    inbox: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    outbox: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    inbox.put_nowait({"type": "lifespan.startup"})
    running = asyncio.create_task(module.app({"type": "lifespan"}, inbox.get, outbox.put))
    assert (await outbox.get())["type"] == "lifespan.startup.complete"
    yield module
    inbox.put_nowait({"type": "lifespan.shutdown"})
    await running
    assert (await outbox.get())["type"] == "lifespan.shutdown.complete"


async def test_the_database_is_asked_once_until_somebody_writes(example: Any) -> None:
    transport = httpx.ASGITransport(example.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        answers = await asyncio.gather(*(client.get("/") for _ in range(20)))
        assert {answer.text for answer in answers} == {""}
        assert (await client.post("/tree")).text == "tree"
        assert (await client.get("/")).text == "tree"
        assert (await client.post("/apple")).text == "apple\ntree"
    calls = [one.calls for one in example.pool.recorder.statements() if "pg_sleep" in one.name]
    assert calls == [3]
