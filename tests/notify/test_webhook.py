from __future__ import annotations

import base64
import time

import pytest
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from insight_cloud.core.errors import SettingsError, Unavailable
from insight_cloud.notify import Message, Webhook
from insight_cloud.notify.webhook import signature
from tests.notify.receivers import Answer, receiver

SECRET = "whsec_" + base64.b64encode(b"pa55word" * 4).decode()


async def test_the_specifications_own_library_verifies_what_is_sent() -> None:
    message = Message(
        "Backup fehlgeschlagen für dich",
        "voll",
        severity="error",
        source="backup.failed",
        facts={"store": "s3"},
        link="https://insight.example.com/",
    )
    async with receiver() as one:
        await Webhook(one.url, SECRET).deliver(message)
    (received,) = one.received
    found = Verifier(SECRET).verify(received.body, received.headers)
    assert found["type"] == "backup.failed"
    assert found["timestamp"] == message.at.isoformat().replace("+00:00", "Z")
    assert found["data"] == {
        "severity": "error",
        "title": "Backup fehlgeschlagen für dich",
        "body": "voll",
        "facts": {"store": "s3"},
        "link": "https://insight.example.com/",
        "key": message.key,
    }
    with pytest.raises(WebhookVerificationError):
        Verifier(SECRET).verify(received.body + b" ", received.headers)


async def test_an_attempt_has_its_own_time_and_the_messages_id() -> None:
    now = time.time()
    times = iter([now - 100, now])
    message = Message("a")
    async with receiver(Answer(503), Answer()) as one:
        webhook = Webhook(one.url, SECRET, clock=lambda: next(times))
        with pytest.raises(Unavailable):
            await webhook.deliver(message)
        await webhook.deliver(message)
    ids = [received.headers["webhook-id"] for received in one.received]
    assert ids == [message.id] * 2
    stamps = [int(received.headers["webhook-timestamp"]) for received in one.received]
    assert stamps == [int(now - 100), int(now)]
    assert len({received.headers["webhook-signature"] for received in one.received}) == 2


def test_the_signature_is_that_of_the_specification() -> None:
    """The example that the specification gives."""
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    identity, timestamp, body = (
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "1614265330",
        b'{"test": 2432232314}',
    )
    wanted = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert signature(key, identity, timestamp, body) == wanted


@pytest.mark.parametrize(
    "secret", ["", "pa55word", "whsec_", "whsec_!!", "whsec_" + base64.b64encode(b"short").decode()]
)
def test_a_weak_secret_is_refused_without_being_said(secret: str) -> None:
    with pytest.raises(SettingsError, match="at least 24 random bytes") as raised:
        Webhook("https://example.com/", secret)
    assert "pa55word" not in str(raised.value)
