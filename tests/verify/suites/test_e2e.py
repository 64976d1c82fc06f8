"""A good site passes in a real browser; what is planted in a bad one is found, with a picture."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from insight_cloud.verify import Subject, browser
from insight_cloud.verify.suites import e2e
from tests.verify.sites import CHROMIUM, HOME, STRICT, Page, Site, asked, serving, statuses

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        not CHROMIUM.exists() and os.environ.get("CI") != "true", reason=f"no browser at {CHROMIUM}"
    ),
]
JOURNEY = "register, sign out, sign in"
BAD = (
    "<!doctype html><html><head><title></title></head><body>"
    '<img src="/none.png"><img src="/other.png" alt="other">'
    "<script>nothing()</script><script src='/broken.js'></script>"
    '<img src="/dot.svg" alt="" width="2000"><a href="/gone">gone</a> <a href="/crash">crash</a>'
    "</body></html>"
)


async def test_a_good_site_passes_and_every_fault_of_a_bad_one_is_found() -> None:
    pictures: dict[str, bytes] = {}
    async with serving(Site()) as url:
        checks = await asked(e2e, url, pictures=pictures)
    assert {c.status for n, c in checks.items() if n != JOURNEY} == {"pass"}, statuses(checks)
    assert checks[JOURNEY].status == "not run"
    assert checks["the pages are shown"].detail == "2 pages"
    assert [data[:4] for data in pictures.values()] == [b"\x89PNG"]

    site = Site(gone=Page("gone", status=410), crash=Page("crash", status=500))
    site.pages["/"] = Page(BAD)
    site.pages["/dot.svg"] = Page('<svg xmlns="http://www.w3.org/2000/svg"/>', type="image/svg+xml")
    site.pages["/broken.js"] = Page("throw new Error('broken')", type="text/javascript")
    async with serving(site) as url:
        checks = await asked(e2e, url, pictures=pictures)
    fine = {"the pages are shown", JOURNEY, "every link leads somewhere"}
    assert {n for n, c in checks.items() if c.status == "fail"} == checks.keys() - fine, statuses(
        checks
    )
    assert checks["every page answers"].evidence == ("/gone: HTTP 410", "/crash: HTTP 500")
    assert "broken" in checks["no script fails"].detail
    assert checks["no script fails"].picture in pictures
    assert "/none.png: HTTP 404" in checks["all that a page needs is there"].detail
    assert any("image-alt" in line for line in checks["nothing keeps people out (axe)"].evidence)


async def test_a_link_that_is_not_visited_is_followed_too() -> None:
    links = "".join(f'<a href="/p{number}">{number}</a>' for number in range(8))
    site = Site()
    site.pages["/"] = Page(HOME.replace("</p>", links + "</p>"))
    site.pages |= {f"/p{number}": Page(HOME) for number in range(7)}
    async with serving(site) as url:
        checks = await asked(e2e, url)
    found = checks["every link leads somewhere"]
    assert found.evidence == ("/p7, on /: HTTP 404",), statuses(checks)


def accounts(*, fault: str = "") -> Site:
    """A site with accounts, kept in a cookie; `fault` is what is wrong with it."""

    def form(path: str, *names: str) -> str:
        fields = "".join(
            f'<input name="{n}" type="{"password" if n == "password" else "text"}">' for n in names
        )
        return (
            f'<h1>{path}</h1><form method="post" action="{path}">{fields}<button>Go</button></form>'
        )

    known: dict[str, str] = {}

    async def home(asked: dict[str, str]) -> Page | None:
        if "who=" not in asked.get("cookie", "") or "who=;" in asked["cookie"] + ";":
            return Page("", status=303, headers={"location": "/sign-in"})
        return None

    async def enter(asked: dict[str, str]) -> Page | None:
        if asked[":method"] == "GET":
            return None
        given = {name: values[0] for name, values in parse_qs(asked[":body"]).items()}
        if fault == "crash":
            return Page("<h1>Sorry</h1>", status=500)
        if "name" in given:
            known[given["email"]] = given["password"]
        elif known.get(given["email"]) != given["password"] and fault != "anybody":
            return Page("", status=303, headers={"location": "/sign-in"})
        kept = "" if fault == "forgets" else "who=1; Path=/; HttpOnly; SameSite=Lax"
        return Page("", status=303, headers={"location": "/", "set-cookie": kept})

    async def leave(asked: dict[str, str]) -> Page | None:
        gone = {"location": "/sign-in", "set-cookie": "who=; Path=/; Max-Age=0"}
        return Page("", status=303, headers=gone)

    button = (
        ""
        if fault == "stays"
        else '<form method="post" action="/sign-out"><button>Out</button></form>'
    )
    fields = ("name", "email") if fault == "no password" else ("name", "email", "password")
    site = Site(headers=STRICT)
    site.pages |= {
        "/": Page(HOME.replace("</main>", button + "</main>"), make=home),
        "/register": Page(form("/register", *fields), make=enter),
        "/sign-in": Page(form("/sign-in", "email", "password"), make=enter),
        "/sign-out": Page("", make=leave),
    }
    return site


LOST = {
    "": "an account was made and used",
    "crash": "registering ends in 500",
    "forgets": "nobody is signed in after registering",
    "anybody": "a wrong password signs in",
    "stays": "there is no button to sign out",
    "no password": "has no field 'password'",
}
"""What may be wrong with a site that has accounts, and what is told of it."""


async def test_the_journey_ends_where_it_cannot_go_on() -> None:
    async with browser.opened(Subject("http://127.0.0.1:1")) as opened:
        for fault, told in LOST.items():
            async with serving(accounts(fault=fault)) as url:
                answer = await e2e._journey(Subject(url, writes=True), opened)
            assert answer.status == ("fail" if fault else "pass"), answer
            assert told in answer.detail


async def test_without_a_browser_nothing_is_run() -> None:
    checks = await asked(e2e, "http://127.0.0.1:1", browser=Path("/none/chromium"))
    assert [check.status for check in checks.values()] == ["not run"]


async def test_a_site_that_is_away_is_an_error() -> None:
    checks = await asked(e2e, "http://127.0.0.1:1")
    assert [check.status for check in checks.values()] == ["error", "not run"]
