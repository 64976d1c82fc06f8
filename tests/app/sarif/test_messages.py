"""The small language of messages."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insight_cloud.app.sarif.messages import literal, render
from insight_cloud.app.sarif.wire import Message

TEXTS = {"default": Message(text="{0} is not {1}"), "marked": Message(markdown="*m*")}


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (Message(text="plain {0}"), "plain {0}"),
        (Message(text="{0} and {0}", arguments=["a"]), "a and a"),
        (Message(text="{0} {1}", arguments=["a"]), "a {1}"),
        (Message(text="{{0}} {0}", arguments=["a"]), "{0} a"),
        (Message(id="default", arguments=["x", 2]), "x is not 2"),
        (Message(id="marked"), "*m*"),
        (Message(id="unknown"), ""),
        (Message(markdown="**b**"), "**b**"),
        (Message(text="see [here](0), [there](12)"), "see here, there"),
        (
            Message(text="see [the site](https://example.org)"),
            "see [the site](https://example.org)",
        ),
        (Message(text=r"see [a \[b\]](1)"), "see a [b]"),
        (Message(text=r"no link: \[a](1)"), "no link: [a](1)"),
        (None, ""),
    ],
)
def test_messages_are_rendered_as_the_standard_means(message: Any, said: str) -> None:
    assert render(message, None, TEXTS) == said


@given(st.text("[]()\\01a ", max_size=25))
def test_a_literal_text_is_taken_word_for_word(text: str) -> None:
    assert render(Message(text=literal(text))) == text
