"""Jobs at their times, by whatever scheduler the machine has: systemd, cron, launchd, Windows.

    job = Job("backup-daily", ("/opt/insight/bin/insight", "backup", "create"),
              daily("02:00"), "Daily backup")
    scheduler = (await choose("system")).scheduler
    changes = plan(scheduler, [job], await scheduler.read("backup"))
    await apply(scheduler, changes)  # after which the plan is empty

A run that was missed is caught up, and no run overlaps the one before it, with each of them.
"""

from __future__ import annotations

from insight_cloud.core.schedule.choose import Choice, choose, default_scope
from insight_cloud.core.schedule.job import Job, Scope
from insight_cloud.core.schedule.scheduler import Entry, Run, Scheduler, apply, check, plan
from insight_cloud.core.schedule.when import When, daily, monthly, parse, several, weekly

__all__ = [
    "Choice",
    "Entry",
    "Job",
    "Run",
    "Scheduler",
    "Scope",
    "When",
    "apply",
    "check",
    "choose",
    "daily",
    "default_scope",
    "monthly",
    "parse",
    "plan",
    "several",
    "weekly",
]
