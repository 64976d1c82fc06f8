"""A cache that computes once, stays right, and never stands in a request's way.

cache = Cache(Redis("redis://127.0.0.1:6379"), namespace="shop")

@cache.cached("price:{item}", ttl=timedelta(minutes=1), tags=["prices"])
async def price(item: int) -> Decimal: ...

await cache.invalidate("prices")
"""

from typing import TYPE_CHECKING

from insight_cloud.cache.settings import CacheSettings
from insight_cloud.core import later

if TYPE_CHECKING:
    from insight_cloud.cache.backend import Backend
    from insight_cloud.cache.cache import MISSING, Cache, Stats
    from insight_cloud.cache.checks import check
    from insight_cloud.cache.memory import Memory
    from insight_cloud.cache.names import Key
    from insight_cloud.cache.redis import Redis, RedisCluster
    from insight_cloud.cache.upstash import Upstash

__all__ = [
    "MISSING",
    "Backend",
    "Cache",
    "CacheSettings",
    "Key",
    "Memory",
    "Redis",
    "RedisCluster",
    "Stats",
    "Upstash",
    "check",
]

__getattr__ = later.names(
    __name__,
    {
        "backend": "Backend",
        "cache": "MISSING Cache Stats",
        "checks": "check",
        "memory": "Memory",
        "names": "Key",
        "redis": "Redis RedisCluster",
        "upstash": "Upstash",
    },
)
