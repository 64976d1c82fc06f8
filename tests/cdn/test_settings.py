"""What an operator may say about the CDN."""

from __future__ import annotations

from datetime import timedelta

import pytest
from pydantic import ValidationError

from insight_cloud.cdn import CdnSettings, Cloudflare, CloudFront, Rules, Site, Workers
from insight_cloud.core.errors import SettingsError
from insight_cloud.settings import Settings
from insight_cloud.wiring import cloudflare_caches, cloudfront, site

ZONE = "0123456789abcdef0123456789abcdef"
EDGE = {"api_token": "hidden", "zone_id": ZONE, "account_id": ZONE}
AWS = {"aws_access_key_id": "id", "aws_secret_access_key": "hidden", "aws_region": "eu-west-1"}


def settings(**sections: dict[str, object]) -> Settings:
    return Settings.model_validate(sections)


def test_the_defaults_are_the_seeds() -> None:
    found = CdnSettings()
    assert found.keep == timedelta(days=30)
    assert found.rules() == Rules()
    assert found.worker is None


def test_overrides_are_read_as_pairs() -> None:
    found = CdnSettings(overrides=("images/* = public, max-age=604800",))
    assert found.rules().overrides == (("images/*", "public, max-age=604800"),)


@pytest.mark.parametrize(
    "wrong",
    [
        {"target": "ftp://x"},
        {"target": "s3://id:hidden@bucket"},
        {"base_url": "example.com"},
        {"overrides": ("images/*",)},
        {"overrides": ("images/*=a\nb",)},
        {"keep_days": 0},
        {"encoding": "deflate"},
        {"purge": "maybe"},
        {"at_once": 0},
    ],
)
def test_wrong_values_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        CdnSettings.model_validate(wrong)


def test_each_target_is_opened() -> None:
    aws = dict[str, object](AWS)
    assert isinstance(site(settings(cdn={"target": "file:///srv/site"})), Site)
    assert isinstance(site(settings(cdn={"target": "s3://bucket"}, storage=aws)), Site)
    worker = {"target": "workers://my-site", "base_url": "https://example.com"}
    assert isinstance(
        site(settings(cdn=dict[str, object](worker), edge=dict[str, object](EDGE))), Workers
    )


def test_a_target_may_have_its_own_key() -> None:
    own: dict[str, object] = {
        "target": "s3://bucket?endpoint=https://id.r2.cloudflarestorage.com&region=auto",
        "access_key_id": "other",
        "secret_access_key": "hidden",
    }
    assert isinstance(site(settings(cdn=own)), Site)


@pytest.mark.parametrize(
    ("sections", "reason"),
    [
        ({}, "cdn.target"),
        ({"cdn": {"target": "s3://bucket"}}, "AWS_ACCESS_KEY_ID"),
        ({"cdn": {"target": "workers://x"}}, "CLOUDFLARE_API_TOKEN"),
        ({"cdn": {"target": "workers://x"}, "edge": EDGE}, "base_url"),
        ({"cdn": {"target": "file:///x"}, "edge": EDGE}, "base_url"),
        (
            {"cdn": {"target": "file:///x", "cloudfront_distribution": "E2QWRUHAPOMQZL"}},
            "AWS_ACCESS_KEY_ID",
        ),
    ],
)
def test_what_is_missing_is_named(sections: dict[str, dict[str, object]], reason: str) -> None:
    with pytest.raises(SettingsError, match=reason) as caught:
        site(settings(**sections))
    assert "hidden" not in str(caught.value)


def test_the_caches_are_those_of_the_settings() -> None:
    edge, aws = dict[str, object](EDGE), dict[str, object](AWS)
    assert cloudflare_caches(settings()) is None
    assert isinstance(cloudflare_caches(settings(edge=edge)), Cloudflare)
    assert cloudflare_caches(settings(edge=edge, cdn={"purge": "off"})) is None
    assert cloudfront(settings()) is None
    distribution: dict[str, object] = {"cloudfront_distribution": "E2QWRUHAPOMQZL"}
    assert isinstance(cloudfront(settings(cdn=distribution, storage=aws)), CloudFront)
