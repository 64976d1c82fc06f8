"""What goes after its time, what stays, and that nothing is left to do afterwards."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from insight_cloud.app.analyses import branches, retention
from insight_cloud.app.analyses.retention import Removed
from insight_cloud.app.issues import service as issues
from tests.app.analyses.conftest import Site, finding, run


async def names(site: Site) -> list[str]:
    page = await branches.listed(site.context, site.project, closed=True)
    return sorted(one.name for one in page.items)


async def apply(site: Site) -> Removed:
    done = await retention.apply(site.context)
    assert await retention.apply(site.context) == Removed()
    return done


async def test_fixed_issues_go_after_a_year_and_open_ones_stay(site: Site) -> None:
    await site.analyse(run(finding("A"), finding("B"), finding("C")), commit="1")
    await site.analyse(run(finding("C")), commit="2")
    site.pass_days(300)
    await site.analyse(run(), commit="3")
    assert await apply(site) == Removed()
    site.pass_days(66)
    assert await apply(site) == Removed(issues=2)
    assert [one.rule for one in await site.issues(state="fixed")] == ["C"]
    back = await site.analyse(run(finding("A"), finding("C")), commit="4")
    assert (back.analysis.new, back.analysis.reopened) == (1, 1)
    assert len(await issues.trend(site.context, site.project, days=365)) > 300


async def test_short_branches_go_a_month_after_their_last_analysis(site: Site) -> None:
    await site.analyse(run(finding("A")), commit="m")
    await site.analyse(run(finding("A"), finding("N")), commit="t", branch="topic", base="main")
    await site.analyse(run(finding("B")), commit="r", branch="release")
    site.pass_days(20)
    await site.analyse(run(finding("A")), commit="u", branch="topic", base="main")
    await site.analyse(run(finding("N")), commit="p", branch="fix", pr=3)
    site.pass_days(29)
    assert await apply(site) == Removed()
    site.pass_days(2)
    assert await apply(site) == Removed(branches=2)
    assert await names(site) == ["main", "release"]
    assert len(await site.issues()) == 1


async def test_a_closed_pull_request_goes_after_two_weeks(site: Site) -> None:
    await site.analyse(run(finding("A")), commit="m")
    await site.analyse(run(finding("N")), commit="p", branch="fix", pr=3)
    await branches.close_pull(site.context, site.project, 3)
    site.pass_days(13)
    assert await apply(site) == Removed()
    site.pass_days(2)
    assert await apply(site) == Removed(branches=1)
    assert await names(site) == ["main"]


async def test_batches_leave_nothing_behind(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH", 7)
    found = [finding(f"R{n}", line=n) for n in range(20)]
    await site.analyse(run(*found), commit="1")
    await site.analyse(run(*found), commit="1", branch="fix", pr=3, base="never-analysed")
    await site.analyse(run(), commit="2")
    site.pass_days(366)
    done = await apply(site)
    assert (done.issues, done.branches) == (20, 1)


async def test_uploads_and_retention_at_once_lose_nothing(site: Site) -> None:
    found: list[Any] = [finding(f"R{n}", line=n) for n in range(30)]
    await site.analyse(run(*found), commit="1")
    await site.analyse(run(), commit="2")
    site.pass_days(366)
    await asyncio.gather(
        *(site.analyse(run(*found[:n]), commit=f"c{n}") for n in (10, 20, 30)),
        *(retention.apply(site.context) for _ in range(3)),
    )
    kept, _ = await issues.counts(site.context, site.project)
    assert kept.total == len(await site.issues())
