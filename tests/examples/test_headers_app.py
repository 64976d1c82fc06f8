"""The example of security headers scores as promised."""

import re

import httpx

from examples.headers_app import app, reports
from insight_cloud.headers import score, site


def client() -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://example.com")


async def test_the_page_has_the_nonce_of_its_policy() -> None:
    async with client() as http:
        page = await http.get("/")
    (given,) = re.findall("nonce=([^>]+)>", page.text)
    assert f"'nonce-{given}'" in page.headers["content-security-policy"]


async def test_reports_are_taken() -> None:
    report = [{"type": "csp-violation", "body": {"effectiveDirective": "img-src"}}]
    async with client() as http:
        kind = {"content-type": "application/reports+json"}
        taken = await http.post("/reports", json=report, headers=kind)
    assert taken.status_code == 204
    assert reports.totals["accepted"] == 1


async def test_it_scores_as_high_as_a_site_can_that_is_not_preloaded() -> None:
    url = "https://example.com:8443/"
    found = score(await site.read(url, transport=httpx.ASGITransport(app)))
    assert (found.score, found.grade) == (130, "A+")
