"""The example of notifications tells a failure once, and the visitor does not wait for it."""

from __future__ import annotations

import asyncio
import importlib
import sys

import httpx
import pytest

from tests.notify.receivers import receiver, slack_answer


async def test_a_failure_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiver(slack_answer) as slack:
        monkeypatch.setenv("SLACK_WEBHOOK_URL", slack.url)
        monkeypatch.delitem(sys.modules, "examples.notify_app", raising=False)
        example = importlib.import_module("examples.notify_app")
        transport = httpx.ASGITransport(example.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            assert (await client.get("/")).status_code == 200
            for _ in range(3):
                assert (await client.get("/broken")).status_code == 500
        await asyncio.gather(*example.telling)
    (received,) = slack.received
    assert received.json()["text"] == "[error] A page failed"
