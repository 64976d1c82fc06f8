"""The settings have the stated defaults, hide what is secret, and accept no nonsense."""

from __future__ import annotations

from datetime import timedelta

import pytest
from pydantic import SecretStr, ValidationError

from insight_cloud.cache import CacheSettings


def test_the_default_is_five_minutes_in_the_process() -> None:
    settings = CacheSettings()
    assert settings.url is None
    assert settings.ttl == timedelta(minutes=5)
    assert settings.timeout_seconds == 0.2


def test_every_setting_is_described() -> None:
    assert all(field.description for field in CacheSettings.model_fields.values())


def test_a_password_is_not_shown() -> None:
    assert "geheim" not in repr(CacheSettings(url=SecretStr("redis://:geheim@host")))


@pytest.mark.parametrize(
    "wrong", [{"ttl": timedelta(0)}, {"namespace": "a b"}, {"timeout_seconds": 0}, {"urll": "x"}]
)
def test_nonsense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        CacheSettings.model_validate(wrong)
