"""Slack, and what understands its incoming webhooks (Mattermost, Rocket.Chat)."""

from __future__ import annotations

import re
import ssl
from typing import Any

import msgspec

from insight_cloud.core.errors import Refused, SettingsError
from insight_cloud.notify.message import Message, Severity, clip
from insight_cloud.notify.post import Answer, Post

__all__ = ["Slack", "payload"]

# Slack's limits, in characters and in items.
_HEADER = 150
_SECTION = 3000
_FIELDS = 10
_FIELD = 2000

_MARKS: dict[Severity, str] = {"info": "🔵", "warning": "🟡", "error": "🔴", "critical": "🚨"}
_REASON = re.compile(r"[a-z_]{1,60}")
_GONE = {"no_service", "no_service_id", "no_team", "team_disabled", "invalid_token"}


class Slack:
    """Says messages through the incoming webhook `url`, which is a secret."""

    def __init__(
        self, url: str, *, name: str = "slack", context: ssl.SSLContext | None = None
    ) -> None:
        self.name = name
        self._post = Post(name, url, context=context)

    async def deliver(self, message: Message) -> None:
        """Say it; see `Channel`."""
        body = msgspec.json.encode(payload(message))
        answer = await self._post.send(body, {"Content-Type": "application/json"})
        self._explain(answer)
        answer.require_taken(self.name)

    def _explain(self, answer: Answer) -> None:
        """Raise what Slack says in its own words; they are codes, anything else is not repeated."""
        reason = answer.text.strip()
        if answer.status not in range(400, 500) or not _REASON.fullmatch(reason):
            return
        if reason in _GONE:
            raise SettingsError(f"{self.name}: the webhook is gone ({reason}); make a new one")
        if answer.status not in {408, 429}:
            raise Refused(f"{self.name}: refused ({reason})")


def payload(message: Message) -> dict[str, Any]:
    """The message in Block Kit, within Slack's limits.

    What others wrote is `plain_text`, in which nothing is a mention, a link or a format.
    """
    return {
        # What notifications show; in this one `<` and `&` mean something.
        "text": _escape(clip(message.subject, _HEADER)),
        "blocks": [
            {"type": "header", "text": _plain(f"{_MARKS[message.severity]} {message.title}", 150)},
            *(
                [{"type": "section", "text": _plain(message.body, _SECTION)}]
                if message.body
                else []
            ),
            *_facts(message),
            *([_link(message.link)] if message.link else []),
            {"type": "context", "elements": [_plain(message.origin, _FIELD)]},
        ],
    }


def _facts(message: Message) -> list[dict[str, Any]]:
    fields = [_plain(f"{name}\n{value}", _FIELD) for name, value in message.facts.items()]
    return [
        {"type": "section", "fields": fields[start : start + _FIELDS]}
        for start in range(0, len(fields), _FIELDS)
    ]


def _link(link: str) -> dict[str, Any]:
    text = f"<{_escape(link)}|Open>"
    if len(text) > _SECTION:
        return {"type": "section", "text": _plain(link, _SECTION)}
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}


def _plain(text: str, limit: int) -> dict[str, Any]:
    return {"type": "plain_text", "text": clip(text, limit), "emoji": False}


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
