"""Pages over HTTP, without a browser: who gets in, what is refused, what every answer carries."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, NoReturn, cast
from urllib.robotparser import RobotFileParser
from uuid import uuid4

import httpx
import pytest

from insight_cloud.app import api, web
from insight_cloud.app.accounts import COOKIE, secret
from insight_cloud.app.accounts import service as accounts
from insight_cloud.app.dashboard import assets
from insight_cloud.app.dashboard.frames import local
from insight_cloud.core.errors import Unavailable
from insight_cloud.database import Pool
from insight_cloud.settings import AccountsSettings, Settings
from tests.app.dashboard.town import PASSWORD, Town

OURS = {"sec-fetch-site": "same-origin"}


def client(app: Any, *, session: str = "") -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    cookies = {COOKIE: session} if session else {}
    return httpx.AsyncClient(transport=transport, base_url="https://insight.test", cookies=cookies)


@pytest.fixture
async def nobody(town: Town) -> AsyncIterator[httpx.AsyncClient]:
    async with client(town.app) as http:
        yield http


@pytest.fixture
async def ada(town: Town) -> AsyncIterator[httpx.AsyncClient]:
    async with client(town.app, session=await town.session("ada")) as http:
        yield http


@pytest.fixture
async def evil(town: Town) -> AsyncIterator[httpx.AsyncClient]:
    """A triager of one project, and of no other."""
    async with client(town.app, session=await town.session("evil")) as http:
        yield http


def test_pages_are_not_in_the_api_document() -> None:
    assert all(path.startswith("/api/") for path in web.openapi()["paths"])


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/", "/sign-in"),
        ("/settings", "/sign-in?next=%2Fsettings"),
        ("/projects/x?q=a&path=b", "/sign-in?next=%2Fprojects%2Fx%3Fq%3Da%26path%3Db"),
    ],
)  # fmt: skip
async def test_who_is_not_signed_in_is_sent_there(
    nobody: httpx.AsyncClient, path: str, target: str
) -> None:
    answer = await nobody.get(path)
    assert (answer.status_code, answer.headers["location"]) == (303, target)


@pytest.mark.parametrize(
    "text",
    ["https://evil.org", "//evil.org", "/\\evil.org", "\\\\evil.org", "/\t/evil.org", "evil",
     "javascript:alert(1)", "/%0d%0a\r\nset-cookie: a=b", "http:/evil.org", ""],
)  # fmt: skip
def test_no_link_of_ours_leads_away(text: str) -> None:
    assert local(text) == "/"


async def test_signing_in_leads_only_to_our_own_pages(nobody: httpx.AsyncClient) -> None:
    for wanted, target in (("//evil.org", "/"), ("/settings?a=b", "/settings?a=b")):
        form = {"email": "grace@example.org", "password": PASSWORD, "next": wanted}
        answer = await nobody.post("/sign-in", data=form, headers=OURS)
        assert answer.headers["location"] == target
        cookie = answer.headers["set-cookie"]
        assert all(word in cookie for word in ("HttpOnly", "Secure", "SameSite=lax"))
    answer = await nobody.get("/sign-in", params={"next": "https://evil.org"})
    assert answer.headers["location"] == "/"


@pytest.mark.parametrize("path", ["/sign-in", "/register", "/theme", "/sign-out", "/new"])
@pytest.mark.parametrize("headers", [{}, {"sec-fetch-site": "cross-site"}])
async def test_a_form_of_another_site_is_refused(
    ada: httpx.AsyncClient, path: str, headers: dict[str, str]
) -> None:
    answer = await ada.post(path, data={"name": "x", "slug": "x"}, headers=headers)
    assert answer.status_code == 403
    assert "another site" in answer.text


async def test_another_teams_project_does_not_exist(evil: httpx.AsyncClient) -> None:
    paths = ["", "/issues", "/settings", f"/issues/{uuid4()}", f"/analyses/{uuid4()}"]
    for path in paths:
        hidden = await evil.get(f"/projects/private{path}")
        absent = await evil.get(f"/projects/nowhere{path}")
        assert hidden.status_code == absent.status_code == 404
        assert hidden.text.replace("private", "nowhere") == absent.text
    for path in ("", "/members", "/members/remove", "/tokens", "/delete"):
        form = {"confirm": "private", "email": "evil@example.org", "role": "maintainer"}
        answer = await evil.post(f"/projects/private/settings{path}", data=form, headers=OURS)
        assert answer.status_code == 404


async def test_an_issue_is_found_only_in_its_project(town: Town, ada: httpx.AsyncClient) -> None:
    issue, analysis = town.ids["timeout"], town.ids["complete"]
    assert (await ada.get(f"/projects/payments/issues/{issue}")).status_code == 200
    for path in (f"issues/{issue}", f"analyses/{analysis}", "issues/7", "analyses/x'--"):
        assert (await ada.get(f"/projects/shop/{path}")).status_code == 404


async def test_who_may_not_manage_sees_no_settings(evil: httpx.AsyncClient) -> None:
    page = await evil.get("/projects/payments")
    assert page.status_code == 200
    assert "/projects/payments/settings" not in page.text
    answer = await evil.get("/projects/payments/settings")
    assert answer.status_code == 403
    assert "takes the role maintainer" in answer.text


@pytest.mark.parametrize(
    "query",
    ["q=%00", "q=%25_%5C", "rule='--", "severity=1;drop", "branch=%00", "path=%ff", "new_in=x",
     "state=all&suppressed=1", "q=" + "x" * 5000],
)  # fmt: skip
async def test_no_filter_breaks_the_list(ada: httpx.AsyncClient, query: str) -> None:
    assert (await ada.get(f"/projects/payments/issues?{query}")).status_code == 200


async def test_a_wrong_cursor_or_branch_is_said(ada: httpx.AsyncClient) -> None:
    assert (await ada.get("/projects/payments/issues?cursor=xyz")).status_code == 422
    assert (await ada.get("/projects/payments/issues?branch=gone")).status_code == 404
    assert (await ada.get("/projects/payments?branch=gone")).status_code == 404


async def test_every_page_forbids_what_it_does_not_need(
    ada: httpx.AsyncClient, nobody: httpx.AsyncClient
) -> None:
    answers = [await ada.get(path) for path in ("/", "/settings", "/nowhere", "/projects/sdk")]
    answers.append(await nobody.get("/sign-in"))
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self' 'nonce-")
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] in {"private, no-cache", "no-store"}
        assert answer.headers["vary"].startswith("cookie")


async def test_a_secret_is_kept_by_no_cache(ada: httpx.AsyncClient) -> None:
    form = {"token_name": "x", "token_scopes": "read", "token_days": "30"}
    answer = await ada.post("/settings/tokens", data=form, headers=OURS)
    assert answer.headers["cache-control"] == "no-store"
    form = {"token_name": "", "token_days": "30"}
    answer = await ada.post("/settings/tokens", data=form, headers=OURS)
    assert answer.status_code == 422


async def test_a_token_of_a_project_is_for_that_project(town: Town, ada: httpx.AsyncClient) -> None:
    form = {"token_name": "ci of story", "token_scopes": "ingest", "token_days": ""}
    page = await ada.post("/projects/sdk/settings/tokens", data=form, headers=OURS)
    text = page.text.partition('id="token-secret">')[2].partition("<")[0]
    caller = await accounts.identify(town.context, text, "token")
    assert caller is not None
    assert (caller.project, caller.scopes) == ("sdk", frozenset({"ingest"}))
    number = page.text.partition("/settings/tokens/")[2].partition("/revoke")[0]
    path = f"/projects/sdk/settings/tokens/{number}/revoke"
    assert (await ada.post(path, headers=OURS)).status_code == 303
    assert await accounts.identify(town.context, text, "token") is None


async def test_a_project_is_deleted_only_by_its_typed_name(ada: httpx.AsyncClient) -> None:
    answer = await ada.post("/projects/sdk/settings/delete", data={"confirm": "x"}, headers=OURS)
    assert answer.status_code == 422
    assert "nothing was deleted" in answer.text
    assert (await ada.get("/projects/sdk")).status_code == 200


async def test_the_last_maintainer_stays(town: Town) -> None:
    async with client(town.app, session=await town.session("grace")) as grace:
        answer = await grace.post(
            "/projects/private/settings/members/remove",
            data={"email": "grace@example.org"},
            headers=OURS,
        )
    assert answer.status_code == 422
    assert "would have no maintainer" in answer.text


async def test_a_notice_is_shown_once_and_only_from_our_list(ada: httpx.AsyncClient) -> None:
    ada.cookies.set("insight_notice", "saved")
    shown = await ada.get("/")
    assert "Saved." in shown.text
    assert 'insight_notice=""' in shown.headers["set-cookie"]
    ada.cookies.clear()
    ada.cookies.set("insight_notice", "You won a prize")
    assert "prize" not in (await ada.get("/sign-in")).text


async def test_search_engines_find_the_way_in_and_nothing_else(
    ada: httpx.AsyncClient, nobody: httpx.AsyncClient
) -> None:
    robots = RobotFileParser()
    robots.parse((await nobody.get("/robots.txt")).text.replace("$", "").splitlines())
    for path in ("/sign-in", "/register", "/forgot"):
        assert robots.can_fetch("anything", path)
        page = (await nobody.get(path)).text
        assert page.count('<meta name="description" content="') == 1
        assert "noindex" not in page
    for path in ("/", "/projects/sdk", "/settings", "/verify/inl_x", "/welcome/inl_x"):
        assert not robots.can_fetch("anything", path)
        page = (await ada.get(path)).text
        assert '<meta name="robots" content="noindex">' in page
        assert 'name="description"' not in page


async def test_closed_registration_is_not_offered(pool: Pool) -> None:
    settings = Settings(accounts=AccountsSettings(registration="closed"))
    app = web.create(settings)
    app.state.context = api.Context(pool, settings)
    async with client(app) as http:
        assert "/register" not in (await http.get("/sign-in")).text
        assert (await http.get("/register")).status_code == 403
        form = {"name": "x", "email": "x@example.org", "password": PASSWORD}
        assert (await http.post("/register", data=form, headers=OURS)).status_code == 403


async def test_the_first_administrator_comes_by_a_link(pool: Pool) -> None:
    app = web.create(Settings())
    context = app.state.context = api.Context(pool, Settings())
    link = await accounts.first_admin_link(context)
    async with client(app) as http:
        assert "first administrator" in (await http.get(f"/welcome/{link}")).text
        form = {"name": "Ada", "email": "ada@example.org", "password": "short"}
        answer = await http.post(f"/welcome/{link}", data=form, headers=OURS)
        assert answer.status_code == 422
        answer = await http.post(
            f"/welcome/{link}", data=form | {"password": PASSWORD}, headers=OURS
        )
        assert answer.headers["location"] == "/"
        page = await http.get("/")
        assert "Ada" in page.text
        assert "No project yet" in page.text
        assert (await http.get(f"/welcome/{link}")).status_code == 404


class _Away:
    """A database that does not answer."""

    def __getattr__(self, name: str) -> Any:
        async def ask(*_: object, **__: object) -> NoReturn:
            raise Unavailable("the database does not answer", retry_after=2.5)

        return ask


async def test_a_page_says_when_to_come_back() -> None:
    app = web.create(Settings())
    app.state.context = api.Context(cast("Pool", _Away()), Settings())
    async with client(app, session=secret.make("session")) as http:
        answer = await http.get("/projects/x?branch=y")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "3"
    assert answer.headers["content-type"].startswith("text/html")
    assert "Not available right now" in answer.text
    assert 'href="/projects/x?branch=y"' in answer.text


async def test_what_does_not_exist_is_a_page_for_people_and_a_document_for_programs(
    ada: httpx.AsyncClient,
) -> None:
    page = await ada.get("/no/such/page")
    assert page.status_code == 404
    assert "There is nothing here" in page.text
    program = await ada.get("/api/v1/nothing")
    assert program.headers["content-type"] == "application/problem+json"
    assert (await ada.post("/", headers=OURS)).status_code == 405


async def test_files_are_kept_for_ever_and_unknown_ones_are_not(nobody: httpx.AsyncClient) -> None:
    path = assets.address("app.css")
    answer = await nobody.get(path, headers={"accept-encoding": "gzip"})
    assert answer.content == assets.named("app.css").body
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["content-type"] == "text/css; charset=utf-8"
    brotli = await nobody.get(path, headers={"accept-encoding": "gzip, br, zstd"})
    assert brotli.headers["content-encoding"] == "br"
    assert brotli.content == answer.content
    known = {"accept-encoding": "gzip", "if-none-match": answer.headers["etag"]}
    again = await nobody.get(path, headers=known)
    assert again.status_code == 304
    plain = await nobody.get(path, headers={"accept-encoding": "identity"})
    assert plain.content == answer.content
    assert "content-encoding" not in plain.headers
    for wrong in (
        "/static/app.css",
        path.replace("app", "../app"),
        "/static/",
        "/static/routes.py",
    ):
        answer = await nobody.get(wrong)
        assert answer.status_code == 404
    assert (await nobody.get("/favicon.ico")).headers["content-type"] == "image/svg+xml"
    page = await nobody.get("/sign-in")
    assert f"<{path}>; rel=preload; as=style" in page.headers["link"]
    assert "Disallow: /" in (await nobody.get("/robots.txt")).text


async def test_numbers_come_from_the_kept_counts(town: Town, ada: httpx.AsyncClient) -> None:
    await town.context.cache.clear()
    before = town.calls()
    for path in ("/", "/projects/payments", "/projects/payments/issues"):
        assert (await ada.get(path)).status_code == 200
    asked = {name for name, calls in town.calls().items() if calls > before.get(name, 0)}
    assert {"overview", "newest", "weeks", "open_by_both"} <= asked
    # The two top lists read an index of the open issues of one branch; nothing else counts.
    assert asked & town.counting == {"top_rules", "top_paths"}
