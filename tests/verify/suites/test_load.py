"""Each question about a load finds the site that is made for it; a good site passes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

import msgspec
import pytest

from insight_cloud import load as loads
from insight_cloud.load import Figures
from insight_cloud.load.scenario import Limits, Stage
from insight_cloud.verify import Subject
from insight_cloud.verify.suites import load
from tests.verify.sites import HOME, Page, Site, asked, serving, statuses

pytestmark = pytest.mark.timeout(300)
PATIENT = Limits(lag_ms=60_000, cpu_percent=100)
"""For a machine that runs other tests as well."""

SECONDS = 6


async def figures(site: Site) -> Figures:
    """What the suite's own scenario measures, in a shorter time."""
    async with serving(site) as url:
        wanted = await load.scenario(Subject(url))
        crowd = wanted.scenarios["visitors"]
        stage = Stage(SECONDS, crowd.start)
        shorter = msgspec.structs.replace(crowd, stages=(stage,), drain_seconds=8)
        return await loads.run(
            msgspec.structs.replace(wanted, scenarios={"visitors": shorter}, generator=PATIENT), url
        )


def made(answer: Callable[[float, int], Page]) -> Site:
    """A site that answers by the seconds since the first request, and the number of requests."""
    began, count = [0.0], [0]

    async def make(asked: dict[str, str]) -> Page | None:
        began[0] = began[0] or monotonic()
        count[0] += 1
        return answer(monotonic() - began[0], count[0])

    site = Site()
    site.pages["/"] = Page(HOME, make=make)
    return site


def frozen(passed: float, _: int) -> Page:
    return Page(HOME, seconds=max(0.0, 3.5 - passed) if passed > 2 else 0)


FAULTS: dict[str, Callable[[float, int], Page]] = {
    "95 of 100 answers come within 2 s": lambda _, n: Page(HOME, seconds=2.5 if n % 10 == 0 else 0),
    "99 of 100 answers come within 5 s": lambda _, n: Page(HOME, seconds=6 if n % 20 == 0 else 0),
    "less than 1 % of the requests fail": lambda _, n: Page("", status=500 if n % 20 == 0 else 200),
    "it never stands still": frozen,
    "it does not get slower": lambda passed, _: Page(HOME, seconds=passed / 6),
}


async def test_each_fault_is_found_by_its_question() -> None:
    assert FAULTS.keys() == load.QUESTIONS.keys()
    found = await asyncio.gather(*(figures(made(fault)) for fault in FAULTS.values()))
    for name, seen in zip(FAULTS, found, strict=True):
        answer = load.QUESTIONS[name](seen)
        assert answer.status == "fail", (name, answer)


async def test_a_good_site_passes() -> None:
    seen = await figures(Site())
    assert seen.total.count == 8 * SECONDS
    for name in ("less than 1 % of the requests fail", "99 of 100 answers come within 5 s"):
        assert load.QUESTIONS[name](seen).status == "pass"


async def test_a_load_that_could_not_be_made_is_no_pass() -> None:
    """The site is away before: nothing is known of it."""
    checks = await asked(load, "http://127.0.0.1:1", writes=True)
    assert checks["the load could be made"].status == "error"
    assert {c.status for n, c in checks.items() if n in load.QUESTIONS} == {"not run"}, statuses(
        checks
    )


async def test_a_site_without_accounts_is_asked_for_its_pages() -> None:
    async with serving(Site()) as url:
        wanted = await load.scenario(Subject(url, writes=True, pages=("/", "/about")))
        assert [step.path for step in wanted.steps] == ["/", "/about"]
    site = Site(register=Page("<form>"))
    async with serving(site) as url:
        assert (await load.scenario(Subject(url, writes=True))).name == "smoke"
        assert (await load.scenario(Subject(url, writes=True, short=False))).name == "short"
        assert (await load.scenario(Subject(url))).name == "pages"
