"""Plans and snapshots on disk: whole, private, and refused when they are not ours."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from insight_cloud.core.errors import Corrupt, Missing, SettingsError
from insight_cloud.edge.fake import Fake
from insight_cloud.edge.records import (
    Snapshot,
    latest_snapshot,
    load_plan,
    load_snapshot,
    save_plan,
    save_snapshot,
    write_whole,
)
from tests.edge.support import NOW, asked, planned, zone_of


async def test_a_plan_is_the_same_after_it_was_saved(tmp_path: Path) -> None:
    async with zone_of(Fake(), tmp_path) as zone:
        found = await planned(zone, asked())
    path = tmp_path / "plan.json"
    save_plan(path, found, now=NOW)
    assert load_plan(path) == found
    assert oct(path.stat().st_mode & 0o777) == "0o600"


def test_a_snapshot_is_the_same_after_it_was_saved(tmp_path: Path) -> None:
    snapshot = Snapshot("z", "example.com", "now", {"ssl": "full"}, {"http_ratelimit": []}, {})
    save_snapshot(tmp_path / "z-1.json", snapshot)
    save_snapshot(tmp_path / "z-2.json", snapshot)
    assert load_snapshot(tmp_path / "z-1.json") == snapshot
    assert latest_snapshot(tmp_path, "z").name == "z-2.json"
    with pytest.raises(Missing, match="nothing was applied"):
        latest_snapshot(tmp_path, "other")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"format": 2}', '{"format": 1}', "[" * 9999]
)
def test_what_is_not_ours_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text(text)
    for load in (load_plan, load_snapshot):
        with pytest.raises(Corrupt, match="of this program"):
            load(path)


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="there is no snapshot"):
        load_snapshot(tmp_path / "file.json")
    with pytest.raises(Missing, match="cannot read"):
        load_plan(tmp_path)


def test_a_file_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file.json"
    write_whole(path, "old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Exception, match="No space left"):
        write_whole(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="cannot write"):
        write_whole(tmp_path / "file/plan.json", json.dumps({}))
