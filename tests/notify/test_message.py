from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insight_cloud.notify.message import SEVERITIES, Message, clip, severe_enough

AT = datetime(2026, 11, 25, 10, 30, tzinfo=UTC)


def test_a_message_has_a_subject_and_a_text() -> None:
    message = Message(
        "Backup failed",
        "The disk is full.",
        severity="error",
        source="backup.failed",
        facts={"store": "s3"},
        link="https://insight.example.com/backups",
        at=AT,
    )
    assert message.subject == "[error] Backup failed"
    assert message.text == (
        "The disk is full.\n\nstore: s3\n\nhttps://insight.example.com/backups\n\n"
        "backup.failed · error · 2026-11-25 10:30:00 UTC\n"
    )


def test_the_same_thing_has_the_same_key_and_another_id() -> None:
    one, two = (Message("Slow", body, source="web.slow") for body in ("2.1 s", "2.4 s"))
    assert one.key == two.key
    assert one.id != two.id
    assert Message("Slow", severity="error", source="web.slow").key != one.key
    assert Message("Slow", key="mine").key == "mine"


def test_a_severity_is_known_and_ordered() -> None:
    with pytest.raises(ValueError, match="info, warning, error, critical: 'bad'"):
        Message("a", severity="bad")  # type: ignore[arg-type]  # what is tested
    assert [severe_enough(found, "error") for found in SEVERITIES] == [False, False, True, True]


@pytest.mark.parametrize(
    "link",
    [
        "javascript:alert(1)",
        "ftp://example.com/",
        "https://",
        "https://[::1/",
        "https://example.com/a b",
        "https://example.com/<script>",
        "https://example.com/|a",
        "https://example.com/\nBcc: a@b.c",
        "https://example.com/" + "a" * 2000,
    ],
)
def test_a_link_is_an_http_url(link: str) -> None:
    with pytest.raises(ValueError, match="http or https URL"):
        Message("a", link=link)


def test_what_could_deceive_a_reader_is_taken_out() -> None:
    message = Message(
        "Backup\r\nBcc: eve@example.com\x1b[2J",
        "one\r\ntwo\x00\u202ethree\ud800",
        facts={"a\nb": "c\u2066"},
        source="a\tb",
    )
    assert message.title == "Backup Bcc: eve@example.com [2J"
    assert message.body == "one\ntwo  three?"
    assert dict(message.facts) == {"a b": "c "}
    assert message.source == "a b"


def test_what_is_left_out_is_said() -> None:
    message = Message("a" * 1000, "b" * 30_000, facts={str(n): str(n) for n in range(25)})
    assert message.title.endswith("a…")
    assert message.body.endswith("b…")
    assert list(message.facts)[-1] == "left out"
    assert message.facts["left out"] == "5 more facts"


@given(st.text(), st.text(), st.dictionaries(st.text(), st.text()))
def test_any_text_makes_a_message_within_bounds(
    title: str, body: str, facts: dict[str, str]
) -> None:
    message = Message(title, body, facts=facts)
    assert message.title
    assert "\n" not in message.title
    assert len(message.subject) <= 320
    assert len(message.facts) <= 21
    assert message.text.encode()
    assert Message(message.title, message.body).body == message.body


@given(st.text(st.characters(exclude_categories=["Cs"])), st.integers(2, 50))
def test_a_cut_text_is_short_enough_and_begins_alike(text: str, limit: int) -> None:
    cut = clip(text, limit)
    assert len(cut.encode("utf-16-le")) <= 2 * limit
    assert cut == text or text.startswith(cut.removesuffix("…"))
    assert (cut == text) == (len(text.encode("utf-16-le")) <= 2 * limit)
