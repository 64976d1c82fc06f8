from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import json
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from playwright.async_api import Browser, async_playwright

from insight_cloud.core.asgi import Receive, Scope, Send
from insight_cloud.telemetry import History, Recorder, Vitals
from insight_cloud.telemetry.vitals import METRICS, SCRIPT, VERSION, Metric, rows
from tests.telemetry.asgi import Answer, call

CHROMIUM = Path(os.environ.get("TEST_CHROMIUM", "/usr/bin/chromium"))
OURS = {"sec-fetch-site": "same-origin"}
ROUTES = frozenset({"/", "/projects/{slug}"})


class Site:
    """Vitals with the history of what was counted."""

    def __init__(self, **options: Any) -> None:
        self.recorder = Recorder()
        self.vitals = Vitals(self.recorder, routes=ROUTES, **options)
        self.history = History(self.recorder.read)
        self.history.tick()

    async def post(self, **fields: Any) -> Answer:
        return await self.post_from(OURS, **fields)

    async def post_from(self, headers: dict[str, str], **fields: Any) -> Answer:
        body = json.dumps({"route": "/", "device": "desktop", **fields}).encode()
        return await call(self.vitals, "/vitals", method="POST", headers=headers, body=[body])

    def table(self, *, by_route: bool = True) -> list[tuple[Any, ...]]:
        return [
            (row.metric.name, row.route, row.device, round(row.p75, 3), row.rating, row.views)
            for row in rows(self.history.over(3600), by_route=by_route)
        ]

    def outcomes(self) -> dict[str, float]:
        return {
            series.labels[0][1]: series.values[0]
            for series in self.recorder.read()
            if series.name == "web_beacon_total"
        }


async def test_page_views_are_told_at_p75_by_route_and_device() -> None:
    site = Site()
    for number in range(100):
        assert (await site.post(lcp=1000 + 20 * number, cls=0.01, inp=600)).status == 204
    await site.post(route="/projects/{slug}", device="phone", lcp=9000)
    assert site.table() == [
        ("lcp", "/", "desktop", pytest.approx(2.48, abs=0.02), "good", 100),
        ("lcp", "/projects/{slug}", "phone", 11.0, "poor", 1),
        ("inp", "/", "desktop", pytest.approx(0.59, abs=0.02), "poor", 100),
        ("cls", "/", "desktop", 0.015, "good", 100),
    ]
    assert site.table(by_route=False)[0][1:3] == ("", "desktop")
    assert site.outcomes() == {"taken": 101}


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
@pytest.mark.parametrize("above", [0.0, 0.001])
async def test_a_rating_is_exact_at_its_thresholds(metric: Metric, above: float) -> None:
    for threshold, at, beyond in (
        (metric.good, "good", "needs improvement"),
        (metric.poor, "needs improvement", "poor"),
    ):
        site = Site()
        value = (threshold + above) * (1000 if metric.unit else 1)
        for _ in range(3):
            await site.post(**{metric.name: 0})
        for _ in range(97):
            await site.post(**{metric.name: value})
        ((_, _, _, _, rating, views),) = site.table()
        assert (rating, views) == (beyond if above else at, 100)


def test_the_thresholds_are_those_of_the_web_vitals() -> None:
    assert {metric.name: (metric.good, metric.poor) for metric in METRICS} == {
        "lcp": (2.5, 4.0),
        "inp": (0.2, 0.5),
        "cls": (0.1, 0.25),
        "fcp": (1.8, 3.0),
        "ttfb": (0.8, 1.8),
        "fid": (0.1, 0.3),
        "img": (1.0, 2.5),
    }


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b"\xff",
        b"[" * 900,
        b'{"route": "/", "device": "desktop"}',
        b'{"route": "/", "device": "desktop", "lcp": -1}',
        b'{"route": "/", "device": "desktop", "lcp": 1e9}',
        b'{"route": "/", "device": "desktop", "cls": 101}',
        b'{"route": "/", "device": "desktop", "lcp": "1"}',
        b'{"route": "/", "device": "desktop", "lcp": 1, "extra": 1}',
        b'{"route": "/", "device": "fridge", "lcp": 1}',
        b'{"route": "/unknown", "device": "desktop", "lcp": 1}',
        b'{"route": "/", "device": "desktop", "fcp": 1, "cls": 101}',
    ],
)
async def test_what_is_no_page_view_is_refused_and_counts_nothing(body: bytes) -> None:
    site = Site()
    answer = await call(site.vitals, method="POST", headers=OURS, body=[body])
    assert answer.status == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert site.table() == []
    assert site.outcomes() == {"refused": 1}


async def test_a_body_in_many_pieces_ends_at_the_limit() -> None:
    site = Site()
    answer = await call(site.vitals, method="POST", headers=OURS, body=[b" " * 512] * 3)
    assert answer.status == 413
    left = await call(site.vitals, method="POST", headers=OURS, body=[])
    assert left.status == 413


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"sec-fetch-site": "same-origin"}, 204),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "none"}, 403),
        ({"origin": "https://us.example", "host": "us.example"}, 204),
        ({"origin": "http://127.0.0.1:8000", "host": "127.0.0.1:8000"}, 204),
        ({"origin": "https://them.example", "host": "us.example"}, 403),
        ({"origin": "null", "host": "us.example"}, 403),
        ({"host": "us.example"}, 403),
        ({}, 403),
    ],
)
async def test_only_our_own_pages_are_listened_to(headers: dict[str, str], status: int) -> None:
    assert (await Site().post_from(headers, lcp=1)).status == status


async def test_a_flood_is_cut_off_and_a_new_minute_begins_anew() -> None:
    now = 0.0
    site = Site(per_minute=3, clock=lambda: now)
    statuses = [(await site.post(lcp=1)).status for _ in range(5)]
    assert statuses == [204] * 3 + [429] * 2
    now = 60.0
    assert (await site.post(lcp=1)).status == 204
    assert site.outcomes() == {"taken": 4, "limited": 2}


async def test_other_methods_are_refused() -> None:
    answer = await call(Site().vitals, method="PUT")
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD, POST")


async def test_the_script_is_small_and_kept_by_its_version() -> None:
    site = Site()
    plain = await call(site.vitals, f"/vitals?v={VERSION}")
    assert plain.body == SCRIPT
    assert plain.headers["content-type"] == "text/javascript; charset=utf-8"
    assert plain.headers["cache-control"] == "public, max-age=31536000, immutable"
    other = await call(site.vitals, "/vitals?v=old")
    assert other.headers["cache-control"] == "no-cache"
    packed = await call(site.vitals, headers={"accept-encoding": "br, gzip"})
    assert gzip.decompress(packed.body) == SCRIPT
    assert len(packed.body) < 1200
    head = await call(site.vitals, method="HEAD")
    assert (head.body, head.headers["content-length"]) == (b"", str(len(SCRIPT)))


def test_the_tag_names_the_route_and_escapes_it() -> None:
    digest = f"sha384-{base64.b64encode(hashlib.sha384(SCRIPT).digest()).decode()}"
    tag = Site(share=0.25).vitals.tag('/a"><script>', path="/v", nonce="n0nce")
    assert tag == (
        f'<script src="/v?v={VERSION}" integrity="{digest}" data-to="/v" '
        'data-route="/a&quot;&gt;&lt;script&gt;" data-share="0.25" nonce="n0nce" defer></script>'
    )


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    if not await asyncio.to_thread(CHROMIUM.exists):
        if os.environ.get("CI") == "true":
            pytest.fail(f"no browser at {CHROMIUM}; set TEST_CHROMIUM")
        pytest.skip(f"no browser at {CHROMIUM}; set TEST_CHROMIUM to one")
    flags = ["--no-sandbox"] if os.geteuid() == 0 else []
    async with async_playwright() as playwright:
        opened = await playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield opened
        await opened.close()


PAGE = """<!doctype html><title>Vitals</title><link rel="icon" href="data:,">
<style>#late {{ height: 0 }} #late.there {{ height: 300px }}</style>
<div id="late"></div><h1>A heading that is the largest</h1><button>Press</button>
<img src="/dot" width="9" height="9" alt="">
<script nonce="n0nce">
document.querySelector('button').onclick = () => {{
  const end = performance.now() + 60
  while (performance.now() < end);
  document.title = 'Pressed'
}}
setTimeout(() => document.querySelector('#late').classList.add('there'), 50)
</script>{tag}"""
DOT = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'
POLICY = (
    "default-src 'none'; script-src 'nonce-n0nce' 'strict-dynamic'; style-src 'unsafe-inline'; "
    "connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'"
)


async def test_a_real_browser_tells_what_a_page_view_was_like(browser: Browser) -> None:
    site = Site()
    told = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/vitals":
            await site.vitals(scope, receive, send)
            if scope["method"] == "POST":
                told.set()
            return
        dot = scope["path"] == "/dot"
        if dot:
            await asyncio.sleep(0.03)
        body = DOT if dot else PAGE.format(tag=site.vitals.tag("/", nonce="n0nce")).encode()
        headers = [
            (b"content-type", b"image/svg+xml" if dot else b"text/html; charset=utf-8"),
            (b"content-security-policy", POLICY.encode()),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        window = await browser.new_context()
        page = await window.new_page()
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        await page.goto(f"http://127.0.0.1:{listener.getsockname()[1]}/")
        await page.wait_for_selector("#late.there", state="attached")
        await page.click("button")
        await page.wait_for_function("document.title == 'Pressed'")
        await page.wait_for_function(
            "new Promise((done) => requestAnimationFrame(() => setTimeout(done, 100, true)))"
        )
        await page.goto("about:blank")
        await asyncio.wait_for(told.wait(), 30)
        await window.close()
        server.should_exit = True
        await serving
    assert said == []  # not a word about the policy
    assert site.outcomes() == {"taken": 1}
    found = {name: (p75, views) for name, _, _, p75, _, views in site.table()}
    assert set(found) == {"lcp", "inp", "cls", "fcp", "ttfb", "fid", "img"}
    assert {views for _, views in found.values()} == {1}
    recorded = {s.name: s.total for s in site.recorder.read() if s.name.startswith("web_vital_")}
    assert recorded["web_vital_inp_seconds"] >= 0.06  # the handler's busy loop
    assert recorded["web_vital_cls"] > 0.05  # what the late box pushed down
    assert 0 < recorded["web_vital_fcp_seconds"] <= recorded["web_vital_lcp_seconds"] + 0.001
    assert recorded["web_vital_img_seconds"] >= 0.03
    assert 0 < recorded["web_vital_ttfb_seconds"] <= recorded["web_vital_fcp_seconds"]
