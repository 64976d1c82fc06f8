"""A real browser, and what it sees of a page; Playwright is imported here only."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import urldefrag, urljoin, urlsplit

from insight_cloud.verify.asking import NotRunError
from insight_cloud.verify.subject import Subject

if TYPE_CHECKING:
    from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, Request
    from playwright.async_api import Response as Answered

__all__ = ["Resource", "Seen", "opened", "visit", "window"]

_FLAGS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
_PAGE_MILLISECONDS = 30_000
_SETTLE_MILLISECONDS = 300
_WIDTH, _HEIGHT = 1280, 900

_VITALS = """
window.__vitals = {lcp: 0, cls: 0};
new PerformanceObserver(list => {
  for (const entry of list.getEntries()) window.__vitals.lcp = entry.startTime;
}).observe({type: 'largest-contentful-paint', buffered: true});
new PerformanceObserver(list => {
  for (const entry of list.getEntries())
    if (!entry.hadRecentInput) window.__vitals.cls += entry.value;
}).observe({type: 'layout-shift', buffered: true});
"""
_LOOK = """() => ({
  title: document.title.trim(),
  language: document.documentElement.lang,
  headings: document.querySelectorAll('h1').length,
  links: [...document.querySelectorAll('a[href]')].map(link => link.href),
  forms: document.querySelectorAll('form').length,
  vitals: window.__vitals,
  first_byte: performance.getEntriesByType('navigation')[0]?.responseStart ?? 0,
})"""


@dataclass(frozen=True, slots=True)
class Resource:
    """What a page needed."""

    url: str
    kind: str
    status: int
    size: int
    headers: dict[str, str]


@dataclass(slots=True)
class Seen:
    """What a browser saw of one page."""

    path: str
    status: int = 0
    title: str = ""
    language: str = ""
    headings: int = 0
    links: tuple[str, ...] = ()
    errors: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    resources: list[Resource] = field(default_factory=list)
    lcp_ms: float = 0
    cls: float = 0
    first_byte_ms: float = 0
    picture: bytes | None = None


@asynccontextmanager
async def opened(subject: Subject) -> AsyncIterator[Browser]:
    """The browser. Raises `NotRunError`: there is none, or no Playwright."""
    if find_spec("playwright") is None:
        raise NotRunError("Playwright is not installed: pip install 'insight-cloud[verify]'")
    if not os.access(subject.browser, os.X_OK):
        raise NotRunError(f"there is no browser at {subject.browser}: give --browser")
    from playwright.async_api import async_playwright

    # A sandbox cannot be had by root; who cares runs this as somebody else.
    flags = [*_FLAGS, "--no-sandbox"] if os.geteuid() == 0 else [*_FLAGS]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=subject.browser, args=flags)
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def window(subject: Subject, browser: Browser) -> AsyncIterator[BrowserContext]:
    """A window without a past."""
    context = await browser.new_context(
        base_url=subject.url,
        viewport={"width": _WIDTH, "height": _HEIGHT},
        ignore_https_errors=subject.ca_file is not None,  # Chromium takes no file; others verify
    )
    context.set_default_timeout(_PAGE_MILLISECONDS)
    await context.add_init_script(_VITALS)
    try:
        yield context
    finally:
        await context.close()


async def visit(page: Page, path: str) -> Seen:
    """Go to `path`, wait until it is quiet, and note everything."""
    seen = Seen(path)
    listener = _Listener(seen, page)
    listener.begin()
    try:
        answer = await page.goto(path, wait_until="load")
        await page.wait_for_timeout(_SETTLE_MILLISECONDS)
        seen.status = 0 if answer is None else answer.status
        found: dict[str, Any] = await page.evaluate(_LOOK)
        await listener.finish()
    finally:
        listener.end()
    seen.title, seen.language = found["title"], found["language"]
    seen.headings = found["headings"]
    seen.links = tuple(_same_site(page.url, found["links"]))
    seen.lcp_ms, seen.cls = found["vitals"]["lcp"], found["vitals"]["cls"]
    seen.first_byte_ms = found["first_byte"]
    seen.picture = await page.screenshot()
    return seen


class _Listener:
    """Notes what happens on a page."""

    def __init__(self, seen: Seen, page: Page) -> None:
        self._seen, self._page = seen, page
        self._answers: list[Answered] = []

    def begin(self) -> None:
        self._page.on("pageerror", self._error)
        self._page.on("console", self._console)
        self._page.on("requestfailed", self._failed)
        self._page.on("response", self._answered)

    def end(self) -> None:
        self._page.remove_listener("pageerror", self._error)
        self._page.remove_listener("console", self._console)
        self._page.remove_listener("requestfailed", self._failed)
        self._page.remove_listener("response", self._answered)

    async def finish(self) -> None:
        """Ask each answer for its size."""
        for answer in self._answers:
            if answer.status >= 400 and answer.request.resource_type != "document":
                self._seen.missing.append(f"{answer.url}: HTTP {answer.status}")
            sizes = await answer.request.sizes()
            self._seen.resources.append(
                Resource(
                    answer.url,
                    answer.request.resource_type,
                    answer.status,
                    max(0, sizes["responseBodySize"]),
                    await answer.all_headers(),
                )
            )

    def _answered(self, answer: Answered) -> None:
        self._answers.append(answer)

    def _error(self, error: Exception) -> None:
        self._seen.errors.append(str(error).splitlines()[0] if str(error) else "an error")

    def _console(self, message: ConsoleMessage) -> None:
        if message.type != "error":
            return
        text = message.text
        if "Content Security Policy" in text or "Mixed Content" in text:
            self._seen.violations.append(text)
        elif not text.startswith("Failed to load resource"):  # noted as missing
            self._seen.errors.append(text)

    def _failed(self, request: Request) -> None:
        reason = request.failure or ""
        if "ERR_ABORTED" not in reason and "blocked:csp" not in reason:
            self._seen.missing.append(f"{request.url}: {reason}")


def _same_site(base: str, links: list[str]) -> list[str]:
    """The paths of links to the same site, each once, without what only scrolls."""
    here, found = urlsplit(base), []
    for link in links:
        parts = urlsplit(urldefrag(urljoin(base, link)).url)
        if (parts.scheme, parts.netloc) == (here.scheme, here.netloc):
            found.append((parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
    return list(dict.fromkeys(found))
