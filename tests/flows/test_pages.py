"""People in a browser: every page, in both themes, on a phone, by keyboard, without scripts."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal

import pytest
from axe_playwright_python.async_playwright import Axe  # type: ignore[import-untyped]  # no types
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

from insight_cloud.app.accounts import COOKIE
from insight_cloud.app.accounts import service as accounts
from insight_cloud.app.projects import service as projects
from tests.app.dashboard.conftest import town
from tests.app.dashboard.town import PASSWORD, Town

__all__ = ["town"]

CHROMIUM = Path(os.environ.get("TEST_CHROMIUM", "/usr/bin/chromium"))
SCREENSHOTS = os.environ.get("TEST_SCREENSHOTS")
"""A folder to keep a picture of every page in, for people to look at."""

FLAGS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
ALSO = {name: {"enabled": True} for name in ("target-size", "label-content-name-mismatch")}
"""Rules that axe leaves off by itself, and that Lighthouse judges by."""

Mode = Literal["light", "dark", "phone"]
MODES: tuple[Mode, ...] = ("light", "dark", "phone")
PAGES = {
    "overview": "/",
    "new-project": "/new",
    "project": "/projects/payments",
    "project-branch": "/projects/payments?branch=release/%3Cb%3E2.4%3C/b%3E",
    "project-new": "/projects/infra",
    "project-clean": "/projects/sdk",
    "issues": "/projects/payments/issues",
    "issues-filtered": "/projects/payments/issues?severity=high&severity=low&path=src/&q=time",
    "issues-fixed": "/projects/payments/issues?state=fixed",
    "issues-none": "/projects/payments/issues?rule=nothing",
    "issues-new": "/projects/infra/issues",
    "issue": "/projects/payments/issues/{timeout}",
    "issue-flow": "/projects/payments/issues/{flow}",
    "counts": "/projects/vault",
    "counts-issues": "/projects/vault/issues",
    "counts-settings": "/projects/vault/settings",
    "issue-long": "/projects/payments/issues/{long}",
    "issue-evil": "/projects/payments/issues/{evil}",
    "webhooks": "/projects/payments/webhooks",
    "webhook": "/projects/payments/webhooks/{webhook}",
    "users": "/operator/users",
    "tokens": "/operator/tokens",
    "audit": "/operator/audit",
    "usage": "/usage",
    "usage-all": "/operator/usage",
    "sources": "/projects/payments/sources",
    "sources-none": "/projects/infra/sources",
    "source-cancelled": "/projects/payments/sources/{cancelled}",
    "source-failed": "/projects/payments/sources/{failed}",
    "pulls": "/projects/payments/pulls",
    "pulls-none": "/projects/infra/pulls",
    "pull": "/projects/payments/pulls/17",
    "issues-pull": "/projects/payments/issues?branch=pull/17&gone=1",
    "issue-suppressed": "/projects/payments/issues/{suppressed}",
    "issues-judged": "/projects/payments/issues?muted=accepted",
    "suppressions": "/projects/payments/suppressions?rule=S113",
    "issue-fixed": "/projects/payments/issues/{fixed}",
    "analysis": "/projects/payments/analyses/{complete}",
    "analysis-incomplete": "/projects/payments/analyses/{incomplete}",
    "analysis-evil": "/projects/payments/analyses/{evil-analysis}",
    "project-settings": "/projects/payments/settings",
    "account": "/settings",
    "operator": "/operator?period=5m",
    "not-found": "/projects/no-such-project",
}
PUBLIC = {
    "sign-in": "/sign-in",
    "register": "/register",
    "forgot": "/forgot",
    "verify": "/verify/inl_x",
}


def address(town: Town, path: str) -> str:
    return town.url + re.sub(r"{([\w-]+)}", lambda name: town.ids[name[1]], path)


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    if not await asyncio.to_thread(CHROMIUM.exists):
        if os.environ.get("CI") == "true":
            pytest.fail(f"no browser at {CHROMIUM}; set TEST_CHROMIUM")
        pytest.skip(f"no browser at {CHROMIUM}; set TEST_CHROMIUM to one")
    flags = [*FLAGS, "--no-sandbox"] if os.geteuid() == 0 else [*FLAGS]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        await browser.close()


async def context(browser: Browser, town: Town, who: str = "", **options: Any) -> BrowserContext:
    """A new browser window, signed in when `who` is given."""
    opened = await browser.new_context(base_url=town.url, **options)
    opened.set_default_timeout(10_000)
    if who:
        secret = await town.session(who)
        await opened.add_cookies([{"name": COOKIE, "value": secret, "url": town.url}])
    return opened


def look(mode: Mode) -> dict[str, Any]:
    width, height = (390, 844) if mode == "phone" else (1280, 900)
    return {
        "viewport": {"width": width, "height": height},
        "color_scheme": "dark" if mode == "dark" else "light",
    }


@pytest.fixture(scope="session")
async def windows(browser: Browser, town: Town) -> AsyncIterator[dict[Mode, Page]]:
    """A page of somebody who is signed in, for each way to look."""
    opened = {mode: await context(browser, town, "ada", **look(mode)) for mode in MODES}
    yield {mode: await window.new_page() for mode, window in opened.items()}
    for window in opened.values():
        await window.close()


@pytest.fixture
async def page(browser: Browser, town: Town) -> AsyncIterator[Page]:
    """A page of somebody who is signed in, in a window of its own."""
    window = await context(browser, town, "ada")
    yield await window.new_page()
    await window.close()


async def inspect(page: Page, name: str, mode: Mode) -> None:
    """What must be true of every page."""
    if SCREENSHOTS:
        await page.screenshot(path=f"{SCREENSHOTS}/{name}-{mode}.png", full_page=True)
    overflow = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert overflow <= 0, f"{overflow} pixels too wide"
    # Nothing but the colours differs in the dark.
    options = {"runOnly": ["color-contrast"]} if mode == "dark" else {"rules": ALSO}
    found = await Axe().run(page, options=options)
    assert found.violations_count == 0, found.generate_report()


def listen(page: Page) -> list[str]:
    """Everything that should never be heard from a page: refused content, failures, dialogs."""
    heard: list[str] = []
    page.on("console", lambda said: heard.append(said.text))
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.on("dialog", lambda dialog: heard.append(dialog.message))
    return heard


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", PAGES)
async def test_a_page_is_accessible_and_fits(
    town: Town, windows: dict[Mode, Page], name: str, mode: Mode
) -> None:
    page = windows[mode]
    heard = listen(page)
    answer = await page.goto(address(town, PAGES[name]))
    assert answer is not None
    assert answer.status == (404 if name == "not-found" else 200)
    await inspect(page, name, mode)
    if name != "not-found":
        assert heard == []


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", PUBLIC)
async def test_a_public_page_is_accessible_and_fits(
    browser: Browser, town: Town, name: str, mode: Mode
) -> None:
    window = await context(browser, town, **look(mode))
    page = await window.new_page()
    heard = listen(page)
    await page.goto(PUBLIC[name])
    await inspect(page, name, mode)
    assert heard == []
    await window.close()


async def test_a_wide_overview_has_one_row_for_a_project(page: Page) -> None:
    await page.set_viewport_size({"width": 1280, "height": 900})
    await page.goto("/")
    row = page.locator(".project").first
    name, last = (
        await row.locator(".name").bounding_box(),
        await row.locator(".last").bounding_box(),
    )
    assert name is not None
    assert last is not None
    assert last["x"] > name["x"] + name["width"]
    assert last["y"] < name["y"] + name["height"] < last["y"] + last["height"] + 40
    opened = await row.locator(".open").bounding_box()
    assert opened is not None
    assert name["x"] + name["width"] < opened["x"] < opened["x"] + opened["width"] < last["x"]


@pytest.mark.parametrize("mode", MODES)
async def test_an_empty_overview_says_what_to_do(browser: Browser, town: Town, mode: Mode) -> None:
    window = await context(browser, town, "new", **look(mode))
    page = await window.new_page()
    await page.goto("/")
    await expect(page.get_by_text(f"insight login {town.url}")).to_be_visible()
    await expect(page.get_by_text("insight analyze . --upload")).to_be_visible()
    await inspect(page, "overview-empty", mode)
    await window.close()


@pytest.mark.parametrize("scripts", [True, False])
async def test_somebody_signs_in_and_finds_an_issue(
    browser: Browser, town: Town, *, scripts: bool
) -> None:
    window = await context(browser, town, java_script_enabled=scripts)
    page = await window.new_page()
    await page.goto("/projects/payments/issues")
    await expect(page).to_have_url(re.compile(r"/sign-in\?next="))
    await page.get_by_label("E-mail").fill("ada@example.org")
    await page.get_by_label("Password").fill("wrong wrong wrong")
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("alert")).to_contain_text("wrong")
    await expect(page.get_by_label("E-mail")).to_have_value("ada@example.org")
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").click()
    await expect(page).to_have_url(town.url + "/projects/payments/issues")
    await page.get_by_role("searchbox").fill("without timeout")
    await page.get_by_role("button", name="Apply").click()
    await expect(page).to_have_url(re.compile("q=without"))
    await page.locator(".issue a").first.click()
    await expect(page.get_by_role("heading", level=1)).to_contain_text("without timeout")
    await expect(page.get_by_text("holds the caller for ever")).to_be_visible()
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_text("You are signed out.")).to_be_visible()
    await page.goto("/")
    await expect(page).to_have_url(town.url + "/sign-in")
    await window.close()


async def test_the_list_is_walked_by_keyboard(page: Page) -> None:
    await page.goto("/projects/payments/issues")
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.locator("#main")).to_be_focused()
    items = page.locator(".issue a")
    await page.keyboard.press("j")
    await expect(items.nth(0)).to_be_focused()
    await page.keyboard.press("j")
    await page.keyboard.press("j")
    await page.keyboard.press("k")
    await expect(items.nth(1)).to_be_focused()
    await page.keyboard.press("/")
    await page.keyboard.type("timeout")
    await page.keyboard.press("Enter")
    await page.wait_for_url(re.compile("q=timeout"))
    await page.keyboard.press("j")
    await page.keyboard.press("Enter")
    await page.wait_for_url(re.compile(r"/issues/[0-9a-f-]{36}$"))
    await page.keyboard.press("u")
    await page.wait_for_url(re.compile(r"/issues$"))


async def test_a_maintainer_changes_the_gate_and_shows_the_badge(
    town: Town, browser: Browser, page: Page
) -> None:
    await page.goto("/projects/sdk/settings")
    await page.get_by_label("Demand").select_option("grade")
    await page.get_by_label("Grade", exact=True).select_option("B")
    await page.get_by_role("button", name="Add to the gate").click()
    await expect(page.get_by_text("The gate is as you wanted")).to_be_visible()
    await page.get_by_role("button", name="Remove: no new critical or high issues").click()
    await expect(page.get_by_text("no new critical or high issues")).to_have_count(0)
    await expect(page.get_by_text("grade B or better")).to_be_visible()
    await page.get_by_role("button", name="Back to the default").click()
    await expect(page.get_by_text("no new critical or high issues")).to_be_visible()
    window = await context(browser, town)
    outside = await window.new_page()
    answer = await outside.goto("/badge/sdk/main.svg")
    assert answer is not None
    assert answer.status == 404
    await page.get_by_label("Everybody may see the badge").check()
    await page.get_by_role("button", name="Save").click()
    await expect(page.locator("#badge-markdown")).to_contain_text("/badge/sdk/main.svg")
    answer = await outside.goto("/badge/sdk/main.svg")
    assert answer is not None
    assert (answer.status, answer.headers["content-type"]) == (200, "image/svg+xml")
    assert "insight: passed" in await answer.text()
    await window.close()


async def test_a_webhook_is_added_pinged_and_removed(page: Page) -> None:
    await page.goto("/projects/sdk/settings")
    await page.get_by_role("link", name="Manage them").click()
    await page.get_by_label("URL").fill("https://10.0.0.1/inside")
    await page.get_by_role("button", name="Add").click()
    await expect(page.get_by_label("URL")).to_have_attribute("aria-invalid", "true")
    await page.get_by_label("URL").fill("https://hooks.invalid/story")
    await page.get_by_role("button", name="Add").click()
    secret = (await page.locator("#webhook-secret").inner_text()).strip()
    assert secret.startswith("whsec_")
    await page.get_by_role("link", name="hooks.invalid").click()
    assert secret not in await page.content()
    await page.get_by_role("button", name="Send a ping").click()
    await expect(page.get_by_text("It is sent in a moment.")).to_be_visible()
    await expect(page.get_by_role("button", name="Send again: ping")).to_be_visible()
    await page.get_by_role("button", name="Pause").click()
    await expect(page.get_by_text("paused by Ada Lovelace")).to_be_visible()
    await page.get_by_role("button", name="Remove").click()
    await expect(page.get_by_text("Nobody is told anything yet.")).to_be_visible()


async def test_an_administrator_adds_promotes_and_disables(town: Town, page: Page) -> None:
    await page.goto("/operator/users")
    await page.get_by_label("Name").fill("Late Comer")
    await page.get_by_label("E-mail").fill("late@example.org")
    await page.get_by_role("button", name="Add", exact=True).click()
    link = (await page.locator("#invitation").inner_text()).strip()
    assert link.startswith(f"{town.url}/welcome/inl_")
    await page.get_by_role("button", name="Make administrator: Late Comer").click()
    await expect(page.get_by_role("row").filter(has_text="Late Comer")).to_contain_text(
        "administrator"
    )
    await page.get_by_role("button", name="Disable: Late Comer").click()
    await expect(page.get_by_role("row").filter(has_text="Late Comer")).to_contain_text("disabled")
    answer = await page.goto(link)
    assert answer is not None
    assert answer.status == 404
    await page.goto("/operator/audit")
    rows = page.get_by_role("row").filter(has_text="late@example.org")
    await expect(rows).to_have_count(3)
    await page.get_by_label("Event").select_option("user disabled")
    await page.wait_for_url(re.compile("event=user"))
    await expect(rows).to_have_count(1)
    await expect(rows).to_contain_text("127.0.0.1")


async def test_a_reviewer_reads_a_pull_request(town: Town, page: Page) -> None:
    await page.goto("/projects/payments")
    await page.get_by_role("link", name="Pull requests").click()
    await page.keyboard.press("j")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Pull request 17")
    await expect(page.get_by_text("Compared with")).to_be_visible()
    await page.get_by_role("link", name="In the list").click()
    await expect(page.get_by_text("fixed by this branch")).to_be_visible()
    await expect(page.locator(".issue").first).to_be_visible()


async def test_issues_are_ticked_and_judged_by_keyboard(town: Town, page: Page) -> None:
    await page.goto("/projects/shop/issues")
    items = page.locator(".issue a")
    texts = [await items.nth(n).get_attribute("href") for n in (0, 1)]
    await page.keyboard.press("j")
    await page.keyboard.press("x")
    await page.keyboard.press("j")
    await page.keyboard.press("x")
    await expect(page.get_by_text("(2 ticked)")).to_be_visible()
    await page.keyboard.press("t")
    await expect(page.get_by_label("What it is")).to_be_focused()
    await page.get_by_label("What it is").select_option("false_positive")
    await page.get_by_role("button", name="Judge, for every branch").click()
    await expect(page.get_by_label("Why")).to_have_attribute("aria-invalid", "true")
    for href in texts:
        await page.locator(f'.issue:has(a[href="{href}"]) [name=ids]').check()
    await page.get_by_label("Why").fill("only in tests")
    await page.get_by_role("button", name="Judge, for every branch").click()
    await expect(page.get_by_text("Judged, on every branch of the project.")).to_be_visible()
    shown = [await one.get_attribute("href") for one in await items.all()]
    assert not set(texts) & set(shown)
    await page.get_by_label("Not counted").select_option("false_positive")
    await page.wait_for_url(re.compile("muted=false_positive"))
    await expect(items).to_have_count(2)


@pytest.mark.parametrize("scripts", [True, False])
async def test_all_that_fit_are_judged_and_taken_back(
    browser: Browser, town: Town, *, scripts: bool
) -> None:
    window = await context(browser, town, "ada", java_script_enabled=scripts)
    page = await window.new_page()
    await page.goto("/projects/shop/issues?category=security")
    before = await page.locator(".issue").count()
    assert before > 1
    for verdict, reason in (("wont_fix", "old code"), ("open", "")):
        await page.get_by_text("Judge issues").click()
        await page.get_by_role("radio", name=re.compile("that fit")).check()
        await page.get_by_label("What it is").select_option(verdict)
        await page.get_by_label("Why").fill(reason)
        await page.get_by_role("button", name="Judge, for every branch").click()
        await expect(page.get_by_text("Judged, on every branch")).to_be_visible()
        await expect(page.locator(".issue")).to_have_count(0)
        await page.goto(
            "/projects/shop/issues?category=security"
            + ("&muted=wont_fix" if verdict == "wont_fix" else "")
        )
        await expect(page.locator(".issue")).to_have_count(before)
    await window.close()


async def test_an_issue_is_judged_and_a_rule_suppressed_from_its_page(
    town: Town, page: Page
) -> None:
    await page.goto("/projects/shop/issues?tool=lizard")
    await page.locator(".issue a").first.click()
    await page.get_by_label("What it is").select_option("accepted")
    await page.get_by_label("Why").fill("after the release")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_label("Until")).to_have_attribute("aria-invalid", "true")
    await page.get_by_label("Until").fill("2099-12-31")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("Judged, on every branch")).to_be_visible()
    await expect(page.locator(".history")).to_contain_text("Accepted until 2099-12-31")
    await page.get_by_role("link", name="Suppress by rule and path").click()
    await expect(page.get_by_label("Rule")).to_have_value("complexity")
    await page.get_by_label("Path").fill("")
    await page.get_by_label("Why").fill("another tool looks at it")
    await page.get_by_role("button", name="Suppress", exact=True).click()
    await expect(page.get_by_text("Suppressed, on every branch")).to_be_visible()
    await page.get_by_role("link", name="Issues they hold back").click()
    await expect(page.locator(".issue").first).to_be_visible()
    await page.goto("/projects/shop/suppressions")
    await page.get_by_role("button", name="Remove the suppression").click()
    await expect(page.get_by_text("its issues count again")).to_be_visible()


async def test_a_filter_applies_at_once_and_pages_go_on(page: Page) -> None:
    await page.goto("/projects/payments/issues")
    await page.get_by_role("checkbox", name=re.compile("^Low")).check()
    await page.wait_for_url(re.compile("severity=low"))
    assert "rule=" not in page.url
    await expect(page.get_by_role("heading", name=re.compile(r"^\d+ open issues$"))).to_be_visible()
    await page.get_by_role("link", name="Remove the filter low").click()
    await expect(page).to_have_url(re.compile(r"/issues$"))
    first = await page.locator(".issue a").first.get_attribute("href")
    await page.get_by_role("link", name="Next page").click()
    await expect(page).to_have_url(re.compile("cursor="))
    assert await page.locator(".issue a").first.get_attribute("href") != first
    await page.get_by_role("link", name="Back to the first page").click()
    assert await page.locator(".issue a").first.get_attribute("href") == first


async def test_colours_stay_as_chosen(page: Page) -> None:
    await page.goto("/projects/payments/issues?state=fixed")
    await page.get_by_role("button", name="Dark").click()
    await expect(page).to_have_url(re.compile(r"state=fixed$"))
    await expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    background = await page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert background == "rgb(14, 18, 23)"
    await page.goto("/")
    await expect(page.get_by_role("button", name="Dark")).to_have_attribute("aria-pressed", "true")


async def test_what_users_write_stays_text(town: Town, page: Page) -> None:
    heard = listen(page)
    for name in ("overview", "project", "issues", "issue-evil", "analysis-incomplete",
                 "analysis-evil", "project-settings", "project-branch", "issue-suppressed",
                 "suppressions", "pull", "pulls"):  # fmt: skip
        await page.goto(address(town, PAGES[name]))
        assert await page.locator("img, b, i, script:not([src])").count() == 0, name
        content = await page.content()
        assert "&lt;" in content, name
        assert "javascript:" not in re.sub(r"\(javascript:alert\(1\)\)", "", content), name
    assert heard == []


async def test_a_token_is_shown_once_and_revoked(town: Town, page: Page) -> None:
    await page.goto("/settings")
    await page.get_by_label("Name").fill("build machine")
    await page.get_by_role("button", name="Create token").click()
    secret = (await page.locator("#token-secret").inner_text()).strip()
    caller = await accounts.identify(town.context, secret, "token")
    assert caller is not None
    assert caller.scopes == {"read"}
    await page.get_by_role("link", name="Ada Lovelace").click()
    assert secret not in await page.content()
    await page.get_by_role("button", name="Revoke build machine").click()
    await expect(page.get_by_text("The token is revoked")).to_be_visible()
    assert await accounts.identify(town.context, secret, "token") is None
    await page.reload()
    await expect(page.get_by_text("The token is revoked")).to_have_count(0)


async def test_another_browser_is_signed_out(town: Town, page: Page) -> None:
    other = await town.session("ada")
    await page.goto("/settings")
    row = page.get_by_role("row").filter(has_text="Firefox on Linux")
    before = await row.count()
    await row.filter(has_not_text="this one").get_by_role("button").first.click()
    await expect(page.get_by_text("Signed out there.")).to_be_visible()
    await expect(row).to_have_count(before - 1)
    assert await accounts.identify(town.context, other, "session") is None


@pytest.mark.parametrize("mode", MODES)
async def test_a_link_sets_a_new_password_once(browser: Browser, town: Town, mode: Mode) -> None:
    link = f"/welcome/{await accounts.password_link(town.context, 'evil@example.org')}"
    window = await context(browser, town, **look(mode))
    page = await window.new_page()
    await page.goto(link)
    await inspect(page, "welcome", mode)
    await page.get_by_label("Password").fill("evil@example.org")
    await page.get_by_role("button", name="Save and sign in").click()
    await expect(page.get_by_label("Password")).to_have_attribute("aria-invalid", "true")
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Save and sign in").click()
    await expect(page.get_by_text("Welcome.")).to_be_visible()
    answer = await page.goto(link)
    assert answer is not None
    assert answer.status == 404
    await window.close()


async def test_a_project_lives_from_its_form_to_its_typed_deletion(town: Town, page: Page) -> None:
    await page.goto("/new")
    await page.get_by_label("Short name").fill("Not A Slug")
    await page.get_by_label("Name", exact=True).fill("Story")
    await page.get_by_role("button", name="Create project").click()
    await expect(page.get_by_label("Short name")).to_have_attribute("aria-invalid", "true")
    await page.get_by_label("Short name").fill("story")
    await page.get_by_role("button", name="Create project").click()
    await expect(page).to_have_url(town.url + "/projects/story")
    await expect(page.get_by_text("insight analyze . --upload --project story")).to_be_visible()
    await page.get_by_role("link", name="Settings", exact=True).click()
    await page.get_by_label("Add somebody by e-mail").fill("grace@example.org")
    await page.locator("#role").select_option("triager")
    await page.get_by_role("button", name="Add", exact=True).click()
    await expect(page.get_by_label("Role of Grace Hopper")).to_have_value("triager")
    await page.get_by_label("Add somebody by e-mail").fill("nobody@example.org")
    await page.get_by_role("button", name="Add", exact=True).click()
    await expect(page.get_by_role("alert")).to_contain_text("nobody@example.org")
    delete = page.get_by_role("button", name="Delete Story")
    await expect(delete).to_be_disabled()
    await page.get_by_label("Type story to confirm").fill("story")
    await delete.click()
    await expect(page.get_by_text("The project is deleted.")).to_be_visible()
    names = [project.slug for project in await projects.visible(town.context, await town.caller())]
    assert "story" not in names


async def test_copying_puts_the_command_on_the_clipboard(browser: Browser, town: Town) -> None:
    window = await context(browser, town, "new", permissions=["clipboard-read", "clipboard-write"])
    page = await window.new_page()
    await page.goto("/")
    await page.get_by_role("button", name="Copy “insight analyze").click()
    await expect(page.locator("#status")).to_have_text("Copied")
    copied = await page.evaluate("navigator.clipboard.readText()")
    assert copied == "insight analyze . --upload"
    await window.close()


async def test_the_operator_sees_how_pages_felt_and_that_none_broke_its_policy(
    page: Page, town: Town
) -> None:
    """A visit ends, its browser tells, and the operator's page shows it at p75."""
    await page.goto("/projects/payments")
    await page.get_by_role("link", name="Issues").first.click()
    await page.goto("/operator?period=5m")
    await page.reload()  # the browser told when the visit before ended
    vitals = page.get_by_role("region", name="Web Vitals")
    await expect(vitals.get_by_text("/projects/{slug}", exact=True).first).to_be_visible()
    await expect(vitals.get_by_text("Largest Contentful Paint").first).to_be_visible()
    await expect(page.get_by_role("heading", name="Browser reports")).to_be_visible()
    assert town.app.state.observation.reports.seen == {}


async def test_the_operators_page_is_for_administrators(browser: Browser, town: Town) -> None:
    window = await context(browser, town, "grace")
    page = await window.new_page()
    await page.goto("/")
    await expect(page.get_by_role("link", name="Operator")).to_have_count(0)
    answer = await page.goto("/operator")
    assert answer is not None
    assert answer.status == 403
    await window.close()
