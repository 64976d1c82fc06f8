"""The ramp of HSTS, and what the file asks for in the API's words."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insight_cloud.core.errors import SettingsError
from insight_cloud.edge import file
from insight_cloud.edge.model import Hsts
from insight_cloud.edge.wanted import hsts_age
from tests.edge.support import TODAY, asked

BEGAN = date(2026, 11, 1)


@pytest.mark.parametrize(
    ("days", "seconds"),
    [(-1, 300), (0, 300), (1, 86_400), (6, 86_400), (7, 604_800), (29, 604_800), (30, 63_072_000)],
)
def test_the_age_grows_step_by_step(days: int, seconds: int) -> None:
    assert hsts_age(Hsts(since=BEGAN), BEGAN + timedelta(days=days)) == seconds


@given(st.integers(0, 400), st.integers(0, 63_072_000))
def test_the_age_never_shrinks_and_never_exceeds_the_wish(days: int, wish: int) -> None:
    hsts = Hsts(since=BEGAN, max_age_seconds=wish, preload=False)
    today, tomorrow = BEGAN + timedelta(days=days), BEGAN + timedelta(days=days + 1)
    assert hsts_age(hsts, today) <= hsts_age(hsts, tomorrow) <= wish


def test_without_a_beginning_it_stays_at_five_minutes_and_says_so() -> None:
    want = asked()
    value = want.items["security_header"]["strict_transport_security"]
    assert (value["max_age"], value["preload"]) == (300, False)
    assert any("5 minutes until `tls.hsts.since`" in note for note in want.notes)


def test_preload_comes_with_the_full_age_only() -> None:
    text = file.default().replace("# since = 2026-11-25", "since = 2026-10-01")
    assert asked(text).items["security_header"]["strict_transport_security"]["preload"] is True
    soon = asked(text, today=date(2026, 10, 5))
    assert soon.items["security_header"]["strict_transport_security"]["preload"] is False


def test_what_is_not_named_is_left_alone() -> None:
    want = asked('[zone]\nname = "example.com"\n')
    assert want.items == {}
    assert want.rulesets == {}


def test_every_problem_is_told_at_once() -> None:
    text = (
        '[zone]\nname = "example.com"\n[[firewall]]\nname = "a"\nwhen = "nope"\naction = "block"\n'
    )
    text += '[[firewall]]\nname = "b"\nwhen = "ssl eq true"\naction = "block"\n'
    with pytest.raises(SettingsError) as refused:
        asked(text)
    assert "edge.toml:5: there is no field nope" in str(refused.value)
    assert "edge.toml:9: ssl is a Boolean" in str(refused.value)


def test_surprises_are_noted_with_their_line() -> None:
    text = (
        '[zone]\nname = "example.com"\n[[firewall]]\nname = "a"\nwhen = "cf.threat_score gt 14"\n'
    )
    (note,) = asked(text + 'action = "block"\n', today=TODAY).notes[-1:]
    assert note.startswith("edge.toml:5: cf.threat_score is deprecated")
