from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insight_cloud.app.accounts import secret


@pytest.mark.parametrize("kind", get_args(secret.Kind))
def test_a_secret_says_what_it_is_for(kind: secret.Kind) -> None:
    text = secret.make(kind)
    assert secret.kind(text) == kind
    assert len(text) == 53
    assert text[4:].isalnum()


def test_an_api_token_begins_with_ins() -> None:
    assert secret.make("token").startswith("ins_")


def test_no_two_secrets_are_the_same() -> None:
    assert len({secret.make("token") for _ in range(1000)}) == 1000


def test_what_is_stored_does_not_hold_the_secret() -> None:
    text = secret.make("token")
    assert len(secret.digest(text)) == 32
    assert text.encode() not in secret.digest(text)


@given(st.text())
def test_a_text_that_was_not_made_here_is_of_no_kind(text: str) -> None:
    assert secret.kind(text) is None


@given(st.integers(4, 52), st.sampled_from("09AZaz"))
def test_one_wrong_letter_is_noticed_without_a_look_up(at: int, letter: str) -> None:
    text = secret.make("token")
    changed = text[:at] + letter + text[at + 1 :]
    assert secret.kind(changed) == ("token" if changed == text else None)


def test_a_prefix_cannot_be_exchanged() -> None:
    assert secret.kind("ina_" + secret.make("refresh")[4:]) is None


def test_a_line_break_at_the_end_is_noticed() -> None:
    assert secret.kind(secret.make("token") + "\n") is None
