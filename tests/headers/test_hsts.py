"""The stages of Strict-Transport-Security."""

from typing import get_args

import pytest

from insight_cloud.core.errors import SettingsError
from insight_cloud.headers import hsts


@pytest.mark.parametrize(
    ("stage", "value"),
    [
        ("off", None),
        ("withdraw", "max-age=0; includeSubDomains"),
        ("minutes", "max-age=300; includeSubDomains"),
        ("week", "max-age=604800; includeSubDomains"),
        ("month", "max-age=2592000; includeSubDomains"),
        ("full", "max-age=63072000; includeSubDomains; preload"),
    ],
)
def test_each_stage_has_its_header(stage: hsts.Stage, value: str | None) -> None:
    assert hsts.value(stage) == value


def test_each_stage_that_is_sent_has_a_duration() -> None:
    assert {"off", *hsts.SECONDS} == set(get_args(hsts.Stage))


def test_subdomains_and_preload_can_be_left_out() -> None:
    assert hsts.value("full", subdomains=False, preload=False) == "max-age=63072000"
    assert hsts.value("week", subdomains=False, preload=True) == "max-age=604800"


def test_preload_without_subdomains_is_refused() -> None:
    with pytest.raises(SettingsError, match="subdomains"):
        hsts.value("full", subdomains=False)


def test_an_unknown_stage_is_refused() -> None:
    with pytest.raises(SettingsError, match="year"):
        hsts.value("year")  # type: ignore[arg-type]  # what an untyped caller may do
