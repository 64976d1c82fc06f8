"""Fixtures for images: one set of child processes for the whole run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from insight_cloud.images import Workers
from tests.images.gallery import jpeg, photo, png


@pytest.fixture(scope="session")
async def workers() -> AsyncIterator[Workers]:
    async with Workers(processes=2, seconds=20) as opened:
        yield opened


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of images as a site may have them."""
    folder = tmp_path / "photos"
    (folder / "below").mkdir(parents=True)
    (folder / "cat.jpg").write_bytes(jpeg(photo(1300, 900)))
    (folder / "below/logo.png").write_bytes(png(photo(300, 200).bandjoin(200)))
    (folder / "notes.txt").write_text("no image")
    return folder
