"""Cross-origin requests: exactly the named origins, and never with a wildcard and cookies."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insight_cloud.core.asgi import App
from insight_cloud.core.errors import SettingsError
from insight_cloud.headers import Cors
from tests.headers.asking import Reply, answering, ask

OURS = "https://app.example.com"
ALLOW = "access-control-allow-origin"


def cors(app: App | None = None, **settings: Any) -> Cors:
    return Cors(app or answering(), **({"origins": [OURS]} | settings))


async def preflight(app: App, origin: str, method: str = "GET", **asked: str) -> Reply:
    names = {"origin": origin, "access-control-request-method": method}
    names |= {f"access-control-request-{k.replace('_', '-')}": v for k, v in asked.items()}
    pairs = [(name.encode(), value.encode()) for name, value in names.items()]
    return await ask(app, "/api/x", method="OPTIONS", headers=pairs)


async def get(app: App, origin: str | None, path: str = "/api/x") -> Reply:
    return await ask(app, path, headers=[(b"origin", origin.encode())] if origin else [])


async def test_a_named_origin_may_read() -> None:
    reply = await get(cors(credentials=True, exposed_headers=["etag"]), OURS)
    assert reply.value(ALLOW) == OURS
    assert reply.value("access-control-allow-credentials") == "true"
    assert reply.value("access-control-expose-headers") == "etag"
    assert reply.value("vary") == "origin"
    assert reply.body == b"hello"


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "https://evil.example",
        "https://app.example.com.evil.example",
        "https://xapp.example.com",
        "http://app.example.com",
        "https://app.example.com:8443",
        "HTTPS://APP.EXAMPLE.COM",
        "https://app.example.com/",
        "*",
        "",
    ],
)
async def test_no_other_origin_may_read_or_ask(origin: str) -> None:
    reply = await get(cors(), origin or " ")
    assert reply.values(ALLOW) == []
    assert reply.value("vary") == "origin"
    assert reply.status == 200
    refused = await preflight(cors(), origin)
    assert (refused.status, refused.values(ALLOW)) == (403, [])


@given(st.text(alphabet="htps:/.apexmlco*null@#?", max_size=30))
def test_only_exact_matches_are_found(origin: str) -> None:
    app = cors()
    assert bool(app._of(app._answers, origin)) == (origin == OURS)


async def test_caches_learn_that_the_answer_depends_on_the_origin() -> None:
    assert (await get(cors(), None)).value("vary") == "origin"
    kept = await get(cors(answering((b"vary", b"cookie"))), OURS)
    assert kept.values("vary") == ["cookie", "origin"]
    known = await get(cors(answering((b"Vary", b"Cookie, Origin"))), OURS)
    assert known.values("vary") == ["Cookie, Origin"]


async def test_a_preflight_is_answered_without_the_application() -> None:
    async def unreachable(*_: Any) -> None:
        raise AssertionError

    reply = await preflight(
        cors(unreachable, max_age_seconds=600), OURS, "POST", headers="Content-Type, authorization"
    )
    assert reply.status == 204
    assert reply.body == b""
    assert reply.value(ALLOW) == OURS
    assert reply.value("access-control-allow-headers") == "authorization, content-type"
    assert "POST" in reply.value("access-control-allow-methods")
    assert reply.value("access-control-max-age") == "600"
    assert "access-control-request-headers" in reply.value("vary")
    assert reply.values("access-control-allow-private-network") == []


@pytest.mark.parametrize(
    ("method", "asked", "reason"),
    [
        ("TRACE", {}, b"method"),
        ("get", {}, b"method"),
        ("GET", {"headers": "x-evil"}, b"header"),
        ("GET", {"private_network": "true"}, b"private network"),
    ],
)
async def test_a_preflight_for_more_is_refused(
    method: str, asked: dict[str, str], reason: bytes
) -> None:
    reply = await preflight(cors(), OURS, method, **asked)
    assert (reply.status, reply.values(ALLOW)) == (403, [])
    assert reason in reply.body


async def test_options_without_a_preflight_and_other_paths_are_the_applications() -> None:
    plain = await ask(cors(), "/api/x", method="OPTIONS", headers=[(b"origin", OURS.encode())])
    assert plain.status == 200
    elsewhere = await get(cors(), OURS, "/login")
    assert elsewhere.pairs == []


async def test_what_the_application_allows_itself_is_not_doubled() -> None:
    reply = await get(cors(answering((b"access-control-allow-origin", b"*"))), OURS)
    assert reply.values(ALLOW) == ["*"]


async def test_everybody_may_read_public_data_without_cookies() -> None:
    public = cors(origins=["*"])
    reply = await get(public, "https://any.example")
    assert reply.value(ALLOW) == "*"
    assert reply.values("vary") == []
    assert (await preflight(public, "https://any.example")).value(ALLOW) == "*"
    assert (await get(public, "null")).values(ALLOW) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"origins": ["*"], "credentials": True},
        {"origins": ["*", OURS]},
        {"origins": ["null"]},
        {"origins": [""]},
        {"origins": ["app.example.com"]},
        {"origins": ["https://"]},
        {"origins": ["https://*.example.com"]},
        {"origins": ["https://app.example.com/"]},
        {"origins": ["https://App.example.com"]},
        {"origins": ["https://app.example.com:443"]},
        {"origins": ["http://app.example.com:80"]},
        {"origins": ["https://app.example.com:"]},
        {"origins": ["https://app.example.com:99999"]},
        {"origins": ["https://me@app.example.com"]},
        {"origins": ["https://app.example.com\r\nx: y"]},
        {"origins": ["https://bücher.example"]},
        {"origins": ["ftp://app.example.com"]},
        {"prefixes": "/api/"},
        {"methods": ["GE T"]},
        {"request_headers": ["*"]},
        {"exposed_headers": ["etag\r\nset-cookie: a=b"]},
        {"max_age_seconds": -1},
        {"max_age_seconds": 86_401},
    ],
)
def test_what_no_browser_would_match_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        cors(**wrong)


@pytest.mark.parametrize("origin", ["http://localhost:3000", "http://[::1]:8000"])
def test_ports_and_addresses_are_origins(origin: str) -> None:
    cors(origins=[origin])
