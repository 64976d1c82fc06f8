"""One deployment, and who is told of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from insight_cloud.cdn import Site, deploy
from insight_cloud.core.errors import Unavailable
from insight_cloud.core.storage import open_store
from tests.cdn.sites import NOW, Build, Watched


async def test_somebody_is_told_what_changed(build: Build, tmp_path: Path) -> None:
    told: list[tuple[str, bool]] = []

    async def notify(text: str, *, well: bool) -> None:
        told.append((text, well))

    site = Site(open_store(f"file://{tmp_path}/site"))
    await deploy(site, build.read(), NOW, notify=notify)
    await deploy(site, build.read(), NOW, notify=notify)
    ((text, well),) = told
    assert well
    assert text.startswith("deployed: 6 files sent")


async def test_somebody_is_told_what_failed(build: Build, tmp_path: Path) -> None:
    told: list[tuple[str, bool]] = []

    async def notify(text: str, *, well: bool) -> None:
        told.append((text, well))

    watched = Watched(open_store(f"file://{tmp_path}/site"))
    watched.break_before = 2
    with pytest.raises(Unavailable):
        await deploy(Site(watched), build.read(), NOW, notify=notify)
    assert told == [("deployment failed: the network is gone", False)]


async def test_a_message_that_is_lost_undoes_nothing(
    build: Build, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def notify(text: str, *, well: bool) -> None:
        raise LookupError("no such channel")

    site = Site(open_store(f"file://{tmp_path}/site"))
    _, outcome = await deploy(site, build.read(), NOW, notify=notify)
    assert outcome.uploaded == 6
    assert "cdn.notify_failed" in caplog.text
