from __future__ import annotations

import pytest
from pydantic import ValidationError

from insight_cloud.database import DatabaseSettings


def test_every_field_has_a_default_and_a_description() -> None:
    settings = DatabaseSettings()
    for name, field in DatabaseSettings.model_fields.items():
        assert field.description, name
        assert not field.is_required(), name
    assert settings.url is None


def test_the_url_is_never_shown() -> None:
    settings = DatabaseSettings.model_validate({"url": "postgresql://u:hunter2@host/x"})
    assert "hunter2" not in f"{settings} {settings!r} {settings.model_dump()}"


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ValidationError):
        DatabaseSettings.model_validate({"pool_size": 5})
