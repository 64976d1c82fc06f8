"""A signed webhook for anything else: Standard Webhooks, so that receivers find a library.

webhook-id          the message's id, the same at every attempt
webhook-timestamp   seconds since 1970, when this attempt was made
webhook-signature   `v1,` and the Base64 of HMAC-SHA256(secret, "{id}.{timestamp}.{body}")
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ssl
import time
from collections.abc import Callable
from typing import Any

import msgspec

from insight_cloud.core.errors import SettingsError
from insight_cloud.notify.message import Message
from insight_cloud.notify.post import Post

__all__ = ["Webhook", "payload", "signature"]

_PREFIX = "whsec_"
_SHORTEST = 24  # bytes, as the specification asks


class Webhook:
    """Posts messages as JSON to `url`, signed with `secret` (`whsec_` and Base64)."""

    def __init__(
        self,
        url: str,
        secret: str,
        *,
        name: str = "webhook",
        context: ssl.SSLContext | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self._post = Post(name, url, context=context)
        self._key = _key(name, secret)
        self._clock = clock

    async def deliver(self, message: Message) -> None:
        """Say it; see `Channel`."""
        body = msgspec.json.encode(payload(message))
        timestamp = str(int(self._clock()))
        headers = {
            "Content-Type": "application/json",
            "webhook-id": message.id,
            "webhook-timestamp": timestamp,
            "webhook-signature": signature(self._key, message.id, timestamp, body),
        }
        answer = await self._post.send(body, headers)
        answer.require_taken(self.name)


def payload(message: Message) -> dict[str, Any]:
    """The body, before it is JSON: `type`, `timestamp`, `data`."""
    return {
        "type": message.source or "message",
        "timestamp": message.at,
        "data": {
            "severity": message.severity,
            "title": message.title,
            "body": message.body,
            "facts": dict(message.facts),
            "link": message.link,
            "key": message.key,
        },
    }


def signature(key: bytes, identity: str, timestamp: str, body: bytes) -> str:
    """The value of `webhook-signature`."""
    signed = f"{identity}.{timestamp}.".encode() + body
    digest = hmac.new(key, signed, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


def _key(name: str, secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(_PREFIX) or len(key) < _SHORTEST:
        raise SettingsError(
            f"{name}: the secret must be `{_PREFIX}` and the Base64 of at least {_SHORTEST} random "
            "bytes; make one with: echo whsec_$(openssl rand -base64 32)"
        )
    return key
