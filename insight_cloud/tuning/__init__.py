"""What makes a service slow, how it is known, and what mends it.

facts = await tuning.read("postgresql://...")
found = tuning.findings(facts, tuning.Thresholds())
plan = tuning.plan(found)
print(plan)
await tuning.apply("postgresql://...", plan)
"""

from typing import TYPE_CHECKING

from insight_cloud.core import later
from insight_cloud.tuning.settings import PerformanceSettings

if TYPE_CHECKING:
    from insight_cloud.tuning.application import Applied, apply
    from insight_cloud.tuning.catalogue import read
    from insight_cloud.tuning.checks import check, judge
    from insight_cloud.tuning.facts import Facts, Statement
    from insight_cloud.tuning.finding import Finding, plan
    from insight_cloud.tuning.rules import findings
    from insight_cloud.tuning.thresholds import Thresholds

__all__ = [
    "Applied",
    "Facts",
    "Finding",
    "PerformanceSettings",
    "Statement",
    "Thresholds",
    "apply",
    "check",
    "findings",
    "judge",
    "plan",
    "read",
]

__getattr__ = later.names(
    __name__,
    {
        "application": "Applied apply",
        "catalogue": "read",
        "checks": "check judge",
        "facts": "Facts Statement",
        "finding": "Finding plan",
        "rules": "findings",
        "thresholds": "Thresholds",
    },
)
