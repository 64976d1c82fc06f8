"""How fast and how heavy: Web Vitals and weight in a browser, plain answers, Lighthouse."""

from __future__ import annotations

import os
import shutil
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

from insight_cloud.core import lighthouse
from insight_cloud.verify import browser
from insight_cloud.verify.asking import Answer, Asker, NotRunError, failed, judged
from insight_cloud.verify.browser import Resource, Seen
from insight_cloud.verify.subject import Subject
from insight_cloud.verify.suites import api

__all__ = ["TARGETS", "run"]

TARGETS: Final = {"performance": 70, "accessibility": 80, "best-practices": 85, "seo": 90}
"""The lowest score of each of Lighthouse's categories."""

_LCP_MS, _CLS, _FIRST_BYTE_MS, _API_MS = 2500, 0.1, 800, 500
_KILOBYTES = {"script": 300, "stylesheet": 100, "font": 200, "image": 1000}
_MOST_REQUESTS = 60
_COMPRESSED_FROM_BYTES = 2048
_TEXTS = ("text/", "application/javascript", "application/json", "image/svg")
_KEPT_SECONDS = 24 * 3600
_TRIES = 8
_MOST_API = 10
_LIGHTHOUSE_SECONDS = 180
_RED = 0.5  # as Lighthouse colours it


async def run(subject: Subject, asker: Asker) -> None:
    """In a browser, then by plain requests, then by Lighthouse."""
    seen: list[Seen] = []

    async def look() -> Answer:
        async with browser.opened(subject) as opened, browser.window(subject, opened) as window:
            for path in subject.pages:
                page = await window.new_page()
                seen.append(await browser.visit(page, path))
                await page.close()
        return Answer("pass", f"{len(seen)} pages")

    await asker.ask("the pages are shown", look, seconds=60 + 30 * len(subject.pages))
    for name, question in _QUESTIONS:
        await asker.ask(name, _over(seen, question))
    await asker.ask("pages answer quickly", partial(_pages, subject), seconds=180)
    await asker.ask("the API answers quickly", partial(_api, subject), seconds=180)
    await _lighthouse(subject, asker)


def _over(
    seen: Sequence[Seen], question: Callable[[Seen], list[str]]
) -> Callable[[], Awaitable[Answer]]:
    async def answer() -> Answer:
        if not seen:
            raise NotRunError("the pages were not shown in a browser")
        return judged([f"{each.path}: {fault}" for each in seen for fault in question(each)])

    return answer


# -- in the browser ------------------------------------------------------------------------------


def _largest(seen: Seen) -> list[str]:
    return [f"LCP {seen.lcp_ms:.0f} ms"] if seen.lcp_ms > _LCP_MS else []


def _shift(seen: Seen) -> list[str]:
    return [f"CLS {seen.cls:.2f}"] if seen.cls > _CLS else []


def _weight(seen: Seen) -> list[str]:
    faults = []
    for kind, most in _KILOBYTES.items():
        size = sum(each.size for each in seen.resources if each.kind == kind) / 1000
        if size > most:
            faults.append(f"{size:.0f} kB of {kind}s, {most} are the most")
    return faults


def _number(seen: Seen) -> list[str]:
    count = len(seen.resources)
    return [f"{count} requests, {_MOST_REQUESTS} are the most"] if count > _MOST_REQUESTS else []


def _compressed(seen: Seen) -> list[str]:
    return [
        f"{each.url}: {each.size} bytes as they are"
        for each in seen.resources
        if each.headers.get("content-type", "").startswith(_TEXTS)
        and each.size > _COMPRESSED_FROM_BYTES
        and "content-encoding" not in each.headers
    ]


def _kept(seen: Seen) -> list[str]:
    static = {"script", "stylesheet", "font", "image"}
    return [
        f"{each.url}: cache-control {each.headers.get('cache-control', 'is missing')}"
        for each in seen.resources
        if each.kind in static and each.status == 200 and not _long(each)
    ]


def _long(resource: Resource) -> bool:
    if not resource.url.startswith("http"):
        return True  # it is part of the page
    for part in resource.headers.get("cache-control", "").split(","):
        name, _, seconds = part.strip().partition("=")
        if name == "max-age" and seconds.isdecimal():
            return int(seconds) >= _KEPT_SECONDS
    return False


_QUESTIONS: tuple[tuple[str, Callable[[Seen], list[str]]], ...] = (
    (f"the largest part is there within {_LCP_MS / 1000:g} s", _largest),
    ("nothing jumps while it loads", _shift),
    ("scripts, styles, fonts and images are light", _weight),
    ("few requests are needed", _number),
    ("texts are compressed", _compressed),
    ("browsers keep what does not change", _kept),
)


# -- by plain requests ---------------------------------------------------------------------------


async def _pages(subject: Subject) -> Answer:
    return await _quick(subject, subject.pages, _FIRST_BYTE_MS)


async def _api(subject: Subject) -> Answer:
    _, document = await api.description(subject)
    paths = [path for path, item in document["paths"].items() if "get" in item and "{" not in path]
    if not paths:
        raise NotRunError("the API has nothing to get without knowing more")
    return await _quick(subject, paths[:_MOST_API], _API_MS, api=True)


async def _quick(
    subject: Subject, paths: Sequence[str], most_ms: float, *, api: bool = False
) -> Answer:
    """The median of a few answers of each path."""
    usual: dict[str, float] = {}
    async with subject.client(api=api) as client:
        for path in paths:
            times = []
            for _ in range(_TRIES):
                began = time.perf_counter()
                await client.get(path)
                times.append((time.perf_counter() - began) * 1000)
            usual[path] = statistics.median(times)
    slow = [f"{path}: {ms:.0f} ms" for path, ms in usual.items() if ms > most_ms]
    return judged(slow, f"the slowest {max(usual.values()):.0f} ms")


# -- Lighthouse ----------------------------------------------------------------------------------


async def _lighthouse(subject: Subject, asker: Asker) -> None:
    try:
        program = _program(subject)
    except NotRunError as reason:
        await asker.skip("Lighthouse", str(reason))
        return
    for path in subject.pages[: 1 if subject.short else None]:
        found: list[lighthouse.Result] = []

        async def measure(path: str = path, found: list[lighthouse.Result] = found) -> Answer:
            result = await lighthouse.audit(
                subject.url + path,
                program=program,
                chromium=subject.browser,
                timeout_seconds=_LIGHTHOUSE_SECONDS,
            )
            found.append(result)
            return Answer("pass", f"Lighthouse {result.version}")

        await asker.ask(f"Lighthouse measures {path}", measure, seconds=_LIGHTHOUSE_SECONDS + 60)
        for category, target in TARGETS.items():
            question = partial(_score, found, category, target)
            await asker.ask(f"Lighthouse: {category} of {path}", question)


def _program(subject: Subject) -> str:
    """Where Lighthouse is. Raises `NotRunError`."""
    found = subject.lighthouse or shutil.which("lighthouse")
    if found is None or not os.access(found, os.X_OK):
        raise NotRunError("there is no lighthouse: npm install lighthouse, or give --lighthouse")
    if not os.access(subject.browser, os.X_OK):
        raise NotRunError(f"there is no browser at {subject.browser}: give --browser")
    if subject.ca_file is not None:
        raise NotRunError("Lighthouse cannot be told to trust --ca-file")
    return str(found)


async def _score(found: Sequence[lighthouse.Result], category: str, target: int) -> Answer:
    if not found:
        raise NotRunError("Lighthouse did not measure it")
    result = found[0]
    crawlable = result.audits.get("is-crawlable")
    if category == "seo" and crawlable is not None and crawlable.score == 0:
        raise NotRunError("the page asks search engines to leave it out")
    if category not in result.scores:
        return Answer("error", "Lighthouse gave no score")
    score = result.scores[category]
    detail = f"{score}, at least {target} wanted"
    if score >= target:
        return Answer("pass", detail)
    red = [
        f"{name}: {audit.title} {audit.shown}".strip()
        for name, audit in result.audits.items()
        if audit.score is not None and audit.score < _RED
    ]
    return failed(detail, *red)
