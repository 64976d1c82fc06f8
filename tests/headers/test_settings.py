"""The settings are usable as they are, and frozen."""

import pytest
from pydantic import ValidationError

from insight_cloud.headers import Cors, Headers, HeadersSettings
from tests.headers.asking import answering


def test_the_defaults_are_accepted_by_what_they_configure() -> None:
    settings = HeadersSettings()
    Headers(
        answering(),
        page_policy=settings.page_policy,
        report_only=settings.report_only,
        hsts_stage=settings.hsts,
        hsts_subdomains=settings.hsts_subdomains,
        hsts_preload=settings.hsts_preload,
        frame_options=settings.frame_options,
        referrer_policy=settings.referrer_policy,
        permissions_policy=settings.permissions_policy,
        dns_prefetch=settings.dns_prefetch,
    )
    Cors(
        answering(),
        origins=settings.cors_origins,
        credentials=settings.cors_credentials,
        max_age_seconds=settings.cors_max_age_seconds,
    )


def test_every_field_is_described() -> None:
    assert all(field.description for field in HeadersSettings.model_fields.values())


def test_settings_are_frozen_and_know_no_other_names() -> None:
    with pytest.raises(ValidationError):
        HeadersSettings().hsts = "off"  # type: ignore[misc]  # what is tested
    with pytest.raises(ValidationError):
        HeadersSettings.model_validate({"hsts_stage": "off"})
    with pytest.raises(ValidationError):
        HeadersSettings.model_validate({"hsts": "year"})
