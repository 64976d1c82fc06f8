from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insight_cloud.notify.retry import asked_seconds, pause_seconds

NOW = datetime(2026, 11, 25, 10, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, 0),
        ("", 0),
        ("30", 30),
        ("0.5", 0.5),
        ("-5", 0),
        ("soon", 0),
        ("nan", 0),
        ("inf", 0),
        ("1e12", 3600),
        ("Wed, 25 Nov 2026 10:30:20 GMT", 20),
        ("Wed, 25 Nov 2026 10:29:00 GMT", 0),
        ("Wed, 25 Nov 2026 10:30:20 -0000", 20),
        ("Thu, 25 Nov 2027 10:30:20 GMT", 3600),
        ("Wed, 99 Nov 2026 10:30:20 GMT", 0),
    ],
)
def test_a_receiver_may_ask_for_a_pause(header: str | None, seconds: float) -> None:
    assert asked_seconds(header, NOW) == seconds


@given(st.text())
def test_no_header_breaks_anything(header: str) -> None:
    assert 0 <= asked_seconds(header, NOW) <= 3600


@given(st.integers(0, 5), st.floats(0, 100), st.floats(0, 1, exclude_max=True))
def test_pauses_double_and_are_as_long_as_asked(attempt: int, asked: float, chance: float) -> None:
    pause = pause_seconds(attempt, asked, chance)
    assert pause >= asked
    assert pause >= 0.5 * 2**attempt
    assert pause <= max(asked, 2**attempt)
