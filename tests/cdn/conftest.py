"""The stores that sites are deployed to, and the stand-ins for the APIs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cdn.fronts import CloudflareFront, CloudFrontFront, cloudflare_front, cloudfront_front
from tests.cdn.sites import Build
from tests.stores import azurite_fixture, s3_server_fixture

__all__ = ["azurite_fixture", "s3_server_fixture"]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """A built site of two pages, a stylesheet with its compressed forms, and a few others."""
    return Build(tmp_path / "dist").fill()


@pytest.fixture
def cloudflare() -> Iterator[CloudflareFront]:
    with cloudflare_front() as front:
        yield front


@pytest.fixture
def cloudfront() -> Iterator[CloudFrontFront]:
    with cloudfront_front() as front:
        yield front
