"""A dead man's switch on loopback and a notifier that remembers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from insight_cloud.backup import Announcer
from insight_cloud.core.errors import Unavailable


class Switch:
    def __init__(self) -> None:
        self.paths: list[str] = []
        self.status = 200
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.paths.append(head.split()[1].decode())
        writer.write(f"HTTP/1.1 {self.status} X\r\ncontent-length: 0\r\n\r\n".encode())
        await writer.drain()
        writer.close()


@pytest.fixture
async def switch() -> AsyncIterator[Switch]:
    made = Switch()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/secret-path"
    async with server:
        yield made


async def test_success_and_failure_reach_the_switch_and_people(switch: Switch) -> None:
    heard: list[tuple[str, str]] = []

    async def notify(event: str, subject: str, detail: str) -> None:
        heard.append((event, subject))

    quiet = Announcer(notify, switch.url)
    assert await quiet.succeeded("fine", "") == []
    assert await quiet.failed("broken", "") == []
    assert switch.paths == ["/secret-path", "/secret-path/fail"]
    assert heard == [("failed", "broken")]
    await Announcer(notify, successes=True).succeeded("fine", "")
    assert heard[-1] == ("succeeded", "fine")


async def test_telling_that_fails_is_said_without_the_address(switch: Switch) -> None:
    async def notify(event: str, subject: str, detail: str) -> None:
        raise Unavailable("Slack is away")

    switch.status = 500
    found = await Announcer(notify, switch.url).failed("broken", "")
    assert len(found) == 2
    assert "secret-path" not in "".join(found)
    assert switch.url not in repr(Announcer(notify, switch.url))
    assert await Announcer(None, "nonsense").succeeded("fine", "") != []
    assert await Announcer().failed("broken", "") == []
