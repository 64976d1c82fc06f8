"""Letters over a real SMTP server: a forgotten password, an address that is confirmed."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from dataclasses import replace

import httpx
import pytest

from insight_cloud import wiring
from insight_cloud.app import web
from insight_cloud.app.accounts import COOKIE, recovery
from insight_cloud.app.accounts import service as accounts
from insight_cloud.core.errors import Unauthenticated
from insight_cloud.ratelimit import RateLimitSettings
from insight_cloud.settings import NotifySettings, Settings
from tests.app.accounts.house import PASSWORD, SAME_SITE, House
from tests.notify.receivers import MailServer, mail_server

AMPLE = RateLimitSettings(api="100000/1h", auth="100000/1h", strict="8/1h")
NEW = "another long secret"


class Post(House):
    """The whole application with a mail server."""

    def with_mail(self, port: int | None) -> None:
        notify = NotifySettings()
        if port is not None:
            notify = NotifySettings(
                smtp_host="127.0.0.1",
                smtp_port=port,
                smtp_security="none",
                email_to=("ops@example.com",),
                email_from="Insight <insight@example.com>",
            )
        settings = Settings(ratelimit=AMPLE, notify=notify)
        components = wiring.Components(self.pool, limits=wiring.limits(settings))
        self.app = web.create(settings, components)
        self.context = replace(
            self.context,
            settings=settings,
            limits=components.limits,
            mail=wiring.mail(settings),
        )
        self.app.state.context = self.context
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app),
            base_url="https://insight.test",
            headers=SAME_SITE,
        )

    async def forgot(self, email: str) -> httpx.Response:
        answer = await self.http.post("/forgot", data={"email": email})
        await recovery.settled()
        return answer


@pytest.fixture
async def mail() -> AsyncIterator[MailServer]:
    async with mail_server() as server:
        yield server


@pytest.fixture
async def house(pool: object, mail: MailServer) -> AsyncIterator[Post]:
    async with Post(pool) as house:  # type: ignore[arg-type]
        house.with_mail(mail.port)
        yield house


def link_in(mail: MailServer) -> str:
    text = mail.letters[-1].get_content()
    found = re.search(r"https?://\S+(/(?:welcome|verify)/inl_\w+)", text)
    assert found is not None, text
    return found[1]


async def test_a_forgotten_password_is_replaced_once(house: Post, mail: MailServer) -> None:
    await house.user("ada")
    session = await house.session("ada")
    answer = await house.forgot("ADA@example.com")
    assert "If somebody has this address" in answer.text
    assert mail.recipients == [["ada@example.com"]]
    assert mail.letters[-1]["subject"] == "Choose a new password - Insight"
    path = link_in(mail)
    assert (await house.http.get(path)).headers["cache-control"] == "no-store"
    refused = await house.http.post(path, data={"password": "short"})
    assert refused.status_code == 422
    done = await house.http.post(path, data={"password": NEW})
    assert done.status_code == 303
    again = await house.http.post(path, data={"password": PASSWORD})
    assert again.status_code == 404
    assert await accounts.identify(house.context, session.secret, "session") is None
    with pytest.raises(Unauthenticated):
        await house.session("ada")
    await accounts.sign_in(house.context, email="ada@example.com", password=NEW)


async def test_only_a_hash_of_the_link_is_stored_and_it_expires(
    house: Post, mail: MailServer
) -> None:
    await house.user("ada")
    await house.forgot("ada@example.com")
    path = link_in(mail)
    stored = await house.pool.fetch_value("select string_agg(l::text, ' ') from links l")
    assert path.rsplit("/", 1)[1] not in stored
    house.later(minutes=61)
    assert (await house.http.get(path)).status_code == 404
    assert (await house.http.post(path, data={"password": NEW})).status_code == 404


async def test_nobody_learns_who_has_an_account(house: Post, mail: MailServer) -> None:
    await house.user("ada")
    await house.user("off")
    await accounts.disable(house.context, "off@example.com")
    answers = [
        await house.forgot(email)
        for email in ("ada@example.com", "nobody@example.com", "off@example.com", "no address")
    ]
    bodies = {re.sub(r"nonce-\S+|value=\"\S*\"", "", answer.text) for answer in answers}
    assert len(bodies) == 1
    assert {answer.status_code for answer in answers} == {200}
    assert mail.recipients == [["ada@example.com"]]
    for email in ("ada@example.com", "nobody@example.com"):
        answer = await house.http.post("/api/v1/auth/password-reset", json={"email": email})
        assert (answer.status_code, answer.content) == (202, b"")


async def test_the_answer_does_not_wait_for_the_letter(
    house: Post, mail: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await house.user("ada")
    begun, held = asyncio.Event(), asyncio.Event()

    class Slow:
        async def post(self, *_: str) -> None:
            begun.set()
            await held.wait()

    house.context = replace(house.context, mail=Slow())  # type: ignore[arg-type]
    house.app.state.context = house.context
    answer = await house.http.post("/forgot", data={"email": "ada@example.com"})
    assert answer.status_code == 200
    await begun.wait()
    held.set()
    await recovery.settled()


async def test_one_address_gets_so_many_letters_and_no_more(house: Post, mail: MailServer) -> None:
    await house.user("ada")
    for number in range(12):
        # From many addresses: it is the account's own limit that holds.
        await recovery.ask_for_password(house.context, "ada@example.com")
        await recovery.settled()
        assert len(mail.letters) == min(number + 1, 8)


async def test_one_client_asks_so_often_and_no_more(house: Post) -> None:
    statuses = [(await house.forgot(f"{n}@example.com")).status_code for n in range(10)]
    assert statuses == [200] * 8 + [429] * 2


async def test_asking_does_not_undo_an_administrators_link(house: Post, mail: MailServer) -> None:
    await house.user("ada")
    link = await accounts.password_link(house.context, "ada@example.com")
    await house.forgot("ada@example.com")
    assert (await house.http.get(f"/welcome/{link}")).status_code == 200
    await house.http.post(f"/welcome/{link}", data={"password": NEW})
    assert (await house.http.get(link_in(mail))).status_code == 404


async def test_a_letter_that_cannot_be_sent_is_logged_without_its_link(
    house: Post, mail: MailServer, caplog: pytest.LogCaptureFixture
) -> None:
    await house.user("ada")
    mail.unknown.add("ada@example.com")
    with caplog.at_level(logging.WARNING):
        answer = await house.forgot("ada@example.com")
    assert answer.status_code == 200
    assert "accounts.mail_failed" in caplog.text
    assert "inl_" not in caplog.text


async def test_an_address_is_confirmed_by_a_button_and_once(house: Post, mail: MailServer) -> None:
    await accounts.register(house.context, email="ada@example.com", name="Ada", password=PASSWORD)
    session = await house.session("ada")
    cookies = {COOKIE: session.secret}
    house.http.cookies.update(cookies)
    assert "not confirmed" in (await house.http.get("/settings")).text
    await house.http.post("/settings/verify")
    await recovery.settled()
    path = link_in(mail)
    assert (await house.http.get(path)).status_code == 200
    assert (await accounts.find_user(house.context, "ada@example.com")).verified_at is None
    welcome = path.replace("/verify/", "/welcome/")
    assert (await house.http.get(welcome)).status_code == 404
    assert (await house.http.post(welcome, data={"password": NEW})).status_code == 404
    assert (await house.http.post(path)).status_code == 303
    assert (await accounts.find_user(house.context, "ada@example.com")).verified_at == house.time
    assert (await house.http.post(path)).status_code == 404
    assert "not confirmed" not in (await house.http.get("/settings")).text
    assert (await house.http.post("/settings/verify")).status_code == 409


async def test_a_link_for_a_password_confirms_nothing(house: Post, mail: MailServer) -> None:
    await house.user("ada")
    await house.forgot("ada@example.com")
    secret = link_in(mail).rsplit("/", 1)[1]
    answer = await house.http.post("/api/v1/auth/verify-email", json={"link": secret})
    assert answer.status_code == 404
    assert (await house.http.get(f"/welcome/{secret}")).status_code == 200


async def test_without_a_mail_server_the_pages_say_what_to_do(house: Post) -> None:
    house.with_mail(None)
    await house.user("ada")
    page = await house.http.get("/forgot")
    assert "insight users link" in page.text
    assert "<form" not in page.text.split("<main", 1)[1].split("</main>")[0]
    for path, body in (("/api/v1/auth/password-reset", {"email": "ada@example.com"}),):
        answer = await house.http.post(path, json=body)
        assert answer.status_code == 403
        assert "insight users link" in answer.json()["detail"]


async def test_an_administrator_hands_out_a_link(house: Post) -> None:
    await house.user("ada")
    await house.user("root", is_admin=True)
    house.http.cookies.set(COOKIE, (await house.session("root")).secret)
    page = await house.http.post("/operator/users/link", data={"email": "ada@example.com"})
    assert page.headers["cache-control"] == "no-store"
    found = re.search(r"/welcome/inl_\w+", page.text)
    assert found is not None
    house.http.cookies.clear()
    done = await house.http.post(found[0], data={"password": NEW})
    assert done.status_code == 303
    events = await house.pool.fetch_all(
        "select actor from audit_log where event = 'password link sent'", str
    )
    assert events == ["root@example.com"]
