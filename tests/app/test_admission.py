"""Which requests are limited, for whom, and that no header or invented secret changes that."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx
import pytest

from insight_cloud import wiring
from insight_cloud.app import api, web
from insight_cloud.app.accounts import COOKIE, secret
from insight_cloud.app.accounts import service as accounts
from insight_cloud.database import Pool
from insight_cloud.ratelimit import RateLimitSettings
from insight_cloud.settings import Settings

PASSWORD = "a long enough secret"
OURS = {"sec-fetch-site": "same-origin"}
FORGED = {
    "x-forwarded-for": "198.51.100.{}",
    "cf-connecting-ip": "198.51.100.{}",
    "forwarded": "for=198.51.100.{}",
    "x-real-ip": "198.51.100.{}",
}

Open = Callable[..., AbstractAsyncContextManager["Door"]]


class Door:
    """The application with limits, and somebody in front of it."""

    def __init__(self, pool: Pool, settings: Settings) -> None:
        components = wiring.Components(pool, limits=wiring.limits(settings))
        self.context = api.Context.of(components, settings)
        self.app = web.create(settings, components)
        self.app.state.context = self.context

    def client(self, address: str = "203.0.113.7", **headers: str) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(self.app, client=(address, 1), raise_app_exceptions=False)
        return httpx.AsyncClient(
            transport=transport, base_url="https://insight.test", headers=headers
        )

    async def user(self, name: str) -> str:
        await accounts.add_user(
            self.context, email=f"{name}@example.org", name=name, password=PASSWORD
        )
        made = await accounts.tokens(self.context, email=f"{name}@example.org", password=PASSWORD)
        return f"Bearer {made.access_token}"


@pytest.fixture
def door(pool: Pool) -> Open:
    @asynccontextmanager
    async def opened(**limits: Any) -> AsyncIterator[Door]:
        yield Door(pool, Settings(ratelimit=RateLimitSettings(**limits)))

    return opened


async def attempt(
    http: httpx.AsyncClient, email: str, password: str = "wrong", **headers: str
) -> Any:
    form = {"email": email, "password": password}
    return await http.post("/sign-in", data=form, headers=OURS | headers)


async def test_the_sixth_attempt_to_sign_in_is_refused_with_a_page(door: Open) -> None:
    async with door() as house, house.client() as http:
        await house.user("ada")
        for number in range(5):
            answer = await attempt(http, f"nobody{number}@example.org")
            assert answer.status_code == 422
            assert answer.headers["ratelimit"].startswith(f'"auth";r={4 - number}')
        answer = await attempt(http, "ada@example.org", PASSWORD)
    assert answer.status_code == 429
    assert 890 <= int(answer.headers["retry-after"]) <= 900
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.headers["x-frame-options"] == "DENY"
    assert "Too many requests" in answer.text
    assert COOKIE not in answer.headers["set-cookie"]


async def test_a_program_is_told_with_a_problem_document(door: Open) -> None:
    async with door(auth="1/15m closed") as house, house.client() as http:
        body = {"email": "a@example.org", "password": "x"}
        assert (await http.post("/api/v1/auth/token", json=body)).status_code == 401
        answer = await http.post("/api/v1/auth/token", json=body)
    assert answer.status_code == 429
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["violated-policies"] == ["auth"]
    assert answer.headers["ratelimit-policy"] == '"api";q=100;w=900, "auth";q=1;w=900'


@pytest.mark.parametrize("name", FORGED)
async def test_a_forged_header_changes_nothing(door: Open, name: str) -> None:
    async with door() as house, house.client() as http:
        for number in range(5):
            header = {name: FORGED[name].format(number)}
            assert (await attempt(http, f"n{number}@example.org", **header)).status_code == 422
        header = {name: FORGED[name].format(99)}
        assert (await attempt(http, "n9@example.org", **header)).status_code == 429


async def test_an_account_is_guarded_against_many_addresses(door: Open) -> None:
    async with door() as house:
        await house.user("ada")
        for number in range(5):
            async with house.client(f"203.0.113.{number}") as http:
                assert (await attempt(http, "Ada@Example.org")).status_code == 422
        async with house.client("203.0.113.99") as http:
            answer = await attempt(http, "ada@example.org", PASSWORD)
            assert answer.status_code == 429
            assert 890 <= int(answer.headers["retry-after"]) <= 900
            assert (await attempt(http, "grace@example.org")).status_code == 422


async def test_signing_in_does_not_use_up_an_accounts_attempts(door: Open) -> None:
    async with door() as house:
        await house.user("ada")
        for number in range(8):
            async with house.client(f"203.0.113.{number}") as http:
                answer = await attempt(http, "ada@example.org", PASSWORD)
                assert answer.status_code == 303


async def test_the_api_is_limited_by_user_and_not_by_address(door: Open) -> None:
    async with door(api="3/15m") as house:
        ada, grace = await house.user("ada"), await house.user("grace")
        async with house.client() as http:
            for _ in range(3):
                answer = await http.get("/api/v1/me", headers={"authorization": ada})
                assert answer.status_code == 200
            answer = await http.get("/api/v1/me", headers={"authorization": ada})
            assert answer.status_code == 429
            answer = await http.get("/api/v1/me", headers={"authorization": grace})
            assert answer.status_code == 200
        async with house.client("192.0.2.1") as http:
            answer = await http.get("/api/v1/me", headers={"authorization": ada})
            assert answer.status_code == 429


async def test_invented_secrets_count_for_the_address_and_are_soon_not_looked_up(
    door: Open,
) -> None:
    async with door(api="3/15m") as house, house.client() as http:
        ada = await house.user("ada")
        assert (await http.get("/api/v1/me", headers={"authorization": ada})).status_code == 200
        statuses = []
        for _ in range(6):
            invented = f"Bearer {secret.make('access')}"
            answer = await http.get("/api/v1/me", headers={"authorization": invented})
            statuses.append(answer.status_code)
        assert statuses == [401, 401, 401, 429, 429, 429]
        looked_up = next(
            one.calls
            for one in house.context.pool.recorder.statements()
            if one.name == "find_session"
        )
        for _ in range(5):
            invented = f"Bearer {secret.make('access')}"
            await http.get("/api/v1/me", headers={"authorization": invented})
        assert looked_up == next(
            one.calls
            for one in house.context.pool.recorder.statements()
            if one.name == "find_session"
        )
        # Somebody who was known before the address was used up goes on.
        assert (await http.get("/api/v1/me", headers={"authorization": ada})).status_code == 200


async def test_pages_and_health_are_not_limited_and_registering_is_strict(door: Open) -> None:
    async with door(api="1/15m", strict="2/1h") as house, house.client() as http:
        for _ in range(5):
            assert (await http.get("/sign-in")).status_code == 200
            assert (await http.get("/api/health")).status_code == 200
        for number in range(2):
            form = {"name": "x", "email": f"x{number}@example.org", "password": PASSWORD}
            answer = await http.post("/register", data=form, headers=OURS)
            assert answer.status_code == 303
        form = {"name": "x", "email": "y@example.org", "password": PASSWORD}
        assert (await http.post("/register", data=form, headers=OURS)).status_code == 429
