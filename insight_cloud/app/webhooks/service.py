"""The rules of webhooks: who is told what, how a message is signed, when it is tried again."""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec

from insight_cloud.app.accounts import audit
from insight_cloud.app.accounts.models import Caller
from insight_cloud.app.api import Context, cursor, position
from insight_cloud.app.projects.models import Project
from insight_cloud.app.webhooks import address
from insight_cloud.app.webhooks.models import (
    EVENTS,
    Delivery,
    DeliveryPage,
    Event,
    NewWebhook,
    Webhook,
)
from insight_cloud.app.webhooks.send import Answer, Sender
from insight_cloud.core.errors import Conflict, Invalid, Missing
from insight_cloud.core.report import stopwatch
from insight_cloud.database import Connection, sql
from insight_cloud.notify.webhook import signature

__all__ = [
    "LIMIT",
    "TRIES",
    "add",
    "clean",
    "deliver_due",
    "deliveries",
    "enqueue",
    "listed",
    "ping",
    "redeliver",
    "remove",
    "set_enabled",
]

queries = sql.load(Path(__file__).with_name("queries.sql"))

LIMIT = 20
"""Webhooks of one project."""

TRIES: tuple[timedelta, ...] = (
    timedelta(seconds=5),
    timedelta(seconds=30),
    timedelta(minutes=2),
    timedelta(minutes=10),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
)
"""How long to wait after each try that failed; after the last one it is given up."""

_KEPT = timedelta(days=30)
_CLAIMED = timedelta(seconds=60)
_AT_ONCE = 10
_BATCH = 5_000
_LAST = 2**63 - 1
_GONE = 410


# -- what maintainers do ---------------------------------------------------------------------


async def listed(context: Context, project: Project) -> tuple[Webhook, ...]:
    """The webhooks of a project, without their secrets."""
    return tuple(await context.pool.fetch_all(queries.listed, Webhook, project_id=project.number))


async def add(
    context: Context, caller: Caller, project: Project, *, url: str, events: Sequence[Event]
) -> NewWebhook:
    """Tell this URL of these events from now on.

    Raises:
        Invalid: the URL cannot be used, or no event is named.
        Conflict: the project has as many webhooks as it may.
    """
    url = address.check_url(url, allow_private=context.settings.webhooks.allow_private)
    wanted = [event for event in EVENTS if event in set(events) and event != "ping"]
    if not wanted:
        raise Invalid("choose at least one event", problems=(("/body/events", "is empty"),))
    secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()

    async def work(connection: Connection) -> Webhook:
        await connection.lock(f"webhooks {project.number}")
        if await connection.fetch_value(queries.count, project_id=project.number) >= LIMIT:
            raise Conflict(f"{project.slug!r} has {LIMIT} webhooks; remove one")
        made = await connection.fetch_one(
            queries.add,
            Webhook,
            project_id=project.number,
            url=url,
            secret=secret,
            events=wanted,
            author=caller.name,
            at=context.now(),
        )
        await audit.record(
            connection,
            context,
            "webhook added",
            by=caller,
            project=project.slug,
            target=url,
            detail=", ".join(wanted),
        )
        return made

    return NewWebhook(await context.pool.run(work), secret)


async def remove(context: Context, caller: Caller, project: Project, id: UUID) -> None:  # noqa: A002 - the API's word
    """Forget a webhook and its deliveries.

    Raises:
        Missing: the project has no such webhook.
    """
    async with context.pool.transaction() as db:
        url = await db.fetch_value(queries.remove, project_id=project.number, id=id)
        if url is None:
            raise _missing(project, id)
        await audit.record(
            db, context, "webhook removed", by=caller, project=project.slug, target=url
        )


async def set_enabled(
    context: Context,
    caller: Caller,
    project: Project,
    id: UUID,  # noqa: A002 - the API's word
    *,
    enabled: bool,
) -> None:
    """Pause a webhook, or go on with it. What happened meanwhile is not told.

    Raises:
        Missing: the project has no such webhook.
    """
    because = "" if enabled else f"paused by {caller.name}"
    async with context.pool.transaction() as db:
        hook = await _find(db, project, id)
        await db.execute(
            queries.set_enabled,
            number=hook.id,
            disabled_at=None if enabled else context.now(),
            because=because,
        )
        if not enabled:
            await db.execute(queries.give_up, number=hook.id, at=context.now())
        await audit.record(
            db,
            context,
            "webhook changed",
            by=caller,
            project=project.slug,
            target=hook.url,
            detail=because or "enabled",
        )


async def ping(context: Context, project: Project, id: UUID) -> UUID:  # noqa: A002 - the API's word
    """Send a message that says nothing, to see whether it arrives; return the delivery's id.

    Raises:
        Missing: the project has no such webhook.
    """
    hook = await _find(context.pool, project, id)
    payload = _payload("ping", context.now(), {"project": project.slug})
    return await _enqueue_one(context, hook.id, _message_id(), "ping", payload)


async def deliveries(
    context: Context,
    project: Project,
    id: UUID,  # noqa: A002 - the API's word
    *,
    after: str | None = None,
    limit: int = 50,
) -> DeliveryPage:
    """What a webhook was told, newest first; 30 days of it are kept.

    Raises:
        Missing: the project has no such webhook.
        Invalid: the cursor is not one of this list.
    """
    (before,) = position(after, int) or (_LAST,)
    hook = await _find(context.pool, project, id)
    rows = await context.pool.fetch_all(
        queries.deliveries, _Row, webhook_id=hook.id, before=before, limit=limit + 1
    )
    more = len(rows) > limit
    return DeliveryPage(
        tuple(row.delivery() for row in rows[:limit]),
        cursor(rows[limit - 1].number) if more else None,
    )


async def redeliver(context: Context, project: Project, id: UUID, delivery: UUID) -> UUID:  # noqa: A002 - the API's word
    """Send a message again, as it was and with its id; return the new delivery's id.

    Raises:
        Missing: the project has no such webhook, or that no such delivery.
    """
    hook = await _find(context.pool, project, id)
    row = await context.pool.fetch_maybe(
        queries.delivery, _Message, webhook_id=hook.id, id=delivery
    )
    if row is None:
        raise Missing(f"the webhook has no delivery {delivery}")
    return await _enqueue_one(context, hook.id, row.message_id, row.event, row.payload)


# -- the outbox ------------------------------------------------------------------------------


async def enqueue(
    connection: Connection, project_id: int, event: Event, data: dict[str, Any], *, at: datetime
) -> None:
    """Note what is to be told, in the transaction in which it happens."""
    await connection.execute(
        queries.enqueue,
        project_id=project_id,
        event=event,
        message_id=_message_id(),
        payload=_payload(event, at, data),
        at=at,
    )


async def deliver_due(context: Context, sender: Sender) -> int:
    """Send what is due, at most ten at a time; return how many were tried.

    Any number of processes may do so: a delivery is claimed by one. It is told at least once;
    a receiver tells repetitions by `webhook-id`.
    """
    now = context.now()
    claimed = await context.pool.fetch_all(
        queries.claim, _Claimed, now=now, until=now + _CLAIMED, limit=_AT_ONCE
    )
    # At once, so that all of them end before their claims do.
    await asyncio.gather(*(_deliver(context, sender, one) for one in claimed))
    return len(claimed)


async def clean(context: Context) -> int:
    """Delete deliveries that ended 30 days ago, in batches; return how many."""
    total = 0
    while True:
        before = context.now() - _KEPT
        deleted = await context.pool.execute(queries.clean, before=before, batch=_BATCH)
        total += deleted
        if deleted < _BATCH:
            return total


async def _deliver(context: Context, sender: Sender, one: _Claimed) -> None:
    body = one.payload.encode()
    timestamp = str(int(context.now().timestamp()))
    headers = {
        "content-type": "application/json",
        "user-agent": "insight-cloud",
        "webhook-id": one.message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": signature(_key(one.secret), one.message_id, timestamp, body),
    }
    with stopwatch() as watch:
        answer = await sender.post(one.url, body, headers)
    await _ended(context, one, answer, watch.seconds)


async def _ended(context: Context, one: _Claimed, answer: Answer, seconds: float) -> None:
    now, left = context.now(), one.tries < len(TRIES)
    state = "delivered" if answer.is_taken else "pending" if left else "failed"
    async with context.pool.transaction() as db:
        await db.execute(
            queries.ended,
            number=one.id,
            tries=one.tries,  # somebody else's try is none of ours to end
            state=state,
            status=answer.status,
            answer=answer.text,
            seconds=seconds,
            next_try_at=now + TRIES[min(one.tries, len(TRIES)) - 1],
            at=now,
        )
        if answer.status == _GONE:
            because = "the receiver said that it is gone (410)"
            await db.execute(
                queries.set_enabled, number=one.webhook_id, disabled_at=now, because=because
            )
            await db.execute(queries.give_up, number=one.webhook_id, at=now)


def _key(secret: str) -> bytes:
    return base64.b64decode(secret.removeprefix("whsec_"))


def _message_id() -> str:
    return f"msg_{secrets.token_hex(16)}"


def _payload(event: Event, at: datetime, data: dict[str, Any]) -> str:
    return msgspec.json.encode({"type": event, "timestamp": at, "data": data}).decode()


async def _enqueue_one(
    context: Context, number: int, message_id: str, event: Event, payload: str
) -> UUID:
    made: UUID = await context.pool.fetch_value(
        queries.enqueue_one,
        number=number,
        message_id=message_id,
        event=event,
        payload=payload,
        at=context.now(),
    )
    return made


async def _find(db: Any, project: Project, id: UUID) -> _Found:  # noqa: A002 - the API's word
    found: _Found | None = await db.fetch_maybe(
        queries.find, _Found, project_id=project.number, id=id
    )
    if found is None:
        raise _missing(project, id)
    return found


def _missing(project: Project, id: UUID) -> Missing:  # noqa: A002 - the API's word
    return Missing(f"project {project.slug} has no webhook {id}")


@dataclass(frozen=True, slots=True)
class _Found:
    id: int
    url: str


@dataclass(frozen=True, slots=True)
class _Message:
    message_id: str
    event: Event
    payload: str


@dataclass(frozen=True, slots=True)
class _Claimed:
    """A delivery that is ours for a minute. The secret stays out of every repr."""

    id: int
    webhook_id: int
    message_id: str
    event: Event
    payload: str
    tries: int
    url: str
    secret: str

    def __repr__(self) -> str:
        return f"<delivery {self.id} to {self.url}>"


@dataclass(frozen=True, slots=True)
class _Row(Delivery):
    number: int

    def delivery(self) -> Delivery:
        return Delivery(
            self.id,
            self.message_id,
            self.event,
            self.payload,
            self.state,
            self.tries,
            self.next_try_at,
            self.status,
            self.answer,
            self.seconds,
            self.created_at,
            self.ended_at,
        )
