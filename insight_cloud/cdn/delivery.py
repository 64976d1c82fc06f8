"""One deployment from beginning to end, and somebody told how it went."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import datetime
from typing import Protocol

from insight_cloud.cdn.deployment import Deployment
from insight_cloud.cdn.files import File
from insight_cloud.cdn.site import Found, Outcome, Progress
from insight_cloud.core.errors import InsightError

__all__ = ["Notify", "Target", "deploy"]

_log = logging.getLogger(__name__)


class Notify(Protocol):
    """Somebody who wants to know what happened, and whether it went well."""

    async def __call__(self, text: str, *, well: bool) -> None:
        """Take one message."""


class Target(Protocol):
    """Where a site can be deployed to: `Site` and `Workers`."""

    async def read(self) -> Found:
        """Return what is there."""

    def plan(self, wanted: Iterable[File], found: Found, now: datetime) -> Deployment:
        """Return what would be done."""

    async def apply(
        self, deployment: Deployment, found: Found, now: datetime, *, progress: Progress
    ) -> Outcome:
        """Do it."""


async def deploy(
    target: Target,
    wanted: Iterable[File],
    now: datetime,
    *,
    notify: Notify | None = None,
    progress: Progress = lambda _done, _total: None,
) -> tuple[Deployment, Outcome]:
    """Read, plan, apply, and notify; a deployment without changes is nobody's news.

    What `notify` raises is logged: a message that is lost does not undo a deployment.

    Raises:
        InsightError: what the target raises, after somebody was told.
    """
    try:
        found = await target.read()
        deployment = target.plan(wanted, found, now)
        outcome = await target.apply(deployment, found, now, progress=progress)
    except InsightError as error:
        await _tell(notify, f"deployment failed: {error}", well=False)
        raise
    if deployment.changes:
        await _tell(notify, f"deployed: {outcome}", well=True)
    return deployment, outcome


async def _tell(notify: Notify | None, text: str, *, well: bool) -> None:
    if notify is None:
        return
    try:
        await notify(text, well=well)
    except Exception:  # noqa: BLE001 - anybody's callable
        _log.exception("cdn.notify_failed")
