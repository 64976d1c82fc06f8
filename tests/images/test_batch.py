from __future__ import annotations

import asyncio
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as some

from insight_cloud.core.errors import Corrupt, Missing, SettingsError
from insight_cloud.images import Catalogue, Choices, Outcome, Workers, batch, picture
from insight_cloud.images.catalogue import Entry
from tests.images.gallery import HOSTILE, jpeg, photo, png

CHOICES = Choices(widths=(64, 640, 1920), formats=("webp", "jpeg"))
MOST = 20_000_000


async def optimize(
    folder: Path, output: Path, workers: Workers, choices: Choices = CHOICES
) -> tuple[Catalogue, list[Outcome]]:
    outcomes: list[Outcome] = []
    planned = batch.plan(batch.read(folder, output, MOST), batch.stored(output), choices)
    after = await batch.apply(
        planned, folder, output, choices, workers, jobs=2, done=outcomes.append
    )
    return after, outcomes


def state(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


async def test_every_image_is_made_and_the_originals_stay(photos: Path, workers: Workers) -> None:
    before = state(photos)
    output = photos.parent / "out"
    choices = Choices(widths=(64, 384, 640), formats=("avif", "webp", "jpeg"))
    catalogue, _ = await optimize(photos, output, workers, choices)
    assert state(photos) == before
    assert set(catalogue.images) == {"cat.jpg", "below/logo.png"}
    cat = catalogue.images["cat.jpg"]
    assert (cat.width, cat.height, cat.alpha) == (1300, 900, False)
    assert {(file.format, file.width) for file in cat.files} == {
        (form, width) for form in ("avif", "webp", "jpeg") for width in (64, 384, 640)
    }
    for entry in catalogue.images.values():
        for file in entry.files:
            assert (output / file.path).stat().st_size == file.bytes < entry.bytes
    assert {file.format for file in catalogue.images["below/logo.png"].files} <= {
        *("avif", "webp", "png")
    }


async def test_after_apply_the_plan_is_empty(photos: Path, workers: Workers) -> None:
    output = photos / "_images"
    catalogue, _ = await optimize(photos, output, workers)
    assert not batch.plan(batch.read(photos, output, MOST), batch.stored(output), CHOICES)
    assert batch.stored(output) == catalogue


async def test_only_what_changed_is_made_again(photos: Path, workers: Workers) -> None:
    output = photos.parent / "out"
    before, _ = await optimize(photos, output, workers)
    (photos / "cat.jpg").write_bytes(jpeg(photo(700, 700)))
    after, outcomes = await optimize(photos, output, workers)
    assert [outcome.source for outcome in outcomes] == ["cat.jpg"]
    old = {file.path for file in before.images["cat.jpg"].files}
    new = {file.path for file in after.images["cat.jpg"].files}
    assert old.isdisjoint(new)
    assert not any((output / path).exists() for path in old)


async def test_a_missing_result_is_made_again(photos: Path, workers: Workers) -> None:
    output = photos.parent / "out"
    catalogue, _ = await optimize(photos, output, workers)
    (output / catalogue.images["cat.jpg"].files[0].path).unlink()
    _, outcomes = await optimize(photos, output, workers)
    assert [outcome.source for outcome in outcomes] == ["cat.jpg"]


async def test_what_is_gone_loses_its_results(photos: Path, workers: Workers) -> None:
    output = photos.parent / "out"
    await optimize(photos, output, workers)
    (photos / "cat.jpg").unlink()
    catalogue, outcomes = await optimize(photos, output, workers)
    assert outcomes == []
    assert set(catalogue.images) == {"below/logo.png"}
    assert {path for path in state(output) if "cat" in path} == set()


async def test_other_choices_make_everything_anew(photos: Path, workers: Workers) -> None:
    output = photos.parent / "out"
    await optimize(photos, output, workers)
    _, outcomes = await optimize(photos, output, workers, Choices((64,), ("webp",), 85))
    assert len(outcomes) == 2


async def test_nothing_larger_than_the_original_is_written(photos: Path, workers: Workers) -> None:
    (photos / "tiny.png").write_bytes(png(photo(16, 16).crop(0, 0, 2, 2)))
    (photos / "small.jpg").write_bytes(jpeg(photo(200, 100), Q=3, optimize_coding=True))
    output = photos.parent / "out"
    catalogue, _ = await optimize(photos, output, workers, Choices((64, 640), quality=85))
    for source, entry in catalogue.images.items():
        assert all(file.bytes < entry.bytes for file in entry.files), source
        assert entry.best <= entry.bytes


async def test_a_hostile_image_is_named_and_the_others_are_made(
    photos: Path, workers: Workers
) -> None:
    for name in ("png-3600-megapixels", "svg", "avif", "too-many-bytes", "jpeg-truncated"):
        (photos / f"{name}.png").write_bytes(HOSTILE[name]())
    catalogue, outcomes = await optimize(photos, photos.parent / "out", workers)
    problems = {outcome.source for outcome in outcomes if outcome.problem}
    assert len(problems) == 5
    assert set(catalogue.images) == {"cat.jpg", "below/logo.png"}


async def test_hidden_files_links_and_results_are_passed_over(
    photos: Path, workers: Workers
) -> None:
    (photos / ".hidden.jpg").write_bytes(jpeg(photo(64, 48)))
    (photos / ".git").mkdir()
    (photos / ".git/a.jpg").write_bytes(jpeg(photo(64, 48)))
    (photos / "link.jpg").symlink_to("cat.jpg")
    output = photos / "_images"
    await optimize(photos, output, workers)
    assert set(batch.read(photos, output, MOST)) == {"cat.jpg", "below/logo.png"}


async def test_a_cut_in_the_middle_leaves_whole_files_and_goes_on_next_time(
    photos: Path, workers: Workers
) -> None:
    for number in range(6):
        (photos / f"{number}.jpg").write_bytes(jpeg(photo(640 + number, 480)))
    output = photos.parent / "out"
    planned = batch.plan(batch.read(photos, output, MOST), batch.stored(output), CHOICES)
    first = asyncio.Event()
    task = asyncio.create_task(
        batch.apply(planned, photos, output, CHOICES, workers, jobs=2, done=lambda _: first.set())
    )
    await first.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    kept = batch.stored(output)
    assert 1 <= len(kept.images) < 8
    _, outcomes = await optimize(photos, output, workers)
    assert len(outcomes) == 8 - len(kept.images)
    assert not list(output.rglob(".*"))


async def test_a_folder_that_cannot_be_written_is_said(photos: Path, workers: Workers) -> None:
    (photos.parent / "out").write_text("a file")
    with pytest.raises(SettingsError, match="cannot be written"):
        await optimize(photos, photos.parent / "out/below", workers)


async def test_a_full_disk_is_said_and_nothing_is_half_written(
    photos: Path, workers: Workers
) -> None:
    output = photos.parent / "out"
    full = OSError(28, "No space left on device")
    with (
        mock.patch("insight_cloud.core.files.os.fsync", side_effect=full),
        pytest.raises(SettingsError, match="No space left"),
    ):
        await optimize(photos, output, workers)
    assert state(output) == {}


def test_a_folder_that_is_not_there_is_missing(tmp_path: Path) -> None:
    with pytest.raises(Missing):
        batch.read(tmp_path / "none", tmp_path / "out", MOST)


def test_a_catalogue_that_is_none_is_corrupt(tmp_path: Path) -> None:
    (tmp_path / batch.CATALOGUE).write_text("{")
    with pytest.raises(Corrupt):
        batch.stored(tmp_path)


async def test_templates_find_the_files(photos: Path, workers: Workers) -> None:
    catalogue, _ = await optimize(photos, photos.parent / "out", workers)
    described = catalogue.described("cat.jpg")
    text = picture(
        described,
        catalogue.address("/img"),
        alt="A cat",
        widths=CHOICES.widths,
        formats=CHOICES.formats[:1],
        nonce="n",
    )
    paths = {file.path for file in catalogue.images["cat.jpg"].files}
    assert all(f"/img/{path} " in text for path in paths)
    assert described.placeholder in text
    with pytest.raises(Missing, match="insight images optimize"):
        catalogue.described("dog.jpg")


_NAMES = some.text("abc", min_size=1, max_size=2)


@given(some.dictionaries(_NAMES, _NAMES), some.dictionaries(_NAMES, _NAMES))
def test_a_plan_is_exactly_what_differs(found: dict[str, str], known: dict[str, str]) -> None:
    catalogue = Catalogue(
        {s: Entry(CHOICES.recipe(d), 1, 1, 1, False, "", "", ()) for s, d in known.items()}
    )
    changes = {change.target: change.verb for change in batch.plan(found, catalogue, CHOICES)}
    for source in found.keys() | known.keys():
        if found.get(source) == known.get(source):
            assert source not in changes
        elif source not in known:
            assert changes[source] == "create"
        else:
            assert changes[source] == ("update" if source in found else "delete")


@given(some.dictionaries(_NAMES, some.integers(1, 10**9)))
def test_a_catalogue_comes_back_as_it_was_written(sizes: dict[str, int]) -> None:
    catalogue = Catalogue(
        {name: Entry("r", size, 1, 2, True, "p", "t", ()) for name, size in sizes.items()}
    )
    assert Catalogue.decode(catalogue.encode()) == catalogue
