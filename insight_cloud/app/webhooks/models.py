"""Webhooks as other features and the API see them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, get_args
from uuid import UUID

__all__ = ["EVENTS", "Delivery", "DeliveryPage", "Event", "NewWebhook", "Webhook"]

Event = Literal["analysis.finished", "gate.changed", "issues.judged", "ping"]
EVENTS: tuple[Event, ...] = get_args(Event)


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where to tell what; without its secret. Disabled ones say why."""

    id: UUID
    url: str
    events: Sequence[Event]
    author: str
    created_at: datetime
    disabled_at: datetime | None
    disabled_because: str


@dataclass(frozen=True, slots=True)
class NewWebhook:
    """A webhook that was just made; its secret is never shown again."""

    webhook: Webhook
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message to one webhook: how often it was tried, and what came back last."""

    id: UUID
    message_id: str
    event: Event
    payload: str
    state: Literal["pending", "delivered", "failed"]
    tries: int
    next_try_at: datetime
    status: int | None
    answer: str
    seconds: float | None
    created_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class DeliveryPage:
    """A part of the deliveries, newest first, and the cursor of the next part."""

    items: tuple[Delivery, ...]
    next: str | None
