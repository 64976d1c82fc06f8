"""The headers on the answers: all there, the nonce fresh, the application's own kept."""

import asyncio
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insight_cloud.core.asgi import Message, Receive, Scope, Send
from insight_cloud.core.errors import SettingsError
from insight_cloud.headers import Headers, csp, nonce
from tests.headers.asking import answering, ask

EXPECTED = {
    "content-security-policy",
    "strict-transport-security",
    "x-frame-options",
    "x-content-type-options",
    "x-xss-protection",
    "referrer-policy",
    "permissions-policy",
    "x-dns-prefetch-control",
    "cross-origin-opener-policy",
    "cross-origin-resource-policy",
    "reporting-endpoints",
}


async def test_a_page_gets_every_header_once() -> None:
    reply = await ask(Headers(answering(), report_url="/reports"))
    assert sorted(name.decode() for name, _ in reply.pairs) == sorted(EXPECTED)
    assert reply.value("strict-transport-security") == (
        "max-age=63072000; includeSubDomains; preload"
    )
    assert reply.value("x-xss-protection") == "0"
    assert reply.value("reporting-endpoints") == 'default="/reports"'
    assert reply.value("content-security-policy").endswith(
        "; report-to default; report-uri /reports"
    )


async def test_the_nonce_of_the_policy_is_the_one_that_templates_see() -> None:
    seen: list[tuple[str, Any]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append((nonce(scope), scope["state"]["nonce"]))
        await answering()(scope, receive, send)

    for _ in range(2):
        reply = await ask(Headers(app))
        found = re.findall(r"'nonce-([^']+)'", reply.value("content-security-policy"))
        assert set(found) == set(seen[-1])
        assert len(found) == 2  # scripts and styles
    assert seen[0] != seen[1]


async def test_the_state_of_the_application_stays() -> None:
    scope: Scope = {"state": {"pool": 1}}
    await ask(Headers(answering()), scope=scope)
    assert scope["state"]["pool"] == 1


async def test_no_two_of_many_concurrent_requests_share_a_nonce() -> None:
    app = Headers(answering())
    replies = await asyncio.gather(*(ask(app) for _ in range(2000)))
    policies = {reply.value("content-security-policy") for reply in replies}
    assert len(policies) == 2000
    assert all(re.search(r"'nonce-[A-Za-z0-9_-]{22}'", policy) for policy in policies)


async def test_the_api_has_a_policy_of_its_own_without_a_nonce() -> None:
    scope: Scope = {}
    reply = await ask(Headers(answering()), "/api/v1/issues", scope=scope)
    assert reply.value("content-security-policy") == csp.API
    assert nonce(scope) == ""
    assert "default-src 'none'; script-src" in (
        (await ask(Headers(answering()), "/apiary")).value("content-security-policy")
    )


async def test_headers_of_the_application_are_kept_in_any_case() -> None:
    own = [(b"Content-Security-Policy", b"img-src 'self'"), (b"x-frame-options", b"SAMEORIGIN")]
    reply = await ask(Headers(answering(*own)))
    assert reply.value("content-security-policy") == "img-src 'self'"
    assert reply.value("x-frame-options") == "SAMEORIGIN"
    assert reply.value("x-content-type-options") == "nosniff"


async def test_hsts_is_sent_over_https_only() -> None:
    reply = await ask(Headers(answering()), scheme="http")
    assert reply.values("strict-transport-security") == []
    behind_a_proxy = Headers(answering(), https=lambda scope: True)
    reply = await ask(behind_a_proxy, scheme="http")
    assert len(reply.values("strict-transport-security")) == 1
    off = Headers(answering(), hsts_stage="off")
    assert (await ask(off)).values("strict-transport-security") == []


async def test_a_policy_can_be_tried_without_enforcing_it() -> None:
    reply = await ask(Headers(answering(), report_only=True))
    assert reply.values("content-security-policy") == []
    assert "'nonce-" in reply.value("content-security-policy-report-only")


async def test_a_policy_without_a_nonce_makes_none() -> None:
    scope: Scope = {}
    reply = await ask(Headers(answering(), page_policy="default-src 'self'"), scope=scope)
    assert reply.value("content-security-policy") == "default-src 'self'"
    assert "headers.nonce" not in scope


async def test_extra_headers_are_sent() -> None:
    reply = await ask(Headers(answering(), extra={"Origin-Agent-Cluster": "?1"}))
    assert reply.value("origin-agent-cluster") == "?1"


async def test_a_refused_websocket_is_an_answer_too_and_lifespan_is_none() -> None:
    sent: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await send({"type": "lifespan.startup.complete"})
            return
        await send({"type": "websocket.http.response.start", "status": 403, "headers": []})

    async def receive() -> Message:
        return {}

    async def send(message: Message) -> None:
        sent.append(message)

    wrapped = Headers(app)
    await wrapped({"type": "lifespan"}, receive, send)
    await wrapped({"type": "websocket", "path": "/", "scheme": "wss"}, receive, send)
    assert sent[0] == {"type": "lifespan.startup.complete"}
    assert b"strict-transport-security" in dict(sent[1]["headers"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"page_policy": "script-src 'unsafe-inline'"},
        {"api_policy": "script-src 'nonce-{nonce}'"},
        {"report_url": "reports"},
        {"report_url": '/a", evil="https://evil.example'},
        {"report_url": "/a; script-src *"},
        {"api_prefixes": ["api/"]},
        {"api_prefixes": "/api/"},
        {"extra": {"x y": "1"}},
        {"referrer_policy": ""},
        {"referrer_policy": " no-referrer"},
    ],
)
def test_what_cannot_be_sent_is_refused_at_construction(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        Headers(answering(), **wrong)


_TEXTS = [
    "page_policy",
    "api_policy",
    "report_url",
    "frame_options",
    "referrer_policy",
    "permissions_policy",
    "opener_policy",
    "resource_policy",
]


@pytest.mark.parametrize("name", _TEXTS)
@given(
    control=st.characters(max_codepoint=0x1F) | st.characters(min_codepoint=0x7F),
    where=st.integers(0, 7),
)
def test_no_setting_can_smuggle_in_a_line(name: str, control: str, where: int) -> None:
    base = {"page_policy": "img-src a", "api_policy": "img-src a", "report_url": "/reports"}
    text = base.get(name, "no-referrer")
    value = text[:where] + control + text[where:]
    with pytest.raises(SettingsError):
        Headers(answering(), **{name: value})  # type: ignore[arg-type]  # names chosen at random


@given(name=st.text(), value=st.text())
def test_extra_headers_are_single_printable_lines(name: str, value: str) -> None:
    try:
        app = Headers(answering(), extra={name: value})
    except SettingsError:
        return
    for key, text in app._common:
        assert re.fullmatch(rb"[a-z0-9-]+", key)
        assert re.fullmatch(rb"[\x20-\x7e]+", text)
