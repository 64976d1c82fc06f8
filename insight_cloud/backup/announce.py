"""Telling people and machines how a run ended; that telling fails is said, and changes nothing."""

from __future__ import annotations

from dataclasses import dataclass, field

import httpx

from insight_cloud.backup.job import Notify
from insight_cloud.core.errors import InsightError

__all__ = ["Announcer"]


@dataclass(frozen=True)
class Announcer:
    """Who hears of failures, and of successes if asked.

    `ping_url` is a dead man's switch as healthchecks.io and Uptime Kuma offer it: called after
    each success, with `/fail` at its end after a failure, so that silence raises the alarm.
    """

    notify: Notify | None = None
    ping_url: str | None = field(default=None, repr=False)
    successes: bool = False
    timeout_seconds: float = 10.0

    async def succeeded(self, subject: str, detail: str) -> list[str]:
        """Tell of a success; return what could not be told."""
        problems = await self._ping("")
        return problems + (await self._send("succeeded", subject, detail) if self.successes else [])

    async def failed(self, subject: str, detail: str) -> list[str]:
        """Tell of a failure; return what could not be told."""
        return await self._ping("/fail") + await self._send("failed", subject, detail)

    async def _send(self, event: str, subject: str, detail: str) -> list[str]:
        if self.notify is None:
            return []
        try:
            await self.notify(event, subject, detail)  # type: ignore[arg-type]  # one of the two
        except InsightError as error:
            return [f"the notification was not sent: {error}"]
        return []

    async def _ping(self, ending: str) -> list[str]:
        if self.ping_url is None:
            return []
        try:
            async with httpx.AsyncClient(timeout=self.timeout_seconds) as client:
                answer = await client.get(self.ping_url.rstrip("/") + ending)
                answer.raise_for_status()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            # The address is a secret: who knows it can keep the alarm silent.
            return [f"the dead man's switch was not reached: {type(error).__name__}"]
        return []
