from __future__ import annotations

import gzip
import json
from pathlib import Path
from unittest import mock

import brotli  # type: ignore[import-untyped]  # no types
import pytest

from insight_cloud.assets import Assets, build, folder
from insight_cloud.core.errors import Corrupt, Missing, Refused, SettingsError, TooLarge
from insight_cloud.core.files import write

JS = b"".join(b"function f%d() { return %d }\n" % (n, n * n) for n in range(500))


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    made = tmp_path / "static"
    (made / "css").mkdir(parents=True)
    (made / "css/app.css").write_bytes(b".a { color: red }\n" * 40)
    (made / "app.js").write_bytes(JS)
    (made / ".hidden").write_bytes(b"x")
    return made


def change(sources: Path, number: int) -> None:
    (sources / "app.js").write_bytes(JS + b"let release = %d;" % number)


def files(output: Path) -> set[str]:
    return {str(p.relative_to(output)) for p in output.rglob("*") if p.is_file()}


def test_the_folder_can_be_served_by_anybody(sources: Path, tmp_path: Path) -> None:
    output = tmp_path / "built"
    assets = Assets.prepare(sources, kept=output)
    path = assets.release["app.js"].path
    body = (output / path).read_bytes()
    assert brotli.decompress((output / f"{path}.br").read_bytes()) == body
    assert gzip.decompress((output / f"{path}.gz").read_bytes()) == body
    assert (output / f"{path}.zst").exists()
    manifest = json.loads((output / "manifest.json").read_text())["releases"][0]
    assert manifest["app.js"]["path"] == path
    assert manifest["app.js"]["integrity"] == assets.release["app.js"].integrity
    assert not any("hidden" in name for name in files(output))


def test_what_was_built_is_loaded_as_it_was(sources: Path, tmp_path: Path) -> None:
    built = Assets.prepare(sources, kept=tmp_path / "built")
    change(sources, 1)
    built = Assets.prepare(sources, kept=tmp_path / "built")
    loaded = Assets.load(tmp_path / "built")
    assert loaded.release == built.release
    assert loaded.earlier == built.earlier
    assert list(loaded.release["app.js"].deltas)


def test_after_apply_the_plan_is_empty(sources: Path, tmp_path: Path) -> None:
    output = tmp_path / "built"
    release = build(folder.sources(sources))
    planned = folder.plan(release, folder.load(output))
    assert [(change.verb, change.target) for change in planned] == [
        ("create", "app.js"),
        ("create", "css/app.css"),
    ]
    folder.apply(planned, release, folder.load(output), output)
    assert not folder.plan(release, folder.load(output))


def test_a_build_without_a_change_writes_nothing(sources: Path, tmp_path: Path) -> None:
    output = tmp_path / "built"
    Assets.prepare(sources, kept=output)
    with mock.patch("insight_cloud.core.files.write", side_effect=AssertionError):
        Assets.prepare(sources, kept=output)


def test_files_of_three_earlier_releases_stay_and_older_ones_go(
    sources: Path, tmp_path: Path
) -> None:
    output = tmp_path / "built"
    paths = []
    for number in range(6):
        change(sources, number)
        paths.append(Assets.prepare(sources, kept=output).release["app.js"].path)
    there = files(output)
    assert all(path in there for path in paths[2:])
    assert not any(name.startswith(path) for name in there for path in paths[:2])
    assets = Assets.load(output)
    served = {address for address, _ in assets.served()}
    assert {f"/static/{path}" for path in paths[2:]} <= served
    assert len(assets.release["app.js"].deltas) == 3
    assert len(list(output.glob(f"{paths[5]}.*.dcz"))) == 3


def test_a_removed_file_is_served_while_old_pages_may_ask_for_it(
    sources: Path, tmp_path: Path
) -> None:
    output = tmp_path / "built"
    old = Assets.prepare(sources, kept=output).url("css/app.css")
    (sources / "css/app.css").unlink()
    assets = Assets.prepare(sources, kept=output)
    assert old in {address for address, _ in assets.served()}
    with pytest.raises(Missing):
        assets.url("css/app.css")


def test_a_cut_in_the_middle_leaves_the_old_release_whole(sources: Path, tmp_path: Path) -> None:
    output = tmp_path / "built"
    before = Assets.prepare(sources, kept=output)
    change(sources, 1)
    real, calls = write, 0

    def cut(path: Path, data: bytes) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise OSError(28, "No space left on device")
        real(path, data)

    with (
        mock.patch("insight_cloud.assets.folder.files.write", side_effect=cut),
        pytest.raises(SettingsError, match="No space left"),
    ):
        Assets.prepare(sources, kept=output)
    assert Assets.load(output).release == before.release
    assert Assets.prepare(sources, kept=output).release["app.js"].deltas


def test_nothing_built_is_said(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="insight assets build"):
        Assets.load(tmp_path)
    with pytest.raises(Missing, match="there is no folder"):
        folder.sources(tmp_path / "none")


OUTSIDE = {"path": "../a", "type": "", "bytes": 1, "sha256": "", "integrity": ""}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "cannot be read"),
        ('{"version": 9, "releases": []}', "version 9"),
        (
            json.dumps({"version": 1, "releases": [{"a": OUTSIDE}]}),
            "outside",
        ),
    ],
)
def test_a_manifest_that_cannot_be_right_is_not_used(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(Corrupt, match=said):
        folder.load(tmp_path)


def test_a_file_that_was_changed_afterwards_is_noticed(sources: Path, tmp_path: Path) -> None:
    output = tmp_path / "built"
    path = Assets.prepare(sources, kept=output).release["app.js"].path
    (output / path).write_bytes(b"alert(1)")
    with pytest.raises(Corrupt, match="is not what was built"):
        Assets.load(output)
    (output / path).unlink()
    with pytest.raises(Corrupt, match="is missing"):
        Assets.load(output)


def test_a_large_file_belongs_elsewhere(sources: Path) -> None:
    with (sources / "film.mp4").open("wb") as film:
        film.truncate(33 * 1024 * 1024)
    with pytest.raises(TooLarge, match="object store"):
        folder.sources(sources)


def test_what_cannot_be_read_is_refused(sources: Path) -> None:
    denied = PermissionError(13, "Permission denied", str(sources / "app.js"))
    with (
        mock.patch.object(Path, "read_bytes", side_effect=denied),
        pytest.raises(Refused, match="Permission denied"),
    ):
        folder.sources(sources)
