"""What can be asked of the limits while they serve: does Redis decide, and how fast."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from insight_cloud.core.errors import Unavailable
from insight_cloud.core.report import Check, Status, stopwatch
from insight_cloud.ratelimit.limiter import Store
from insight_cloud.ratelimit.policy import Policy

__all__ = ["check"]

_SLOW_SECONDS = 0.1
_PROBE = Policy("probe", limit=1, window=timedelta(seconds=1))


async def check(store: Store | None, policies: Iterable[Policy] = ()) -> list[Check]:
    """Look a key up as a request would. Without Redis, say what that means for the limits.

    While Redis is away the limits warn, as they go on by `on_failure`; they fail when one of
    `policies` admits nobody meanwhile.
    """
    if store is None:
        return [Check("ratelimit.redis", "skip", "no Redis: each process limits by itself")]
    with stopwatch() as watch:
        try:
            await store.hit([(_PROBE, "check")], 0)
        except Unavailable as error:
            closed = [policy.name for policy in policies if policy.on_failure == "closed"]
            detail = f"{error}; refused meanwhile: {', '.join(closed)}" if closed else str(error)
            status: Status = "fail" if closed else "warn"
            return [Check("ratelimit.redis", status, detail, watch.seconds)]
    slow = watch.seconds > _SLOW_SECONDS
    detail = f"{watch.seconds * 1000:.1f} ms"
    return [Check("ratelimit.redis", "warn" if slow else "pass", detail, watch.seconds)]
