"""The promise of a channel, so that others can bring their own."""

from __future__ import annotations

from typing import Protocol

from insight_cloud.notify.message import Message

__all__ = ["Channel"]


class Channel(Protocol):
    """One way to the operator. `name` is shown in reports: it holds no secret."""

    @property
    def name(self) -> str:
        """What reports and settings call it."""

    async def deliver(self, message: Message) -> None:
        """Say `message` once; return when the other side has taken it.

        Cancelled at the time limit of an attempt.

        Raises:
            Unavailable, RateLimited: another attempt may succeed, after `retry_after` seconds.
            InsightError: any other kind is final. No text holds a secret.
        """
