"""Rate limits that hold: never more than N in any window, over all processes.

api = Policy("api", limit=100, window=timedelta(minutes=15), on_failure="open")
addresses = Addresses(trusted_proxies=["10.0.0.0/8"])
async with Redis("redis://localhost/0") as store:
    limiter = Limiter(store)
    app = RateLimit(app, limiter, policies=lambda scope: [(api, addresses(scope))])
    decision = await limiter.hit(api, "user:7")  # or ask without HTTP
"""

from typing import TYPE_CHECKING

from insight_cloud.core import later
from insight_cloud.ratelimit.address import Addresses, cloudflare_ranges
from insight_cloud.ratelimit.policy import Decision, OnFailure, Pair, Policy, Standing, parse
from insight_cloud.ratelimit.settings import RateLimitSettings

if TYPE_CHECKING:
    from insight_cloud.ratelimit.checks import check
    from insight_cloud.ratelimit.limiter import Limiter, Stats, Store, require
    from insight_cloud.ratelimit.memory import Memory
    from insight_cloud.ratelimit.middleware import DECISION, RateLimit
    from insight_cloud.ratelimit.redis import Answer, Redis
    from insight_cloud.ratelimit.upstash import Upstash

__all__ = [
    "DECISION",
    "Addresses",
    "Answer",
    "Decision",
    "Limiter",
    "Memory",
    "OnFailure",
    "Pair",
    "Policy",
    "RateLimit",
    "RateLimitSettings",
    "Redis",
    "Standing",
    "Stats",
    "Store",
    "Upstash",
    "check",
    "cloudflare_ranges",
    "parse",
    "require",
]

__getattr__ = later.names(
    __name__,
    {
        "checks": "check",
        "limiter": "Limiter Stats Store require",
        "memory": "Memory",
        "middleware": "DECISION RateLimit",
        "redis": "Answer Redis",
        "upstash": "Upstash",
    },
)
