"""Apprise's own client speaks to a local receiver: in a child process, as the service does it."""

from __future__ import annotations

import importlib.util
import sys

import pytest

from insight_cloud.core.errors import Refused, SettingsError
from insight_cloud.notify import Apprise, Message
from tests.notify.receivers import Answer, receiver

MESSAGE = Message("Alarm für dich", "Ein Fehler", severity="error", facts={"since": "10:04"})


async def test_apprise_says_it() -> None:
    async with receiver() as one:
        channel = Apprise(f"json://127.0.0.1:{one.port}/s3cr3t")
        assert channel.name == "json"
        await channel.deliver(MESSAGE)
    (received,) = one.received
    assert received.path.rstrip("/") == "/s3cr3t"
    found = received.json()
    assert found["title"] == "[error] Alarm für dich"
    assert found["message"].startswith("Ein Fehler\n\nsince: 10:04\n\nerror · ")
    assert found["type"] == "failure"
    assert "apprise" not in sys.modules, "it is loaded in the child only"


@pytest.mark.parametrize("status", [307, 403, 500])
async def test_a_service_that_does_not_take_it_is_told(status: int) -> None:
    async with receiver() as target:
        location = f"Location: http://127.0.0.1:{target.port}/"
        async with receiver(Answer(status, "s3cr3t", (location,))) as one:
            with pytest.raises(Refused, match=r"^json: the service did not take it$"):
                await Apprise(f"json://127.0.0.1:{one.port}/s3cr3t").deliver(MESSAGE)
        assert target.received == []


async def test_an_url_that_apprise_does_not_know_is_for_the_operator_to_correct() -> None:
    with pytest.raises(SettingsError, match=r"^nonsense: Apprise cannot use the URL$"):
        await Apprise("nonsense://s3cr3t").deliver(MESSAGE)
    with pytest.raises(SettingsError, match="must begin with the name of a service"):
        Apprise("s3cr3t")


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(SettingsError, match=r"pip install 'insight-cloud\[apprise\]'"):
        Apprise("json://127.0.0.1/s3cr3t")
