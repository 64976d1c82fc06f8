"""The pages as people meet them: in a real browser, on a phone, with an account of their own."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

from insight_cloud.verify import browser
from insight_cloud.verify.asking import Answer, Asker, NotRunError, failed, judged, passed
from insight_cloud.verify.browser import Seen
from insight_cloud.verify.subject import Subject

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

__all__ = ["run"]

_MOST_PAGES_SHORT, _MOST_PAGES = 6, 40
_MOST_LINKS_SHORT, _MOST_LINKS = 40, 500
_PHONE = {"width": 390, "height": 844}
_SERIOUS = {"serious", "critical"}
_LONG_SECONDS = 600

_QUESTIONS: tuple[tuple[str, Callable[[Seen], list[str]]], ...] = (
    ("every page answers", lambda s: [f"HTTP {s.status}"] if not 200 <= s.status < 400 else []),
    ("no script fails", lambda s: s.errors),
    ("all that a page needs is there", lambda s: s.missing),
    ("no page is against its own policy", lambda s: s.violations),
    ("every page has a title", lambda s: [] if s.title else ["no title"]),
    ("every page says its language", lambda s: [] if s.language else ["no lang"]),
    (
        "every page has one main heading",
        lambda s: [] if s.headings == 1 else [f"{s.headings} headings h1"],
    ),
)


async def run(subject: Subject, asker: Asker) -> None:
    """Look at the pages, then go on the journey."""
    try:
        async with browser.opened(subject) as opened:
            await _pages(subject, asker, opened)
            await asker.ask(
                "register, sign out, sign in", partial(_journey, subject, opened), seconds=180
            )
    except NotRunError as reason:
        await asker.skip("the pages in a browser", str(reason))


async def _pages(subject: Subject, asker: Asker, opened: Browser) -> None:
    seen: list[Seen] = []
    narrow: list[str] = []
    barriers: list[str] = []

    async def look() -> Answer:
        async with browser.window(subject, opened) as window:
            page = await window.new_page()
            most = _MOST_PAGES_SHORT if subject.short else _MOST_PAGES
            waiting = list(subject.pages)
            while waiting and len(seen) < max(most, len(subject.pages)):
                path = waiting.pop(0)
                seen.append(await browser.visit(page, path))
                barriers.extend(f"{path}: {text}" for text in await _barriers(page))
                narrow.extend(f"{path}: {text}" for text in await _on_a_phone(page))
                known = {each.path for each in seen} | set(waiting)
                waiting += [link for link in seen[-1].links if link not in known]
        return Answer("pass", f"{len(seen)} pages", picture=seen[0].picture)

    await asker.ask("the pages are shown", look, seconds=_LONG_SECONDS)
    if not seen:
        return
    for name, question in _QUESTIONS:
        await asker.ask(name, _over(seen, question))
    await asker.ask("nothing keeps people out (axe)", partial(_axe, barriers))
    await asker.ask("every page fits a phone", partial(_all, narrow))
    await asker.ask("every link leads somewhere", partial(_links, subject, seen), seconds=300)


def _over(
    seen: Sequence[Seen], question: Callable[[Seen], list[str]]
) -> Callable[[], Awaitable[Answer]]:
    async def answer() -> Answer:
        found = [(each, fault) for each in seen for fault in question(each)]
        if not found:
            return passed()
        judgement = judged([f"{each.path}: {fault}" for each, fault in found])
        return Answer("fail", judgement.detail, judgement.evidence, found[0][0].picture)

    return answer


async def _all(faults: list[str]) -> Answer:
    return judged(faults)


async def _axe(barriers: list[str]) -> Answer:
    if find_spec("axe_playwright_python") is None:
        raise NotRunError("axe is not installed: pip install 'insight-cloud[verify]'")
    return judged(barriers)


async def _barriers(page: Page) -> list[str]:
    """What axe finds serious."""
    if find_spec("axe_playwright_python") is None:
        return []
    from axe_playwright_python.async_playwright import Axe  # type: ignore[import-untyped]  # none

    found = await Axe().run(page)
    return [
        f"{each['id']}: {each['help']} ({each['nodes'][0]['html'][:80]})"
        for each in found.response["violations"]
        if each["impact"] in _SERIOUS
    ]


async def _on_a_phone(page: Page) -> list[str]:
    size = page.viewport_size
    await page.set_viewport_size({"width": _PHONE["width"], "height": _PHONE["height"]})
    wide = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
    if size is not None:
        await page.set_viewport_size(size)
    return [f"{wide} pixels too wide for a phone"] if wide > 0 else []


async def _links(subject: Subject, seen: Sequence[Seen]) -> Answer:
    """Follow every link once. Sign-out and what is not a page of ours is left alone."""
    found = {link: each.path for each in reversed(seen) for link in each.links}
    known = {each.path for each in seen}
    wanted = [link for link in found if link not in known]
    wanted = wanted[: _MOST_LINKS_SHORT if subject.short else _MOST_LINKS]
    async with subject.client() as client:
        slots = asyncio.Semaphore(4)

        async def ask(link: str) -> int:
            async with slots:
                return (await client.get(link, follow_redirects=True)).status_code

        statuses = await asyncio.gather(*map(ask, wanted))
    return judged(
        [
            f"{link}, on {found[link]}: HTTP {status}"
            for link, status in zip(wanted, statuses, strict=True)
            if status >= 400 and status not in {401, 403}
        ],
        f"{len(wanted)} links",
    )


# -- the journey -----------------------------------------------------------------------------------


async def _journey(subject: Subject, opened: Browser) -> Answer:
    """Make an account, leave, come back."""
    if not subject.writes:
        raise NotRunError("it makes an account: give --allow-writes")
    async with browser.window(subject, opened) as window:
        page = await window.new_page()
        answer = await page.goto("/register")
        if answer is None or answer.status == 404:
            raise NotRunError("there is no page /register")
        try:
            return await _through(page)
        except _LostError as lost:
            found = failed(str(lost))
            return Answer("fail", found.detail, (page.url,), await page.screenshot())


class _LostError(Exception):
    """The journey cannot go on; the message says where."""


async def _through(page: Page) -> Answer:
    name, password = secrets.token_hex(6), secrets.token_urlsafe(18)
    email = f"verify-{name}@example.org"
    await _fill(page, {"name": "Verify", "email": email, "password": password})
    await _submit(page, "registering")
    await _signed_in(page, "after registering")
    leave = page.locator("form[action='/sign-out'] button, form[action*='sign-out'] button")
    await _must(await leave.count() > 0, "there is no button to sign out")
    await leave.first.evaluate("button => button.form.requestSubmit(button)")
    await page.wait_for_url("**/sign-in**")
    await page.goto("/sign-in")
    await _fill(page, {"email": email, "password": "wrong " + password})
    await _submit(page, "signing in with a wrong password")
    await _must("/sign-in" in page.url, "a wrong password signs in")
    await _fill(page, {"email": email, "password": password})
    await _submit(page, "signing in")
    await _signed_in(page, "after signing in")
    return Answer("pass", "an account was made and used", picture=await page.screenshot())


async def _fill(page: Page, values: dict[str, str]) -> None:
    for name, value in values.items():
        field = page.locator(f"input[name='{name}']")
        await _must(await field.count() > 0, f"{page.url} has no field {name!r}")
        await field.first.fill(value)


async def _submit(page: Page, act: str) -> None:
    async with page.expect_navigation():
        await page.locator("input[type=password]").first.press("Enter")
    status = await page.evaluate(
        "performance.getEntriesByType('navigation')[0]?.responseStatus ?? 0"
    )
    await _must(status < 500, f"{act} ends in {status}")
    await _must(status != 429, f"{act} is not possible now: too many were made from here")


async def _signed_in(page: Page, when: str) -> None:
    """A page for people who are signed in does not lead to where one signs in."""
    await page.goto("/")
    away = "/sign-in" in page.url or await page.locator("input[type=password]").count() > 0
    await _must(not away, f"nobody is signed in {when}")


async def _must(holds: bool, message: str) -> None:  # noqa: FBT001 - a sentence and its proof
    if not holds:
        raise _LostError(message)
