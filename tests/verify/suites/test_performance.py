"""A light site passes; weight, waiting, jumping and what is not kept is found."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from insight_cloud.core import lighthouse
from insight_cloud.verify.asking import NotRunError
from insight_cloud.verify.suites import performance
from tests.verify.sites import CHROMIUM, HOME, Page, Site, asked, serving, statuses

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        not CHROMIUM.exists() and os.environ.get("CI") != "true", reason=f"no browser at {CHROMIUM}"
    ),
]
PLAIN = {"plain": "1"}
IN_THE_BROWSER = {name for name, _ in performance._QUESTIONS}
OPENAPI = {"openapi": "3.1.0", "paths": {"/items": {"get": {}}}}


def described(site: Site, seconds: float = 0) -> Site:
    site.pages["/openapi.json"] = Page(json.dumps(OPENAPI), type="application/json")
    site.pages["/items"] = Page("[]", type="application/json", seconds=seconds)
    return site


def heavy() -> Site:
    """Everything that a page can do to keep people waiting."""
    pictures = "".join(f'<img alt="" src="/dot.svg?{number}">' for number in range(70))
    jumping = (
        "<script>setTimeout(() => { const d = document.createElement('div');"
        "d.style.height = '600px'; document.body.prepend(d); }, 100)</script>"
    )
    page = HOME.replace("</main>", pictures + "<p>text " + "x" * 5000 + "</p></main>" + jumping)
    late = "<script>document.write('')</script><script src='/late.js'></script>"
    page = page.replace("<h1>", late + "<h1>")
    site = Site(headers={}, late_js=Page())
    site.pages |= {
        "/": Page(page, headers=PLAIN, seconds=1),
        "/site.js": Page("//" + "x" * 400_000, type="text/javascript", headers=PLAIN),
        "/late.js": Page("//", type="text/javascript", seconds=2),
        "/dot.svg": Page('<svg xmlns="http://www.w3.org/2000/svg"/>', type="image/svg+xml"),
    }
    return described(site, seconds=0.6)


async def test_a_light_site_passes_and_every_fault_of_a_heavy_one_is_found() -> None:
    async with serving(described(Site())) as url:
        checks = await asked(performance, url)
    wrong = {n: c for n, c in checks.items() if c.status not in {"pass", "not run"}}
    assert wrong == {}, statuses(checks)
    assert checks["Lighthouse"].status == "not run"
    async with serving(heavy()) as url:
        checks = await asked(performance, url)
    wanted = IN_THE_BROWSER | {"pages answer quickly", "the API answers quickly"}
    assert {n for n, c in checks.items() if c.status == "fail"} == wanted, statuses(checks)
    evidence = checks["scripts, styles, fonts and images are light"].evidence
    assert evidence == ("/: 400 kB of scripts, 300 are the most",)


def result(scores: dict[str, int], audit: str = "meta-description") -> lighthouse.Result:
    audits = {audit: lighthouse.Audit("Told", 0, "", None), "fine": lighthouse.Audit("a", 1, "", 1)}
    return lighthouse.Result("http://a/", "12.8.2", scores, audits, {})


@pytest.mark.parametrize("category", performance.TARGETS)
async def test_lighthouse_is_held_against_the_targets(category: str) -> None:
    target = performance.TARGETS[category]
    enough = await performance._score([result({category: target})], category, target)
    assert enough.status == "pass"
    less = await performance._score([result({category: target - 1})], category, target)
    assert (less.status, less.evidence) == ("fail", ("meta-description: Told",))
    assert (await performance._score([result({})], category, target)).status == "error"
    with pytest.raises(NotRunError):
        await performance._score([], category, target)


async def test_a_page_that_wants_to_be_left_out_is_not_searched_for() -> None:
    hidden = [result({"seo": 50, "performance": 50}, audit="is-crawlable")]
    with pytest.raises(NotRunError, match="leave it out"):
        await performance._score(hidden, "seo", 90)
    assert (await performance._score(hidden, "performance", 70)).status == "fail"


async def test_a_lighthouse_that_breaks_is_an_error(tmp_path: Path) -> None:
    program = tmp_path / "lighthouse"
    program.write_text("#!/bin/sh\necho 'it broke' >&2\nexit 1\n")
    program.chmod(0o755)
    checks = await asked(performance, "http://127.0.0.1:1", lighthouse=program)
    assert checks["Lighthouse measures /"].status == "error"
    assert "it broke" in checks["Lighthouse measures /"].detail
    assert checks["Lighthouse: seo of /"].status == "not run"
