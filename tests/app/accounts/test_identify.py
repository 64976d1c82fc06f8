from __future__ import annotations

import httpx
import pytest
from fastapi import Request, Response

from insight_cloud.app.accounts import forget, remember, secret, service
from tests.app.accounts.house import PASSWORD, SAME_SITE, House, bearer


async def _post(house: House, cookie: str, **headers: str) -> httpx.Response:
    """Make a project by a form of a page, as a browser would send it."""
    return await house.http.post(
        "/api/v1/projects",
        json={"slug": "demo", "name": "Demo"},
        headers={
            "cookie": f"insight_session={cookie}",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        },
    )


FROM_HERE = [
    {"sec_fetch_site": "same-origin"},
    {"sec_fetch_site": "none"},
    {"origin": "https://insight.test"},
    {"origin": "https://insight.test:8443", "host": "insight.test:8443"},
]
FROM_ELSEWHERE = [
    {},
    {"sec_fetch_site": "cross-site"},
    {"sec_fetch_site": "same-site"},
    {"sec_fetch_site": "cross-site", "origin": "https://insight.test"},
    {"origin": "https://evil.test"},
    {"origin": "https://insight.test.evil.test"},
    {"origin": "https://insight.test:444"},
    {"origin": "null"},
    {"origin": ""},
    {"origin": "", "host": ""},
]


async def test_our_own_pages_may_use_the_cookie(house: House) -> None:
    await house.user("ada")
    cookie = (await house.session("ada")).secret
    for headers in FROM_HERE:
        answer = await _post(house, cookie, **headers)
        assert answer.status_code in {201, 409}, (headers, answer.text)


async def test_another_site_may_not_use_the_cookie(house: House) -> None:
    await house.user("ada")
    cookie = (await house.session("ada")).secret
    for headers in FROM_ELSEWHERE:
        answer = await _post(house, cookie, **headers)
        assert answer.status_code == 403, headers
        assert answer.headers["content-type"] == "application/problem+json"
        assert "another site" in answer.json()["detail"]
    assert await house.count("projects") == 0


async def test_a_link_on_another_site_may_show_a_page(house: House) -> None:
    await house.user("ada")
    cookie = (await house.session("ada")).secret
    answer = await house.http.get(
        "/api/v1/me",
        headers={"cookie": f"insight_session={cookie}", "sec-fetch-site": "cross-site"},
    )
    assert answer.status_code == 200
    assert answer.json()["kind"] == "session"


async def test_a_token_may_come_from_anywhere(house: House) -> None:
    headers = await house.person("ada")
    answer = await house.http.post(
        "/api/v1/projects",
        json={"slug": "demo", "name": "Demo"},
        headers=headers | {"sec-fetch-site": "cross-site"},
    )
    assert answer.status_code == 201


UNKNOWN = [
    "",
    "Bearer",
    "Bearer ",
    "Basic YWRhOnNlY3JldA==",
    "Bearer nonsense",
    "Bearer ' or '1'='1",
    "Bearer " + "x" * 10_000,
    "Bearer ins_" + "0" * 49,
    "Bearer " + secret.make("token"),
    "Bearer " + secret.make("access"),
    "Bearer " + secret.make("session"),
    "Bearer " + secret.make("refresh"),
]


async def test_who_is_not_known_is_asked_to_sign_in(house: House) -> None:
    for authorization in UNKNOWN:
        answer = await house.http.get("/api/v1/me", headers={"authorization": authorization})
        assert answer.status_code == 401, authorization
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.json()["title"] == "Not signed in"


async def test_the_scheme_is_read_in_any_case_of_letters(house: House) -> None:
    headers = await house.person("ada")
    text = headers["authorization"].removeprefix("Bearer ")
    answer = await house.http.get("/api/v1/me", headers={"authorization": f"bEaReR  {text}"})
    assert answer.status_code == 200


async def test_a_wrong_token_does_not_fall_back_to_the_cookie(house: House) -> None:
    await house.user("ada")
    cookie = (await house.session("ada")).secret
    headers = bearer("nonsense") | {"cookie": f"insight_session={cookie}"}
    assert (await house.http.get("/api/v1/me", headers=headers)).status_code == 401


async def test_an_access_token_is_no_cookie_and_a_session_no_token(house: House) -> None:
    headers = await house.person("ada")
    access = headers["authorization"].removeprefix("Bearer ")
    session = (await house.session("ada")).secret
    cookie = {"cookie": f"insight_session={access}"} | SAME_SITE
    assert (await house.http.get("/api/v1/me", headers=cookie)).status_code == 401
    assert (await house.http.get("/api/v1/me", headers=bearer(session))).status_code == 401


async def test_an_expired_cookie_is_nobodys(house: House) -> None:
    await house.user("ada")
    session = await house.session("ada")
    cookie = {"cookie": f"insight_session={session.secret}"}
    assert (await house.http.get("/api/v1/me", headers=cookie)).status_code == 200
    house.later(days=7)
    assert (await house.http.get("/api/v1/me", headers=cookie)).status_code == 401


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_the_cookie_is_hidden_from_scripts_and_other_sites(house: House, scheme: str) -> None:
    await house.user("ada")
    session = await house.session("ada")

    @house.app.get("/in")
    async def enter(request: Request) -> Response:
        response = Response()
        remember(response, request, session)
        return response

    @house.app.get("/out")
    async def leave(request: Request) -> Response:
        response = Response()
        forget(response, request)
        return response

    entered = await house.http.get(f"{scheme}://insight.test/in")
    cookie = entered.headers["set-cookie"]
    assert cookie.startswith(f"insight_session={session.secret}; ")
    assert "HttpOnly" in cookie
    assert "Path=/" in cookie
    assert "SameSite=lax" in cookie
    assert "expires=Sun, 08 Mar 2026 12:00:00 GMT" in cookie
    assert ("Secure" in cookie) == (scheme == "https")
    left = (await house.http.get(f"{scheme}://insight.test/out")).headers["set-cookie"]
    assert "Max-Age=0" in left
    assert ("Secure" in left) == (scheme == "https")


async def test_signing_out_by_cookie_deletes_it(house: House) -> None:
    await house.user("ada")
    cookie = f"insight_session={(await house.session('ada')).secret}"
    refused = await house.http.post("/api/v1/auth/logout", headers={"cookie": cookie})
    assert refused.status_code == 403
    done = await house.http.post("/api/v1/auth/logout", headers={"cookie": cookie} | SAME_SITE)
    assert done.status_code == 204
    assert 'insight_session="";' in done.headers["set-cookie"]
    again = await house.http.get("/api/v1/me", headers={"cookie": cookie})
    assert again.status_code == 401


async def test_the_guard_needs_no_account(house: House) -> None:
    """A signed-out person's cookie of old does not weaken or break anything."""
    await house.user("ada")
    signed_in = await service.sign_in(house.context, email="ada@example.com", password=PASSWORD)
    await service.sign_out(house.context, signed_in.secret)
    assert (await _post(house, signed_in.secret, sec_fetch_site="none")).status_code == 401
