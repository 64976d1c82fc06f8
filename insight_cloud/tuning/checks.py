"""The same findings as checks: which kinds are fine, which are not, and which were not seen."""

from __future__ import annotations

from insight_cloud.core.report import Check
from insight_cloud.tuning import finding, rules
from insight_cloud.tuning.catalogue import read
from insight_cloud.tuning.facts import Facts
from insight_cloud.tuning.thresholds import Thresholds

__all__ = ["check", "judge"]


async def check(url: str, thresholds: Thresholds | None = None) -> list[Check]:
    """Look at the database at `url`; one check of every kind of finding.

    Raises:
        InsightError: as `read` does.
    """
    return judge(await read(url), thresholds or Thresholds())


def judge(facts: Facts, thresholds: Thresholds) -> list[Check]:
    """One check of every kind of finding; `skip`, with the reason, where it was not seen."""
    found = rules.findings(facts, thresholds)
    unseen = rules.unseen_kinds(facts, thresholds)
    return finding.checks("database", rules.KINDS, found, unseen)
