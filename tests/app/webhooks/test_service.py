"""Webhooks against a real receiver: signed, tried again, told once by many, and never inside."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from insight_cloud.app.triage import service as triage
from insight_cloud.app.triage.models import Selection
from insight_cloud.app.triage.models import Verdict as Decision
from insight_cloud.app.webhooks import service
from insight_cloud.app.webhooks.models import Delivery, NewWebhook
from insight_cloud.app.webhooks.send import Sender
from insight_cloud.core.errors import Conflict, Invalid, Missing
from insight_cloud.settings import Settings, WebhooksSettings
from tests.app.analyses.conftest import Site, finding, run

HIGH = finding("H", severity="high")


@dataclass
class Receiver:
    """A small HTTP server that keeps what it was sent."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    body: bytes = b"thank you"
    headers: bytes = b""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {k.lower(): v for k, v in (one.split(": ", 1) for one in head[1:] if one)}
            sent = await reader.readexactly(int(headers.get("content-length", "0")))
            self.got.append((headers, sent))
            status = self.statuses.pop(0) if self.statuses else 204
            size = b"" if status == 204 else f"content-length: {len(self.body)}\r\n".encode()
            writer.write(f"HTTP/1.1 {status} X\r\n".encode() + size + self.headers + b"\r\n")
            if status != 204:
                writer.write(self.body)
            await writer.drain()
        writer.close()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    one = Receiver()
    server = await asyncio.start_server(one.answer, "127.0.0.1", 0)
    one.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    async with server:
        yield one


@pytest.fixture
def inside(site: Site) -> Site:
    """A site whose operator lets webhooks into the own network."""
    settings = Settings(webhooks=WebhooksSettings(allow_private=True))
    site.context = replace(site.context, settings=settings)
    return site


SENDER = Sender(allow_private=True, timeout_seconds=2)


async def hook(site: Site, url: str, *events: Any) -> NewWebhook:
    return await service.add(
        site.context, site.caller, site.project, url=url, events=events or ("gate.changed",)
    )


async def told(site: Site, made: NewWebhook) -> tuple[Delivery, ...]:
    page = await service.deliveries(site.context, site.project, made.webhook.id)
    return tuple(reversed(page.items))


async def deliver(site: Site) -> int:
    return await service.deliver_due(site.context, SENDER)


# -- what is told ----------------------------------------------------------------------------


async def test_what_happens_is_told_signed_and_once(inside: Site, receiver: Receiver) -> None:
    site = inside
    made = await hook(site, receiver.url, "analysis.finished", "gate.changed", "issues.judged")
    await site.analyse(run(), commit="1")
    await site.analyse(run(HIGH), commit="2")
    (issue,) = await site.issues()
    decision = Decision("false_positive", "a test")
    await triage.judge(site.context, site.caller, site.project, Selection((issue.id,)), decision)
    assert await deliver(site) == 5
    assert await deliver(site) == 0
    sent = [json.loads(body) for _, body in receiver.got]
    by_type: dict[str, list[dict[str, Any]]] = {}
    for one in sent:
        by_type.setdefault(one["type"], []).append(one["data"])
    # Sent side by side: they may arrive in any order.
    assert sorted(one["verdict"] for one in by_type["analysis.finished"]) == ["failed", "passed"]
    assert sorted((one["before"], one["verdict"]) for one in by_type["gate.changed"]) == [
        ("failed", "passed"),
        ("passed", "failed"),
    ]
    assert by_type["issues.judged"][0]["reason"] == "a test"
    for headers, body in receiver.got:
        key = base64.b64decode(made.secret.removeprefix("whsec_"))
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        mac = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        assert headers["webhook-signature"] == f"v1,{mac}"
    assert {one.state for one in await told(site, made)} == {"delivered"}
    assert made.secret not in repr(made)
    assert made.secret not in str(await service.listed(site.context, site.project))


async def test_what_is_rolled_back_is_never_told(inside: Site, receiver: Receiver) -> None:
    made = await hook(inside, receiver.url, "analysis.finished")
    with pytest.raises(Invalid):
        await inside.upload(b"{")
    assert await told(inside, made) == ()
    await inside.analyse(run(), commit="1", branch="x")
    assert len(await told(inside, made)) == 1


async def test_only_the_chosen_events_are_told(inside: Site, receiver: Receiver) -> None:
    made = await hook(inside, receiver.url, "gate.changed")
    await inside.analyse(run(), commit="1")
    await inside.analyse(run(), commit="2")
    assert await told(inside, made) == ()


# -- when it does not arrive -----------------------------------------------------------------


async def test_a_message_is_tried_again_later_and_later(inside: Site, receiver: Receiver) -> None:
    receiver.statuses = [500, 302, 429]
    made = await hook(inside, receiver.url)
    await service.ping(inside.context, inside.project, made.webhook.id)
    for tries, wait in enumerate(service.TRIES[:3], start=1):
        assert await deliver(inside) == 1
        (one,) = await told(inside, made)
        assert (one.state, one.tries) == ("pending", tries)
        assert one.next_try_at == inside.time[0] + wait
        inside.time[0] += wait - timedelta(seconds=1)
        assert await deliver(inside) == 0
        inside.time[0] += timedelta(seconds=1)
    assert await deliver(inside) == 1
    (one,) = await told(inside, made)
    assert (one.state, one.tries, one.status) == ("delivered", 4, 204)
    assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 1


async def test_after_the_last_try_it_is_given_up(inside: Site, receiver: Receiver) -> None:
    receiver.statuses = [503] * 20
    made = await hook(inside, receiver.url)
    await service.ping(inside.context, inside.project, made.webhook.id)
    for _ in service.TRIES:
        assert await deliver(inside) == 1
        inside.pass_days(1)
    assert await deliver(inside) == 0
    (one,) = await told(inside, made)
    assert (one.state, one.tries, one.status) == ("failed", len(service.TRIES), 503)
    receiver.statuses = []
    again = await service.redeliver(inside.context, inside.project, made.webhook.id, one.id)
    await deliver(inside)
    (first, second) = await told(inside, made)
    assert (second.id, second.state) == (again, "delivered")
    assert (second.message_id, second.payload) == (first.message_id, first.payload)


async def test_a_receiver_that_is_gone_is_not_told_any_more(
    inside: Site, receiver: Receiver
) -> None:
    receiver.statuses = [410]
    made = await hook(inside, receiver.url, "analysis.finished")
    await service.ping(inside.context, inside.project, made.webhook.id)
    await inside.analyse(run(), commit="1")
    await service.deliver_due(replace(inside.context), SENDER)
    (shown,) = await service.listed(inside.context, inside.project)
    assert "410" in shown.disabled_because
    await inside.analyse(run(), commit="2")
    assert len(await told(inside, made)) == 2
    await service.set_enabled(
        inside.context, inside.caller, inside.project, made.webhook.id, enabled=True
    )
    await inside.analyse(run(), commit="3")
    assert len(await told(inside, made)) == 3


async def test_nobody_listening_is_an_answer_too(inside: Site, unused_tcp_port: int) -> None:
    made = await hook(inside, f"http://127.0.0.1:{unused_tcp_port}/")
    await service.ping(inside.context, inside.project, made.webhook.id)
    await deliver(inside)
    (one,) = await told(inside, made)
    assert (one.state, one.status) == ("pending", None)
    assert "cannot be reached" in one.answer


async def test_a_receiver_that_never_answers_is_left_in_time(inside: Site) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        made = await hook(inside, f"http://127.0.0.1:{port}/")
        await service.ping(inside.context, inside.project, made.webhook.id)
        await service.deliver_due(inside.context, Sender(allow_private=True, timeout_seconds=0.2))
    (one,) = await told(inside, made)
    assert "no answer within 0.2 s" in one.answer


async def test_an_endless_answer_is_cut(inside: Site, receiver: Receiver) -> None:
    receiver.statuses, receiver.body = [500], b"x\x00" * 50_000
    made = await hook(inside, receiver.url)
    await service.ping(inside.context, inside.project, made.webhook.id)
    await deliver(inside)
    (one,) = await told(inside, made)
    assert len(one.answer) <= 2000
    assert "\x00" not in one.answer


# -- many processes --------------------------------------------------------------------------


async def test_of_many_senders_each_message_is_taken_by_one(
    inside: Site, receiver: Receiver
) -> None:
    made = await hook(inside, receiver.url)
    for _ in range(25):
        await service.ping(inside.context, inside.project, made.webhook.id)

    async def work() -> None:
        while await deliver(inside):
            pass

    await asyncio.gather(*(work() for _ in range(4)))
    ids = [headers["webhook-id"] for headers, _ in receiver.got]
    assert len(ids) == len(set(ids)) == 25


async def test_a_message_of_a_process_that_died_is_sent_by_another(
    inside: Site, receiver: Receiver
) -> None:
    made = await hook(inside, receiver.url)
    await service.ping(inside.context, inside.project, made.webhook.id)

    class Dies(Sender):
        async def post(self, url: str, body: bytes, headers: dict[str, str]) -> Any:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await service.deliver_due(inside.context, Dies())
    assert await deliver(inside) == 0
    inside.time[0] += timedelta(seconds=60)
    assert await deliver(inside) == 1
    (one,) = await told(inside, made)
    assert (one.state, one.tries) == ("delivered", 2)


# -- where it may not lead -------------------------------------------------------------------


async def test_a_name_that_leads_inside_is_refused_when_it_is_sent(
    site: Site, receiver: Receiver
) -> None:
    port = int(receiver.url.rsplit(":", 1)[1].split("/")[0])

    async def find(host: str, port: int) -> list[str]:
        return {"evil.example": ["8.8.8.8", "127.0.0.1"], "mapped.example": ["::ffff:127.0.0.1"]}[
            host
        ]

    sender = Sender(find=find, timeout_seconds=2)
    for host in ("evil.example", "mapped.example"):
        answer = await sender.post(f"http://{host}:{port}/", b"{}", {})
        assert answer.status is None
        assert "not on the public internet" in answer.text
    assert receiver.got == []
    with pytest.raises(Invalid):
        await hook(site, receiver.url)


async def test_a_name_is_resolved_once_and_its_address_used(receiver: Receiver) -> None:
    asked: list[str] = []

    async def find(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    port = receiver.url.rsplit(":", 1)[1].split("/")[0]
    sender = Sender(find=find, allow_private=True, timeout_seconds=2)
    answer = await sender.post(f"http://hooks.example:{port}/x", b"{}", {})
    assert (answer.status, asked) == (204, ["hooks.example"])
    assert receiver.got[0][0]["host"] == f"hooks.example:{port}"


async def test_a_redirect_is_not_followed(inside: Site, receiver: Receiver) -> None:
    receiver.statuses = [302]
    receiver.headers = f"location: {receiver.url}/inside\r\n".encode()
    answer = await SENDER.post(receiver.url, b"{}", {})
    assert (answer.status, answer.is_taken, len(receiver.got)) == (302, False, 1)


# -- what maintainers do ---------------------------------------------------------------------


async def test_a_webhook_is_listed_paused_and_removed(inside: Site, receiver: Receiver) -> None:
    site = inside
    made = await hook(site, receiver.url, "gate.changed", "ping", "analysis.finished")
    assert list(made.webhook.events) == ["analysis.finished", "gate.changed"]
    await service.ping(site.context, site.project, made.webhook.id)
    await service.set_enabled(
        site.context, site.caller, site.project, made.webhook.id, enabled=False
    )
    assert await deliver(site) == 0
    (one,) = await told(site, made)
    assert (one.state, one.answer) == ("failed", "the webhook was disabled")
    await service.remove(site.context, site.caller, site.project, made.webhook.id)
    assert await service.listed(site.context, site.project) == ()
    with pytest.raises(Missing):
        await service.remove(site.context, site.caller, site.project, made.webhook.id)
    with pytest.raises(Missing):
        await service.redeliver(site.context, site.project, uuid4(), uuid4())


async def test_there_is_an_end_to_webhooks_and_to_what_is_kept(
    inside: Site, receiver: Receiver
) -> None:
    for _ in range(service.LIMIT):
        made = await hook(inside, receiver.url)
    with pytest.raises(Conflict):
        await hook(inside, receiver.url)
    with pytest.raises(Invalid):
        await service.add(
            inside.context, inside.caller, inside.project, url=receiver.url, events=()
        )
    await service.ping(inside.context, inside.project, made.webhook.id)
    await deliver(inside)
    assert await service.clean(inside.context) == 0
    inside.pass_days(31)
    assert await service.clean(inside.context) == 1
    assert await told(inside, made) == ()
