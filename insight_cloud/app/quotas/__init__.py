"""How much of the service a user and a project may use, counted in the database.

For whoever starts an analysis on the server (the route that submits one):

from insight_cloud.app import quotas

async with quotas.analysing(context, caller) as taken:  # RateLimited, with `retry_after`
    job = await submit(...)  # what is refused here does not count
taken.tell(response)  # RateLimit-Policy, RateLimit

`take` is exact over all processes: never more than the limit in any window. Limit and window of
analyses are the rate limit `analysis` (20 a day for each user); uploads of CI are counted apart,
for each project, by `uploading`. An API token counts for its owner; the operator's for itself.
"""

from __future__ import annotations

from insight_cloud.app.quotas.limits import PRESETS, Limits, of
from insight_cloud.app.quotas.models import Meter, Overview, ProjectUsage, Usage, UserUsage
from insight_cloud.app.quotas.service import (
    Exceeded,
    Taken,
    analysing,
    clean,
    overview,
    refund,
    require_room_for_project,
    take,
    uploading,
    usage,
)

__all__ = [
    "PRESETS",
    "Exceeded",
    "Limits",
    "Meter",
    "Overview",
    "ProjectUsage",
    "Taken",
    "Usage",
    "UserUsage",
    "analysing",
    "clean",
    "of",
    "overview",
    "refund",
    "require_room_for_project",
    "take",
    "uploading",
    "usage",
]
