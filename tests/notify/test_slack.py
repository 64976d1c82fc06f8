from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from insight_cloud.core.errors import RateLimited, Refused, SettingsError, Unavailable
from insight_cloud.notify import Message, Slack
from insight_cloud.notify.message import SEVERITIES, Severity
from insight_cloud.notify.slack import payload
from tests.notify.receivers import Answer, Received, receiver, slack_answer, slack_faults


async def test_a_message_arrives_as_slack_wants_it() -> None:
    message = Message(
        "Error rate",
        "2 % of the requests fail.",
        severity="error",
        source="alerts.error_rate",
        facts={"since": "10:04", "route": "/api/projects"},
        link="https://insight.example.com/operator?a=1&b=2",
    )
    async with receiver(slack_answer) as slack:
        await Slack(slack.url).deliver(message)
    (received,) = slack.received
    assert received.path == "/services/T0/B0/s3cr3t?token=t0k3n"
    found = received.json()
    assert found["text"] == "[error] Error rate"
    kinds = [block["type"] for block in found["blocks"]]
    assert kinds == ["header", "section", "section", "section", "context"]
    assert found["blocks"][0]["text"]["text"] == "🔴 Error rate"
    assert found["blocks"][1]["text"]["text"] == "2 % of the requests fail."
    assert [field["text"] for field in found["blocks"][2]["fields"]] == [
        "since\n10:04",
        "route\n/api/projects",
    ]
    assert (
        found["blocks"][3]["text"]["text"]
        == "<https://insight.example.com/operator?a=1&amp;b=2|Open>"
    )


def test_nothing_that_others_wrote_is_a_mention_or_a_link() -> None:
    found = payload(Message("<!channel> & <https://evil.example|here>", "*b* <@U1>"))
    assert found["text"] == "[info] &lt;!channel&gt; &amp; &lt;https://evil.example|here&gt;"
    assert found["blocks"][0]["text"]["type"] == "plain_text"
    assert found["blocks"][1]["text"] == {
        "type": "plain_text",
        "text": "*b* <@U1>",
        "emoji": False,
    }


@given(
    st.text(),
    st.text(st.characters(), max_size=5000),
    st.sampled_from(SEVERITIES),
    st.dictionaries(st.text(max_size=300), st.text(max_size=3000), max_size=30),
    st.sampled_from([None, "https://example.com/" + "&" * 1900]),
)
def test_no_message_breaks_a_limit_of_slack(
    title: str, body: str, severity: Severity, facts: dict[str, str], link: str | None
) -> None:
    message = Message(title, body, severity=severity, facts=facts, link=link)
    body_bytes = msgspec.json.encode(payload(message))
    received = Received("/", {"content-type": "application/json"}, body_bytes)
    assert slack_faults(received) == []


def test_the_receiver_notices_what_slack_would() -> None:
    good = payload(Message("a", "b"))
    header = {"content-type": "application/json"}
    changes: tuple[dict[str, Any], ...] = (
        {"text": ""},
        {"blocks": []},
        {"blocks": good["blocks"] * 20},
        {"blocks": [{"type": "header", "text": {"type": "mrkdwn", "text": "a"}}]},
        {"blocks": [{"type": "header", "text": {"type": "plain_text", "text": "a" * 151}}]},
        {"blocks": [{"type": "section", "text": {"type": "plain_text", "text": ""}}]},
        {"blocks": [{"type": "section", "fields": [{"type": "mrkdwn", "text": "a"}] * 11}]},
        {"username": "somebody"},
    )
    for change in changes:
        received = Received("/", header, json.dumps({**good, **change}).encode())
        assert slack_faults(received), change


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (Answer(404, "no_service"), SettingsError, r"the webhook is gone \(no_service\)"),
        (Answer(403, "action_prohibited"), Refused, r"refused \(action_prohibited\)"),
        (Answer(400, "see https://x/s3cr3t"), Refused, r"answered 400$"),
        (Answer(410, "channel_is_archived"), Refused, "channel_is_archived"),
        (Answer(500, "rollup_error"), Unavailable, "answered 500"),
        (Answer(429, "rate_limited", ("Retry-After: 7",)), RateLimited, "too many messages"),
    ],
)
async def test_what_slack_says_is_told(answer: Answer, error: type[Exception], words: str) -> None:
    async with receiver(answer) as slack:
        with pytest.raises(error, match=words) as raised:
            await Slack(slack.url).deliver(Message("a"))
    if isinstance(raised.value, RateLimited):
        assert raised.value.retry_after == 7
