"""A project to upload to, on a real database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from insight_cloud.app import api
from insight_cloud.app.accounts.models import Caller
from insight_cloud.app.analyses import service
from insight_cloud.app.analyses.models import Submission, Upload
from insight_cloud.app.issues import service as issues
from insight_cloud.app.issues.models import Filter, Issue
from insight_cloud.app.projects import service as projects
from insight_cloud.app.projects.models import Project
from insight_cloud.app.sarif import write
from insight_cloud.app.sarif.model import Finding, Location, Run
from insight_cloud.database import Pool
from insight_cloud.settings import Settings

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


def finding(
    rule: str = "F401",
    path: str | None = "a.py",
    line: int = 1,
    message: str = "",
    **others: object,
) -> Finding:
    """A finding with just enough of everything."""
    place = None if path is None else Location(path=path, line=line)
    values = {"severity": "medium", "category": "runtime"} | others
    return Finding(rule=rule, message=message or f"{rule} here", location=place, **values)  # type: ignore[arg-type]


def run(*findings: Finding, tool: str = "ruff", **others: object) -> Run:
    """A run that ended well, with `findings`."""
    return Run(tool=tool, findings=findings, **others)  # type: ignore[arg-type]


@dataclass
class Site:
    """A project, somebody who may upload to it, and a clock that tests can set."""

    context: api.Context
    caller: Caller
    project: Project
    time: list[datetime] = field(default_factory=lambda: [START])

    async def upload(
        self, body: bytes, *, commit: str = "", branch: str | None = None, **others: Any
    ) -> Submission:
        """Send a log."""
        upload = Upload(branch=branch, commit=commit, **others)
        return await service.ingest(self.context, self.caller, self.project.slug, upload, body)

    async def analyse(
        self, *runs: Run, commit: str = "", branch: str | None = None, **others: Any
    ) -> Submission:
        """Send a log of `runs`."""
        return await self.upload(write.log(runs), commit=commit, branch=branch, **others)

    async def issues(self, **wanted: object) -> Sequence[Issue]:
        """List issues, open ones by default."""
        page = await issues.page(self.context, self.project, Filter(**wanted), limit=200)  # type: ignore[arg-type]
        return page.items

    def pass_days(self, days: int) -> None:
        """Set the clock forward."""
        self.time[0] += timedelta(days=days)


@pytest.fixture
async def site(pool: Pool) -> Site:
    """A new project `demo` of an operator."""
    time = [START]
    context = api.Context(pool, Settings(), now=lambda: time[0])
    caller = Caller(
        user_id=None,
        public_id=None,
        name="test",
        email="",
        is_admin=True,
        sees_all=True,
        scopes=frozenset({"ingest", "read", "triage", "admin"}),
        project_id=None,
        project=None,
        kind="token",
    )
    project = await projects.ensure(context, caller, "demo")
    return Site(context, replace(caller), project, time)
