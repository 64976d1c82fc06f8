from __future__ import annotations

import asyncio
import ssl

import pytest

from insight_cloud.core.errors import RateLimited, Refused, SettingsError, Unavailable
from insight_cloud.notify.post import Post
from tests.notify.conftest import SECRETS
from tests.notify.receivers import Answer, receiver

HEADERS = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hooks.slack.com/services/s3cr3t",
        "ftp://example.com/s3cr3t",
        "https:///s3cr3t",
        "https://user:pa55word@example.com/",
        "https://example.com:port/s3cr3t",
        "https://example.com:0/s3cr3t",
        "https://example.com/s3cr3t\r\nX: y",
        "https://[::1/s3cr3t",
        "https://example.com/" + "s3cr3t" * 1000,
    ],
)
def test_an_address_that_cannot_be_used_is_refused_without_being_said(url: str) -> None:
    with pytest.raises(SettingsError) as raised:
        Post("webhook", url)
    assert "webhook: the URL must begin with https://" in str(raised.value)
    assert not any(secret in str(raised.value) for secret in SECRETS)


async def test_a_redirect_is_not_followed() -> None:
    async with receiver() as target, receiver(Answer(307, "", (f"Location: {target.url}",))) as one:
        answer = await Post("webhook", one.url).send(b"{}", HEADERS)
        with pytest.raises(SettingsError, match="answered 307, a redirect, which is not followed"):
            answer.require_taken("webhook")
        assert target.received == []


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, Refused),
        (401, Refused),
        (404, Refused),
        (408, Unavailable),
        (425, Unavailable),
        (429, RateLimited),
        (500, Unavailable),
        (503, Unavailable),
    ],
)
async def test_a_status_says_whether_to_try_again(status: int, error: type[Exception]) -> None:
    async with receiver(Answer(status, "s3cr3t", ("Retry-After: 9",))) as one:
        answer = await Post("webhook", one.url).send(b"{}", HEADERS)
    with pytest.raises(error, match=f"{status}") as raised:
        answer.require_taken("webhook")
    assert "s3cr3t" not in str(raised.value)
    if isinstance(raised.value, (RateLimited, Unavailable)):
        assert raised.value.retry_after == 9


async def test_a_long_answer_is_not_read_to_its_end() -> None:
    async with receiver(Answer(200, "x" * 1_000_000)) as one:
        answer = await Post("webhook", one.url).send(b"{}", HEADERS)
    assert answer.text == "x" * 2048


@pytest.mark.parametrize("answer", [Answer(hang=True), Answer(drip=True)])
async def test_a_caller_can_stop_waiting(answer: Answer) -> None:
    async with receiver(answer) as one:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await Post("webhook", one.url).send(b"{}", HEADERS)
        assert one.connections == 1


async def test_nobody_there_is_unavailable() -> None:
    async with receiver() as one:
        url = one.url
    with pytest.raises(Unavailable, match=r"^webhook: cannot be reached$") as raised:
        await Post("webhook", url).send(b"{}", HEADERS)
    assert raised.value.__suppress_context__


async def test_an_encrypted_connection_needs_a_trusted_certificate(
    tls: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    server, client = tls
    async with receiver(context=server) as one:
        answer = await Post("webhook", one.url, context=client).send(b"{}", HEADERS)
        assert answer.status == 200
        with pytest.raises(SettingsError, match="certificate is not trusted: self-signed"):
            await Post("webhook", one.url).send(b"{}", HEADERS)


def test_an_address_is_in_no_repr() -> None:
    post = Post("webhook", "https://example.com/s3cr3t")
    assert "s3cr3t" not in f"{post} {post!r}"
