"""How the channels do, from what became of the last messages: asking costs nothing."""

from __future__ import annotations

from insight_cloud.core.report import Check
from insight_cloud.notify.notifier import ChannelStats, Notifier

__all__ = ["check"]


def check(notifier: Notifier) -> list[Check]:
    """One check for each channel. A channel that failed warns: the service works without it."""
    channels = notifier.stats()
    if not channels:
        return [Check("notify", "skip", "no channel is set: nobody is told anything")]
    return [_check(stats) for stats in channels]


def _check(stats: ChannelStats) -> Check:
    name = f"notify.{stats.name}"
    if stats.last_failure:
        return Check(name, "warn", f"{stats.last_failure}; {stats.failed} not taken so far")
    if not stats.sent:
        return Check(name, "skip", "nothing was sent yet; try `insight notify test`")
    return Check(name, "pass", f"{stats.sent} sent")
