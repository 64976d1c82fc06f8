"""Sign-in by another service, against a provider on loopback: who gets in, and every attack."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import httpx
import msgspec
import pytest
from joserfc import jwk

from insight_cloud import wiring
from insight_cloud.app import web
from insight_cloud.app.accounts import COOKIE, oidc
from insight_cloud.app.accounts import service as accounts
from insight_cloud.core.errors import SettingsError
from insight_cloud.database import Pool
from insight_cloud.ratelimit import RateLimitSettings
from insight_cloud.settings import OidcSettings, Settings, load
from tests.app.accounts.house import House
from tests.app.accounts.idp import CLIENT, SECRET, Claims, Idp, provider, signed, unsigned

AMPLE = RateLimitSettings(api="100000/1h", auth="100000/1h", strict="100000/1h")


class Gate(House):
    """The whole application beside a provider, and browsers that go between both."""

    def beside(self, idp: Idp, **options: Any) -> None:
        self.idp = idp
        idp.clock = self.clock
        settings = Settings(
            ratelimit=AMPLE,
            oidc=OidcSettings(
                issuer=idp.url, client_id=CLIENT, client_secret=SECRET, name="Example", **options
            ),
        )
        components = wiring.Components(self.pool, limits=wiring.limits(settings))
        self.app = web.create(settings, components)
        self.context = replace(self.context, settings=settings, limits=components.limits)
        self.app.state.context = self.context

    def clock(self) -> float:
        return self.time.timestamp()

    def browser(self) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="https://insight.test")

    async def went(self, browser: httpx.AsyncClient, next_path: str = "/") -> str:
        """Begin, and return the address at the provider."""
        begun = await browser.get("/sign-in/oidc", params={"next": next_path})
        assert begun.status_code == 303, begun.text
        return begun.headers["location"]

    async def back(self, browser: httpx.AsyncClient, address: str) -> httpx.Response:
        """Come back by the address that the provider gave."""
        ours = self.context.settings.server.url
        assert address.startswith(f"{ours}{oidc.CALLBACK}?")
        return await browser.get(address.removeprefix(ours))

    async def sign_in(self, next_path: str = "/") -> httpx.Response:
        """The whole way, in a new browser."""
        async with self.browser() as browser:
            return await self.back(browser, self.idp.visit(await self.went(browser, next_path)))

    async def sessions(self) -> int:
        return await self.count("sessions")


@pytest.fixture
async def gate(pool: Pool) -> AsyncIterator[Gate]:
    async with provider() as idp, Gate(pool) as gate:
        gate.beside(idp)
        yield gate


def session_in(answer: httpx.Response) -> str:
    """The session that an answer begins; by the clock of the tests, it has long expired."""
    for line in answer.headers.get_list("set-cookie"):
        name, _, value = line.partition(";")[0].partition("=")
        if name == COOKIE:
            return value
    return ""


def assert_in(answer: httpx.Response, target: str = "/") -> None:
    assert (answer.status_code, answer.headers["location"]) == (303, target), answer.text
    assert session_in(answer)


def assert_out(answer: httpx.Response, words: str, status: int = 403) -> None:
    assert answer.status_code == status
    assert session_in(answer) == ""
    assert words in answer.text
    assert answer.headers["cache-control"] == "no-store"


# -- who gets in -------------------------------------------------------------------------------


async def test_somebody_new_gets_an_account_and_comes_again(gate: Gate) -> None:
    assert_in(await gate.sign_in("/projects/x?a=b"), "/projects/x?a=b")
    ada = await accounts.find_user(gate.context, "ada@example.com")
    assert (ada.name, ada.is_admin, ada.verified_at) == ("Ada Lovelace", False, gate.time)
    gate.idp.person.email = "ada.new@example.com"  # the subject is who it is, not the address
    assert_in(await gate.sign_in())
    assert await gate.count("users") == 1
    for key in ("ES", "RS"):
        gate.later(minutes=1)
        gate.idp.rotate("EC" if key == "ES" else "RSA")
        gate.app.state.provider._keys.at -= 60
        assert_in(await gate.sign_in())


async def test_the_session_is_a_real_one(gate: Gate) -> None:
    answer = await gate.sign_in()
    caller = await accounts.identify(gate.context, session_in(answer), "session")
    assert caller is not None
    assert caller.email == "ada@example.com"
    events = await gate.pool.fetch_all("select event, detail from audit_log order by id", tuple)
    assert events == [("user added", "by single sign-on"), ("signed in", "single sign-on")]
    with pytest.raises(Exception, match="wrong"):
        await accounts.sign_in(gate.context, email="ada@example.com", password="")


async def test_an_account_is_linked_only_when_its_address_was_confirmed(gate: Gate) -> None:
    """Who registered an address first may be somebody else, waiting for its owner to come."""
    await accounts.register(
        gate.context, email="ada@example.com", name="Mallory", password="a long enough secret"
    )
    assert_out(await gate.sign_in(), "nobody has shown that it is theirs")
    assert await gate.pool.fetch_value("select count(*) from identities") == 0
    await gate.pool.execute("update users set verified_at = now()")
    assert_in(await gate.sign_in())
    assert await gate.count("users") == 1


async def test_who_was_invited_comes_in_without_a_password(gate: Gate) -> None:
    admin = await gate.caller("root", is_admin=True)
    await accounts.invite(gate.context, admin, email="ADA@example.com", name="Ada")
    assert_in(await gate.sign_in())
    assert await gate.count("users") == 2


async def test_the_address_is_asked_for_where_the_token_does_not_say(gate: Gate) -> None:
    gate.idp.claims = lambda claims: claims | {"email": None, "email_verified": None}
    assert_in(await gate.sign_in())
    assert "/userinfo" in gate.idp.asked


async def test_domains_and_accounts_can_be_bounded(gate: Gate) -> None:
    gate.beside(gate.idp, allowed_domains=("corp.example",))
    assert_out(await gate.sign_in(), "address like yours")
    gate.idp.person.email = "eve@corp.example.evil.org"
    assert_out(await gate.sign_in(), "address like yours")
    gate.idp.person.email = "ada@CORP.example"
    assert_in(await gate.sign_in())
    gate.beside(gate.idp, create_accounts=False)
    gate.idp.person.sub, gate.idp.person.email = "another", "bob@example.com"
    assert_out(await gate.sign_in(), "ask an administrator")


async def test_who_is_disabled_stays_out(gate: Gate) -> None:
    assert_in(await gate.sign_in())
    await accounts.disable(gate.context, "ada@example.com")
    assert_out(await gate.sign_in(), "disabled")


async def test_the_page_offers_it_only_where_it_is_set(gate: Gate, pool: Pool) -> None:
    async with gate.browser() as browser:
        page = await browser.get("/sign-in?next=/new")
        assert "Sign in by Example" in page.text
        assert 'href="/sign-in/oidc?next=/new"' in page.text
    async with House(pool) as house:
        app = web.create(Settings(), wiring.Components(pool))
        app.state.context = house.context
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="https://x.test") as browser:
            assert "oidc" not in (await browser.get("/sign-in")).text
            assert (await browser.get("/sign-in/oidc")).status_code == 404
            assert (await browser.get(oidc.CALLBACK)).status_code == 404


# -- attacks on the token ----------------------------------------------------------------------


def _none(idp: Idp, claims: Claims) -> str:
    return unsigned({"alg": "none"}, claims)


def _none_in_capitals(idp: Idp, claims: Claims) -> str:
    return unsigned({"alg": "NONE", "kid": idp.keys[0].kid}, claims)


def _public_key_as_secret(idp: Idp, claims: Claims) -> str:
    """HS256 with the provider's public key, which everybody has."""
    secret = idp.keys[0].as_pem(private=False)
    return _hmac(secret, idp.keys[0].kid, claims)


def _our_secret(idp: Idp, claims: Claims) -> str:
    return _hmac(SECRET.encode(), idp.keys[0].kid, claims)


def _hmac(secret: bytes, kid: str, claims: Claims) -> str:
    bare = unsigned({"alg": "HS256", "kid": kid}, claims).rpartition(".")[0]
    signature = hmac.new(secret, bare.encode(), hashlib.sha256).digest()
    return f"{bare}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


def _strangers_key(idp: Idp, claims: Claims) -> str:
    stranger = jwk.generate_key("RSA", 2048, {"kid": idp.keys[0].kid})
    return signed(stranger, claims)


def _key_in_the_header(idp: Idp, claims: Claims) -> str:
    """A token that brings the key by which it wants to be checked."""
    from joserfc import jws

    stranger = jwk.generate_key("RSA", 2048)
    header = {"alg": "RS256", "jwk": stranger.as_dict(private=False)}
    return jws.serialize_compact(header, msgspec.json.encode(claims), stranger, ["RS256"])


def _changed_after(idp: Idp, claims: Claims) -> str:
    head, _, signature = signed(idp.keys[0], claims).split(".")
    other = msgspec.json.encode(claims | {"email": "root@example.com"})
    return f"{head}.{base64.urlsafe_b64encode(other).decode().rstrip('=')}.{signature}"


def _without_signature(idp: Idp, claims: Claims) -> str:
    return signed(idp.keys[0], claims).rpartition(".")[0] + "."


def _of_nonsense(idp: Idp, claims: Claims) -> str:
    return "a.b.c"


FORGED: tuple[Callable[[Idp, Claims], str], ...] = (
    _none,
    _none_in_capitals,
    _public_key_as_secret,
    _our_secret,
    _strangers_key,
    _key_in_the_header,
    _changed_after,
    _without_signature,
    _of_nonsense,
)
UNFIT: tuple[tuple[Claims, str], ...] = (
    ({"nonce": "another"}, "does not belong to this sign-in"),
    ({"nonce": None}, "does not belong to this sign-in"),
    ({"iss": "https://evil.example"}, "from another provider"),
    ({"iss": None}, "from another provider"),
    ({"aud": "another"}, "for somebody else"),
    ({"aud": ["another"]}, "for somebody else"),
    ({"aud": None}, "for somebody else"),
    ({"aud": [CLIENT, "another"]}, "for another program"),
    ({"aud": [CLIENT, "another"], "azp": "another"}, "for another program"),
    ({"azp": "another"}, "for another program"),
    ({"exp": 1_000_000_000}, "has expired"),
    ({"exp": None}, "has expired"),
    ({"exp": "9999999999"}, "has expired"),
    ({"iat": 1_000_000_000}, "not made just now"),
    ({"iat": 9_999_999_999}, "not made just now"),
    ({"nbf": 9_999_999_999}, "not valid yet"),
    ({"sub": None}, "who it is about"),
    ({"sub": 7}, "who it is about"),
    ({"sub": "x" * 256}, "who it is about"),
    ({"email_verified": False}, "does not vouch"),
    ({"email_verified": "true"}, "does not vouch"),
    ({"email_verified": None}, "does not vouch"),
    ({"email": "not an address"}, "does not tell your address"),
)


async def test_a_forged_signature_is_refused(gate: Gate) -> None:
    for sign in FORGED:
        gate.idp.sign = sign
        assert_out(await gate.sign_in(), "The ")
        assert await gate.sessions() == 0, sign
        assert await gate.count("users") == 0, sign


async def test_a_claim_that_does_not_fit_is_refused(gate: Gate) -> None:
    for change, words in UNFIT:
        gate.idp.claims = _with(change)
        assert_out(await gate.sign_in(), words)
        assert await gate.sessions() == 0, change
        assert await gate.count("users") == 0, change


def _with(change: Claims) -> Callable[[Claims], Claims]:
    return lambda claims: claims | change


# -- attacks on the way ------------------------------------------------------------------------


async def test_an_answer_works_once(gate: Gate) -> None:
    async with gate.browser() as browser:
        address = gate.idp.visit(await gate.went(browser))
        kept = browser.cookies.get(oidc.COOKIE)
        assert_in(await gate.back(browser, address))
        async with gate.browser() as thief:
            thief.cookies.set(oidc.COOKIE, kept or "", path="/sign-in/oidc")
            assert_out(await gate.back(thief, address), "was used already")


async def test_an_answer_works_in_the_browser_that_asked(gate: Gate) -> None:
    """Somebody sends a victim the end of a sign-in of their own (login CSRF)."""
    async with gate.browser() as attacker, gate.browser() as victim:
        address = gate.idp.visit(await gate.went(attacker))
        assert_out(await gate.back(victim, address), "not begun in this browser")
        await gate.went(victim)
        async with gate.browser() as again:
            other = gate.idp.visit(await gate.went(again))
        assert_out(await gate.back(victim, other), "not begun in this browser")
    assert await gate.sessions() == 0


async def test_an_invented_state_is_refused(gate: Gate) -> None:
    gate.idp.answer = lambda answer: answer | {"state": "invented"}
    assert_out(await gate.sign_in(), "not begun in this browser")
    assert "/token" not in gate.idp.asked


async def test_an_answer_that_comes_too_late_is_refused(gate: Gate) -> None:
    async with gate.browser() as browser:
        address = gate.idp.visit(await gate.went(browser))
        gate.later(minutes=11)
        assert_out(await gate.back(browser, address), "took too long")


async def test_a_code_of_another_sign_in_is_refused(gate: Gate) -> None:
    """PKCE: a stolen code is of no use with another verifier."""
    async with gate.browser() as victim, gate.browser() as attacker:
        stolen = gate.idp.visit(await gate.went(victim)).split("code=")[1].split("&")[0]
        gate.idp.answer = lambda answer: answer | {"code": stolen}
        assert_out(
            await gate.back(attacker, gate.idp.visit(await gate.went(attacker))),
            "does not accept the code",
        )


@pytest.mark.parametrize("issuer", ["https://evil.example", ""])
async def test_an_answer_of_another_provider_is_refused(gate: Gate, issuer: str) -> None:
    """Mix-up (RFC 9207): the code of one provider is not sent to another."""
    gate.idp.answer = lambda answer: {
        **{name: value for name, value in answer.items() if name != "iss"},
        **({"iss": issuer} if issuer else {}),
    }
    assert_out(await gate.sign_in(), "another provider")
    assert "/token" not in gate.idp.asked


@pytest.mark.parametrize(
    "target", ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)"]
)
async def test_nobody_is_sent_to_another_site_afterwards(gate: Gate, target: str) -> None:
    assert_in(await gate.sign_in(target), "/")


async def test_what_the_provider_says_of_an_error_stays_out_of_the_page(gate: Gate) -> None:
    evil = "<script>alert(1)</script>"
    gate.idp.answer = lambda answer: {
        "state": answer["state"], "error": evil, "error_description": evil,
    }  # fmt: skip
    answer = await gate.sign_in()
    assert_out(answer, "it gave no reason that we know")
    assert evil not in answer.text
    gate.idp.answer = lambda answer: {"state": answer["state"], "error": "access_denied"}
    assert_out(await gate.sign_in(), "you did not allow it there")


async def test_a_key_that_was_taken_back_is_not_believed_for_long(gate: Gate) -> None:
    assert_in(await gate.sign_in())
    taken_back = gate.idp.keys[0]
    gate.idp.rotate()
    gate.idp.sign = lambda idp, claims: signed(taken_back, claims)
    gate.app.state.provider._keys.at -= 3601
    assert_out(await gate.sign_in(), "signature")


async def test_a_new_key_without_an_id_is_found(gate: Gate) -> None:
    gate.idp.keys = [jwk.generate_key("RSA", 2048)]
    gate.idp.sign = lambda idp, claims: signed(idp.keys[0], claims, kid="")
    assert_in(await gate.sign_in())
    gate.idp.keys = [jwk.generate_key("RSA", 2048)]
    gate.app.state.provider._keys.at -= 60
    assert_in(await gate.sign_in())


async def test_tokens_with_unknown_keys_do_not_make_us_fetch_for_ever(gate: Gate) -> None:
    assert_in(await gate.sign_in())
    gate.idp.sign = lambda idp, claims: signed(idp.keys[0], claims, kid="invented")
    for _ in range(5):
        assert_out(await gate.sign_in(), "signature")
    assert gate.idp.asked.count("/keys") == 1


async def test_who_signs_in_elsewhere_often_waits(gate: Gate) -> None:
    settings = gate.context.settings.model_copy(update={"ratelimit": RateLimitSettings(api="3/1h")})
    components = wiring.Components(gate.pool, limits=wiring.limits(settings))
    app = web.create(settings, components)
    app.state.context = gate.context
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="https://insight.test") as http:
        statuses = [(await http.get("/sign-in/oidc")).status_code for _ in range(5)]
    assert statuses == [303] * 3 + [429] * 2


# -- a provider that cannot be trusted or reached ----------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"issuer": "https://evil.example"},
        {"token_endpoint": None},
        {"token_endpoint": "file:///etc/passwd"},
        {"jwks_uri": "https://user@evil.example/keys"},
        {"authorization_endpoint": "javascript:alert(1)"},
    ],
)
async def test_a_provider_that_makes_no_sense_is_not_used(gate: Gate, change: Claims) -> None:
    gate.idp.discovery = lambda document: document | change
    async with gate.browser() as browser:
        answer = await browser.get("/sign-in/oidc")
    assert answer.status_code == 503
    assert await gate.pool.fetch_value("select count(*) from sign_ins") == 0


async def test_a_provider_that_is_away_is_said(gate: Gate) -> None:
    async with gate.browser() as browser:
        address = gate.idp.visit(await gate.went(browser))
        gate.app.state.provider._discovery.document["token_endpoint"] = "http://127.0.0.1:1/token"
        answer = await gate.back(browser, address)
    assert_out(answer, "annot reach the provider", 503)
    assert SECRET not in answer.text


@pytest.mark.parametrize(
    "values",
    [
        {"issuer": "https://id.example"},
        {"issuer": "http://id.example", "client_id": "x", "client_secret": "y"},
        {
            "issuer": "https://id.example",
            "client_id": "x",
            "client_secret": "y",
            "scopes": "openid",
        },
    ],
)
def test_settings_that_cannot_work_are_refused(values: dict[str, str]) -> None:
    names = {f"INSIGHT_OIDC__{name.upper()}": value for name, value in values.items()}
    with pytest.raises(SettingsError, match="oidc"):
        load(environment=names)


async def test_nothing_of_a_sign_in_is_stored_in_the_clear(gate: Gate) -> None:
    async with gate.browser() as browser:
        address = await gate.went(browser)
        state = address.split("state=")[1].split("&")[0]
        stored = await gate.pool.fetch_value("select string_agg(s::text, ' ') from sign_ins s")
        assert state not in stored
        assert (browser.cookies.get(oidc.COOKIE) or "?") not in stored
        gate.later(minutes=11)
        await accounts.clean(gate.context)
        assert await gate.pool.fetch_value("select count(*) from sign_ins") == 0
