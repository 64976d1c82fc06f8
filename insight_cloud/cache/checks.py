"""Whether the cache works, for health and verification."""

from __future__ import annotations

from insight_cloud.cache.cache import Cache
from insight_cloud.core.errors import Unavailable
from insight_cloud.core.report import Check, stopwatch

__all__ = ["check"]


async def check(cache: Cache) -> list[Check]:
    """One check: the store answers. A store that is away is a warning: requests go on."""
    with stopwatch() as watch:
        try:
            await cache.ping()
        except Unavailable as error:
            return [Check("cache", "warn", f"every key is a miss: {error}", watch.seconds)]
    stats = cache.stats()
    detail = f"{stats.hit_ratio:.0%} hits, {stats.local_bytes} bytes of copies"
    return [Check("cache", "pass", detail, watch.seconds)]
