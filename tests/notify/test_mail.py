from __future__ import annotations

import asyncio
import ssl
from typing import Any

import pytest

from insight_cloud.core.errors import InsightError, Refused, SettingsError, Unavailable
from insight_cloud.notify import Mail, Message
from insight_cloud.notify.settings import Security
from tests.notify.receivers import Answer, mail_server, receiver

Contexts = tuple[ssl.SSLContext, ssl.SSLContext]
MESSAGE = Message(
    "Sicherung fehlgeschlagen für dich",
    "Kein Platz mehr.\n.\nEnde",
    severity="error",
    source="backup.failed",
    facts={"store": "s3"},
)


def mail(port: int, **options: Any) -> Mail:
    chosen: dict[str, Any] = {
        "to": ["Ops <ops@example.com>", "boss@example.com"],
        "sender": "Insight <insight@example.com>",
        **options,
    }
    return Mail("127.0.0.1", port=port, **chosen)


async def test_a_letter_arrives_encrypted_by_starttls_and_with_a_login(tls: Contexts) -> None:
    async with mail_server(starttls=tls[0], login=True) as server:
        login = {"username": "insight", "password": "pa55word"}
        await mail(server.port, context=tls[1], **login).deliver(MESSAGE)
    (letter,) = server.letters
    assert letter["Subject"] == "[error] Sicherung fehlgeschlagen für dich"
    assert letter["From"] == "Insight <insight@example.com>"
    assert letter["To"] == "Ops <ops@example.com>, boss@example.com"
    assert letter["Auto-Submitted"] == "auto-generated"
    assert letter["Message-ID"] == f"<{MESSAGE.id}@example.com>"
    assert letter.get_content_type() == "text/plain"
    assert letter.get_content().replace("\r\n", "\n") == MESSAGE.text
    assert server.recipients == [["ops@example.com", "boss@example.com"]]
    assert server.encrypted == [True]
    assert server.users == ["insight"]


async def test_a_letter_arrives_on_a_connection_that_is_encrypted_from_the_start(
    tls: Contexts,
) -> None:
    async with mail_server(tls=tls[0]) as server:
        await mail(server.port, security="tls", context=tls[1]).deliver(MESSAGE)
    assert len(server.letters) == 1


async def test_a_letter_arrives_without_encryption_only_where_that_is_said() -> None:
    async with mail_server() as server:
        await mail(server.port, security="none").deliver(MESSAGE)
        assert server.encrypted == [False]
        with pytest.raises(SettingsError, match="does not offer STARTTLS"):
            await mail(server.port).deliver(MESSAGE)
    assert len(server.letters) == 1


async def test_a_wrong_password_is_for_the_operator_to_correct(tls: Contexts) -> None:
    async with mail_server(starttls=tls[0], login=True) as server:
        login = {"username": "insight", "password": "pa55word2"}
        with pytest.raises(SettingsError, match="refuses the user name or the password") as raised:
            await mail(server.port, context=tls[1], **login).deliver(MESSAGE)
    assert "pa55word" not in str(raised.value)
    assert server.letters == []


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_a_certificate_must_be_trusted(tls: Contexts, security: Security) -> None:
    starttls, whole = (tls[0], None) if security == "starttls" else (None, tls[0])
    async with mail_server(starttls=starttls, tls=whole) as server:
        with pytest.raises(SettingsError, match="untrusted certificate"):
            await mail(server.port, security=security).deliver(MESSAGE)
    assert server.letters == []


@pytest.mark.parametrize(
    ("reply", "error"), [("451 later", Unavailable), ("552 too large", Refused)]
)
async def test_a_reply_says_whether_to_try_again(reply: str, error: type[InsightError]) -> None:
    async with mail_server() as server:
        server.replies = [reply]
        with pytest.raises(error, match=r"127\.0\.0\.1"):
            await mail(server.port, security="none").deliver(MESSAGE)
        await mail(server.port, security="none").deliver(MESSAGE)
    assert len(server.letters) == 1


async def test_a_recipient_who_was_refused_is_named() -> None:
    async with mail_server() as server:
        server.unknown = {"boss@example.com"}
        with pytest.raises(Refused, match=r"took it, but not for boss@example\.com"):
            await mail(server.port, security="none").deliver(MESSAGE)
        server.unknown.add("ops@example.com")
        with pytest.raises(Refused, match="refuses every recipient"):
            await mail(server.port, security="none").deliver(MESSAGE)
    assert server.recipients == [["ops@example.com"]]


async def test_nobody_there_is_unavailable() -> None:
    async with receiver(Answer()) as http:
        port = http.port
    with pytest.raises(Unavailable, match=r"^email: 127\.0\.0\.1:\d+ cannot be reached$"):
        await mail(port, security="none").deliver(MESSAGE)


async def test_a_server_that_says_nothing_can_be_left() -> None:
    async with receiver(Answer(hang=True)) as http:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await mail(http.port, security="none").deliver(MESSAGE)


@pytest.mark.parametrize(
    "text", ["", "nobody", "a@", "@b", "a@b\nBcc: c@d", "a b@c", "a@b, c@d", "<>"]
)
def test_an_address_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="is no e-mail address"):
        mail(25, to=[text])
    with pytest.raises(SettingsError, match="is no e-mail address"):
        mail(25, sender=text)


def test_a_password_is_never_sent_in_clear() -> None:
    with pytest.raises(SettingsError, match="not sent without encryption"):
        mail(25, security="none", username="insight", password="pa55word")
    with pytest.raises(SettingsError, match="belong together"):
        mail(25, username="insight")
    with pytest.raises(SettingsError, match="nobody to send to"):
        mail(25, to=[])


def test_a_password_is_in_no_repr() -> None:
    assert "pa55word" not in repr(mail(25, username="insight", password="pa55word"))
