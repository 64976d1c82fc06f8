"""Kept results: hits, misses, and nothing worse than a miss."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from insight_cloud.app import detectors
from insight_cloud.app.detectors import jscpd, kept, lizard, ruff, secrets
from insight_cloud.app.detectors.detector import Children, Detector, Result
from insight_cloud.app.detectors.files import File
from insight_cloud.app.detectors.kept import Entry, Kept
from insight_cloud.app.sarif import write as sarif
from insight_cloud.app.sarif.model import Run
from tests.app.detectors.trees import FUNCTION, places, write


def watched(detector: Detector) -> tuple[Detector, list[str]]:
    """The detector, and the names of the files that it is really run on."""
    seen: list[str] = []

    async def run(root: Path, files: tuple[File, ...], children: Children) -> Result:
        seen.extend(file.name for file in files)
        return await detector.run(root, files, children)

    return replace(detector, run=run), seen


async def analyze(root: Path, detector: Detector, cache: Kept) -> Run:
    (run,) = await detectors.analyze(root, detectors=(detector,), cache=cache)
    return run


async def test_only_what_changed_is_analysed_again(tmp_path: Path) -> None:
    root = write(tmp_path / "root", {"a.py": "import os\n", "b.py": "import re\n"})
    cache = Kept(tmp_path / "cache")
    detector, seen = watched(ruff.detector)
    first = await analyze(root, detector, cache)
    assert seen == ["a.py", "b.py"]
    seen.clear()
    again = await analyze(root, detector, cache)
    assert seen == []
    assert sarif.log([again]) == sarif.log([first])
    write(root, {"b.py": "import sys\n\n"})
    assert places(await analyze(root, detector, cache)) == places(first)
    assert seen == ["b.py"]


async def test_a_tools_new_version_or_our_new_rules_make_it_void(tmp_path: Path) -> None:
    root = write(tmp_path / "root", {"a.py": "import os\n"})
    cache = Kept(tmp_path / "cache")
    detector, seen = watched(ruff.detector)
    await analyze(root, detector, cache)
    await analyze(root, replace(detector, version=lambda: "99"), cache)
    await analyze(root, replace(detector, configuration="other"), cache)
    assert seen == ["a.py"] * 3


async def test_duplicates_depend_on_every_file(tmp_path: Path) -> None:
    root = write(tmp_path / "root", {"a.py": FUNCTION, "b.py": FUNCTION})
    cache = Kept(tmp_path / "cache")
    detector, seen = watched(jscpd.detector)
    assert len((await analyze(root, detector, cache)).findings) == 1
    assert len((await analyze(root, detector, cache)).findings) == 1
    assert len(seen) == 2
    (root / "b.py").unlink()
    assert (await analyze(root, detector, cache)).findings == ()
    assert len(seen) == 3


async def test_a_run_that_did_not_end_well_is_not_kept(tmp_path: Path) -> None:
    root = write(tmp_path / "root", {"a.py": "import os\n"})
    cache = Kept(tmp_path / "cache")

    async def fail(_root: Path, _files: tuple[File, ...], _children: Children) -> Result:
        return Result("failed", detail="no")

    assert (await analyze(root, replace(ruff.detector, run=fail), cache)).state == "failed"
    assert len((await analyze(root, ruff.detector, cache)).findings) == 1


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "random", "directory"])
async def test_a_damaged_file_is_a_miss(tmp_path: Path, damage: str) -> None:
    root = write(tmp_path / "root", {"a.py": "import os\n"})
    cache = Kept(tmp_path / "cache")
    first = await analyze(root, ruff.detector, cache)
    (file,) = cache.directory.glob("*.kept")
    data = file.read_bytes()
    match damage:
        case "cut":
            file.write_bytes(data[: len(data) // 2])
        case "flipped":
            file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        case "empty":
            file.write_bytes(b"")
        case "random":
            file.write_bytes(os.urandom(100))
        case _:
            file.unlink()
            file.mkdir()
    detector, seen = watched(ruff.detector)
    assert places(await analyze(root, detector, cache)) == places(first)
    assert seen == ["a.py"]


async def test_a_place_that_cannot_be_written_costs_only_time(tmp_path: Path) -> None:
    root = write(tmp_path / "root", {"a.py": "import os\n"})
    (tmp_path / "file").touch()
    run = await analyze(root, ruff.detector, Kept(tmp_path / "file" / "cache"))
    assert len(run.findings) == 1


async def test_secrets_are_not_kept(tmp_path: Path) -> None:
    token = "ghp_" + "a1B2c3D4e5F6" * 3
    root = write(tmp_path / "root", {"a.py": f"x = '{token}'\n"})
    cache = Kept(tmp_path / "cache")
    for _ in range(2):
        assert len((await analyze(root, secrets.detector, cache)).findings) == 1
    entries = cache.load(root, "secrets")
    assert len(entries) == 1
    assert token not in repr(entries)


def test_the_longest_unused_files_make_room(tmp_path: Path) -> None:
    cache = Kept(tmp_path, limit_bytes=1500)
    for number in range(20):
        name = kept.key(str(number))
        cache.save(Path(f"/root{number}"), "x", {}, {name: Entry(detail=os.urandom(100).hex())})
        os.utime(max(tmp_path.glob("*.kept"), key=lambda path: path.stat().st_mtime), (number,) * 2)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 1500
    assert cache.load(Path("/root19"), "x")
    assert not cache.load(Path("/root0"), "x")


def test_other_branches_entries_are_kept_for_a_while(tmp_path: Path) -> None:
    cache = Kept(tmp_path)
    root = Path("/root")
    for number in range(50):
        old = cache.load(root, "x")
        cache.save(root, "x", old, {kept.key(str(number)): Entry(detail=str(number))})
    assert 2 <= len(cache.load(root, "x")) <= 5


def test_parts_of_a_key_cannot_be_shifted() -> None:
    assert kept.key("ab", "c") != kept.key("a", "bc")


def test_lizard_is_kept_file_by_file() -> None:
    assert lizard.detector.per_file
