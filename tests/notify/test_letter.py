"""A letter to one person, who is none of the operator's recipients."""

from __future__ import annotations

import pytest

from insight_cloud.core.errors import SettingsError, Unavailable
from insight_cloud.notify import Mail
from tests.notify.receivers import mail_server


def sender(port: int) -> Mail:
    return Mail(
        "127.0.0.1", to=["ops@example.com"], sender="a@example.com", port=port, security="none"
    )


async def test_a_letter_goes_to_one_person_only() -> None:
    async with mail_server() as server:
        await sender(server.port).post("ada@example.com", "Hello\r\nBcc: x@y.z", "A text\n")
        assert server.recipients == [["ada@example.com"]]
        assert server.letters[0]["subject"] == "Hello Bcc: x@y.z"
        assert server.letters[0]["bcc"] is None
        assert server.letters[0].get_content().split() == ["A", "text"]


@pytest.mark.parametrize("to", ["", "nobody", "a@b.c, d@e.f", "a@b.c\r\nBcc: d@e.f"])
async def test_what_is_no_single_address_is_refused(to: str) -> None:
    async with mail_server() as server:
        with pytest.raises(SettingsError):
            await sender(server.port).post(to, "Hello", "A text\n")
        assert server.letters == []


async def test_a_server_that_is_away_is_said() -> None:
    with pytest.raises(Unavailable):
        await sender(1).post("ada@example.com", "Hello", "A text\n")
