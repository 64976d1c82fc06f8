"""What the tests of the edge share: the stand-in in this process, and a zone that speaks to it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, date, datetime
from pathlib import Path

import httpx

from insight_cloud.edge import file
from insight_cloud.edge.cloudflare import Cloudflare
from insight_cloud.edge.fake import TOKEN, ZONE, Cut, Fake, serve
from insight_cloud.edge.planning import EdgePlan, plan
from insight_cloud.edge.tiers import Tier
from insight_cloud.edge.wanted import Wanted, wanted
from insight_cloud.edge.zone import Progress, Zone

URL = "http://127.0.0.1:1/client/v4"
TODAY = date(2026, 11, 25)
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
TIERS = (
    Tier("api", 100, 900),
    Tier("auth", 5, 900),
    Tier("strict", 10, 3600),
    Tier("analysis", 20, 86400),
)


class Wire(httpx.AsyncBaseTransport):
    """The way from the client to the stand-in, without a socket."""

    def __init__(self, fake: Fake) -> None:
        self.fake = fake

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        body = await request.aread()
        headers = {name.lower(): value for name, value in request.headers.items()}
        query = request.url.query.decode()
        try:
            answer = await self.fake.answer(request.method, request.url.path, query, headers, body)
        except Cut as cut:
            raise httpx.ReadError("the connection was cut") from cut
        return httpx.Response(answer.status, headers=list(answer.headers), content=answer.body)


class Waits:
    """Sleeping without time passing; the seconds are remembered."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


def client(fake: Fake, *, token: str = TOKEN, waits: Waits | None = None) -> Cloudflare:
    return Cloudflare(token, url=URL, transport=Wire(fake), sleep=waits or Waits())


@asynccontextmanager
async def zone_of(
    fake: Fake, folder: Path, *, progress: Progress = lambda _step, _said: None
) -> AsyncIterator[Zone]:
    async with client(fake) as api:
        yield Zone(api, ZONE, snapshots=folder, clock=lambda: NOW, progress=progress)


def asked(text: str = "", *, today: date = TODAY) -> Wanted:
    """What the file `text`, by default the shipped one, asks for."""
    return wanted(file.read(text or file.default()), today=today, tiers=TIERS)


async def planned(zone: Zone, want: Wanted) -> EdgePlan:
    extra = [name for name in want.items if name != "bot_management"]
    return plan(await zone.read(extra), want)


@contextmanager
def answering(fake: Fake) -> Iterator[str]:
    """Serve the stand-in in a thread beside the body, for programs that come over a socket.

    Yields its URL. At the end, nothing may have broken the schema.
    """
    urls: list[str] = []
    started, ended = threading.Event(), threading.Event()

    async def stand() -> None:
        async with serve(fake) as url:
            urls.append(url)
            started.set()
            await asyncio.to_thread(ended.wait)

    thread = threading.Thread(target=lambda: asyncio.run(stand()))
    thread.start()
    try:
        assert started.wait(30)
        yield urls[0]
    finally:
        ended.set()
        thread.join(30)
    assert fake.flaws == []
