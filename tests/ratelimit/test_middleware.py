from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import httpx
import pytest

from insight_cloud.core.asgi import App, Message, Receive, Scope, Send
from insight_cloud.ratelimit import DECISION, Addresses, Limiter, Pair, Policy, RateLimit

API = Policy("api", limit=3, window=timedelta(minutes=15))
AUTH = Policy("auth", limit=1, window=timedelta(minutes=15))


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    start = {"type": "http.response.start", "status": 200, "headers": [(b"x-own", b"1")]}
    await send(start)
    await send({"type": "http.response.body", "body": b"hello"})


def policies(scope: Scope) -> Sequence[Pair]:
    address = Addresses()(scope)
    if scope["path"] == "/free":
        return ()
    if scope["path"] == "/sign-in":
        return [(API, address), (AUTH, address)]
    return [(API, address)]


def client(app: App) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=app, client=("203.0.113.7", 1))
    return httpx.AsyncClient(transport=transport, base_url="http://service")


async def test_every_response_says_how_the_client_stands() -> None:
    async with client(RateLimit(hello, Limiter(), policies=policies)) as http:
        answer = await http.get("/")
    assert (answer.status_code, answer.text, answer.headers["x-own"]) == (200, "hello", "1")
    assert answer.headers["ratelimit-policy"] == '"api";q=3;w=900'
    assert answer.headers["ratelimit"] == '"api";r=2;t=900'
    assert "retry-after" not in answer.headers


async def test_one_request_too_many_is_a_problem_document() -> None:
    async with client(RateLimit(hello, Limiter(), policies=policies)) as http:
        for _ in range(3):
            assert (await http.get("/")).status_code == 200
        answer = await http.get("/")
    assert answer.status_code == 429
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["retry-after"] in {"899", "900"}
    assert answer.headers["ratelimit"].startswith('"api";r=0;t=')
    assert answer.json()["violated-policies"] == ["api"]


async def test_several_policies_are_one_decision_and_one_header() -> None:
    async with client(RateLimit(hello, Limiter(), policies=policies)) as http:
        answer = await http.get("/sign-in")
        assert answer.headers["ratelimit"] == '"api";r=2;t=900, "auth";r=0;t=900'
        assert (await http.get("/sign-in")).json()["violated-policies"] == ["auth"]
        answer = await http.get("/")
    assert answer.headers["ratelimit"] == '"api";r=1;t=900'


async def test_what_has_no_policy_passes_unasked() -> None:
    async with client(RateLimit(hello, Limiter(), policies=policies)) as http:
        for _ in range(10):
            answer = await http.get("/free")
            assert answer.status_code == 200
    assert "ratelimit-policy" not in answer.headers


async def test_forged_headers_change_nothing() -> None:
    async with client(RateLimit(hello, Limiter(), policies=policies)) as http:
        codes = [
            (
                await http.get(
                    "/", headers={"X-Forwarded-For": f"6.6.6.{n}", "CF-Connecting-IP": f"7.7.7.{n}"}
                )
            ).status_code
            for n in range(5)
        ]
    assert codes == [200, 200, 200, 429, 429]


async def test_the_application_may_give_the_permit_back() -> None:
    limiter = Limiter()

    async def generous(scope: Scope, receive: Receive, send: Send) -> None:
        await limiter.refund(scope[DECISION])
        await hello(scope, receive, send)

    async with client(RateLimit(generous, limiter, policies=policies)) as http:
        for _ in range(10):
            assert (await http.get("/sign-in")).status_code == 200


@pytest.mark.parametrize("kind", ["lifespan"])
async def test_other_scopes_pass(kind: str) -> None:
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    async def receive() -> Message:
        return {}

    async def send(message: Message) -> None:
        raise AssertionError(message)

    await RateLimit(app, Limiter(), policies=policies)({"type": kind}, receive, send)
    assert seen == [kind]


async def test_a_websocket_too_many_is_closed_before_it_opens() -> None:
    sent: list[Any] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})

    limited = RateLimit(app, Limiter(), policies=lambda _: [(AUTH, "a")])
    for _ in range(2):
        await limited({"type": "websocket", "path": "/", "headers": []}, receive, send)
    assert [message["type"] for message in sent] == ["websocket.accept", "websocket.close"]
    assert json.dumps(sent[1])
