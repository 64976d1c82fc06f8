"""Whether this process is well: its memory, its open files, its event loop, its alerts."""

from __future__ import annotations

import resource
from collections.abc import Callable

from insight_cloud.core.report import Check, Status
from insight_cloud.telemetry.alerts import Alerts
from insight_cloud.telemetry.process import LoopLag, memory_limit_bytes, open_files, resident_bytes

__all__ = ["check", "memory_share"]

_MEMORY_SHARE = 0.9
_FILES_SHARE = 0.8
_LAG_SECONDS = 0.5


async def check(
    lag: LoopLag | None = None,
    alerts: Alerts | None = None,
    *,
    used_bytes: Callable[[], float] = resident_bytes,
) -> list[Check]:
    """Ask about this process; nothing here is worse than a warning.

    `lag` and `alerts` are asked where there are some. `used_bytes` counts the memory, by default
    that of this process alone.
    """
    found = [_memory(used_bytes), _files()]
    if lag is not None:
        found.append(_lag(lag))
    if alerts is not None:
        found.append(_alerts(alerts))
    return found


def memory_share(used_bytes: Callable[[], float] = resident_bytes) -> float | None:
    """The share of the memory that may be used which is; None where no limit is known."""
    limit = memory_limit_bytes()
    return None if limit is None else used_bytes() / limit


def _memory(used_bytes: Callable[[], float]) -> Check:
    used, share = used_bytes(), memory_share(used_bytes)
    detail = f"{used / 2**20:.0f} MiB" + ("" if share is None else f", {share:.0%} of the limit")
    return Check("process.memory", _status(share or 0.0, _MEMORY_SHARE), detail)


def _files() -> Check:
    used, limit = open_files(), resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit == resource.RLIM_INFINITY:
        return Check("process.files", "pass", f"{used} open")
    return Check("process.files", _status(used / limit, _FILES_SHARE), f"{used} of {limit} open")


def _lag(lag: LoopLag) -> Check:
    ((_, _, seconds),) = lag.samples()
    detail = f"at most {seconds * 1000:.0f} ms late in the last minute"
    return Check("process.loop", _status(seconds, _LAG_SECONDS), detail)


def _alerts(alerts: Alerts) -> Check:
    if alerts.unsent:
        return Check("alerts.delivery", "warn", f"{alerts.unsent} alerts could not be sent yet")
    names = ", ".join(alert.name for alert in alerts.firing)
    return Check("alerts.delivery", "pass", f"told: {names}" if names else "nothing to tell")


def _status(value: float, limit: float) -> Status:
    return "warn" if value >= limit else "pass"
