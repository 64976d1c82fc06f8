from __future__ import annotations

from datetime import timedelta

import pytest

from insight_cloud.core.errors import SettingsError
from insight_cloud.ratelimit import Policy, parse


@pytest.mark.parametrize(
    ("text", "limit", "window", "on_failure"),
    [
        ("100/15m open", 100, timedelta(minutes=15), "open"),
        ("5 / 15 min, closed", 5, timedelta(minutes=15), "closed"),
        ("10/1h", 10, timedelta(hours=1), "local"),
        ("20/1d local", 20, timedelta(days=1), "local"),
        ("1/30s", 1, timedelta(seconds=30), "local"),
    ],
)
def test_a_limit_is_read_from_text(
    text: str, limit: int, window: timedelta, on_failure: str
) -> None:
    policy = parse("tier", text)
    assert (policy.limit, policy.window, policy.on_failure) == (limit, window, on_failure)
    assert policy.seconds == window.total_seconds()


@pytest.mark.parametrize(
    "text",
    ["", "100", "100/15", "0/1h", "100/0s", "2000000/1h", "5/15m maybe", "-1/1h", "5/9999999999d"],
)
def test_a_limit_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(SettingsError):
        parse("tier", text)


def test_a_name_that_could_not_stand_in_a_header_is_refused() -> None:
    with pytest.raises(SettingsError):
        Policy('a"b', limit=1, window=timedelta(seconds=1))
