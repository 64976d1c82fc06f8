from __future__ import annotations

import asyncio
import base64
import os
import struct
from pathlib import Path
from typing import Any

import pytest
import pyvips  # type: ignore[import-untyped]  # no types

from insight_cloud.core.errors import Invalid, TooLarge, Unavailable
from insight_cloud.images import Limits, Picture, Variant, Workers
from insight_cloud.images.header import bare, read
from tests.images.gallery import GOOD, HOSTILE, chunk, jpeg, photo, png, webp
from tests.images.mutations import damage


def decoded(data: bytes) -> Any:
    return pyvips.Image.new_from_buffer(data, "")


def colour(picture: Any) -> list[float]:
    """The mean colour in sRGB."""
    if picture.hasalpha():
        picture = picture.flatten(background=[255, 255, 255])
    return [picture[band].avg() for band in range(3 if picture.bands >= 3 else 1)]


async def test_one_decoding_makes_every_variant(workers: Workers) -> None:
    wanted = [Variant(w, 75, f) for w in (64, 384, 640) for f in ("avif", "webp", "jpeg")]
    picture = await workers.make(jpeg(), wanted)
    assert (picture.width, picture.height, picture.alpha) == (960, 640, False)
    assert {made.variant for made in picture.made} == set(wanted)
    for made in picture.made:
        found = decoded(made.data)
        width = made.variant.width
        assert (made.width, made.height) == (width, round(width * 640 / 960))
        assert (found.width, found.height) == (made.width, made.height)
        loader = {"avif": "heif", "webp": "webp", "jpeg": "jpeg"}[made.format]
        assert found.get("vips-loader").startswith(loader)


async def test_nothing_is_enlarged_and_of_what_is_wider_only_one_is_made(workers: Workers) -> None:
    picture = await workers.make(jpeg(), [Variant(w) for w in (640, 1080, 1920, 3840)])
    assert sorted((one.variant.width, one.width) for one in picture.made) == [
        (640, 640),
        (1080, 960),
    ]


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("form", ["webp", "jpeg"])
async def test_a_good_file_becomes_a_good_picture(workers: Workers, name: str, form: Any) -> None:
    source = GOOD[name]()
    (made,) = (await workers.make(source, [Variant(64, 75, form)])).made
    found = decoded(made.data)
    assert len(made.data) <= len(source) or name.startswith("jpeg-turned") or "animated" in name
    assert (found.width, found.height) == (made.width, made.height)
    assert found.format == "uchar"
    assert "exif-data" not in found.get_fields()
    if made.format != read(source, Limits()).format:  # otherwise it may be the source
        assert made.width == (1 if "one-pixel" in name else 64)
        assert "icc-profile-data" not in found.get_fields()
    if not made.format.endswith("png") and "animated" not in name:
        for is_, was in zip(colour(_as_srgb(made.data)), colour(_as_srgb(source)), strict=True):
            assert is_ == pytest.approx(was, abs=12), "the colours have shifted"


def _as_srgb(source: bytes) -> Any:
    """An image as a screen shows it, by another way than ours."""
    picture = decoded(source)
    if "icc-profile-data" in picture.get_fields():
        picture = picture.icc_transform("srgb")
    return picture.colourspace("srgb").cast("uchar")


@pytest.mark.parametrize("orientation", range(1, 9))
async def test_exif_turns_the_picture_and_is_gone(workers: Workers, orientation: int) -> None:
    source = GOOD[f"jpeg-turned-{orientation}"]()
    picture = await workers.make(source, [Variant(48)])
    size = (64, 96) if orientation >= 5 else (96, 64)
    assert (picture.width, picture.height) == size
    found = decoded(picture.made[0].data)
    assert (found.width, found.height) == ((48, 72) if orientation >= 5 else (48, 32))
    assert "exif-data" not in found.get_fields()
    expected = pyvips.Image.new_from_buffer(source, "").autorot()
    for side in ("crop-left", "crop-right"):
        at = 0 if side == "crop-left" else 1
        left = found.crop(at * (found.width - 8), 0, 8, found.height)
        was = expected.crop(at * (expected.width - 16), 0, 16, expected.height)
        for one, other in zip(colour(left), colour(was), strict=True):
            assert one == pytest.approx(other, abs=15)


async def test_a_transparent_picture_stays_so_and_becomes_png_instead_of_jpeg(
    workers: Workers,
) -> None:
    source = png(photo(300, 200).bandjoin(128))
    wanted = [Variant(128, 75, form) for form in ("avif", "webp", "jpeg")]
    picture = await workers.make(source, wanted)
    assert picture.alpha
    assert [made.format for made in picture.made] == ["avif", "webp", "png"]
    for made in picture.made:
        found = decoded(made.data)
        assert found.hasalpha()
        assert found[-1].avg() == pytest.approx(128, abs=3)


@pytest.mark.parametrize("form", ["avif", "webp", "jpeg"])
async def test_no_variant_has_more_bytes_than_its_source(workers: Workers, form: Any) -> None:
    tiny = {
        "jpeg": jpeg(photo(96, 64), Q=5, optimize_coding=True),
        "png": png(photo(16, 16).crop(0, 0, 2, 2)),
        "webp": webp(photo(96, 64), Q=1, effort=6),
        "gif": photo(16, 16).crop(0, 0, 1, 1).write_to_buffer(".gif"),
    }
    for kind, source in tiny.items():
        (made,) = (await workers.make(source, [Variant(640, 85, form)])).made
        assert len(made.data) <= len(source), kind
        if made.data == bare(source, read(source, Limits())):
            assert made.format == kind


async def test_an_original_that_is_sent_as_it_is_has_lost_its_metadata(workers: Workers) -> None:
    picture = photo(96, 64).copy()
    picture.set_type(pyvips.GValue.gstr_type, "exif-ifd0-Artist", "somebody's name")
    source = jpeg(picture, Q=5, keep="exif") + b"<script>"
    assert b"somebody" in source
    (made,) = (await workers.make(source, [Variant(640, 85, "jpeg")])).made
    assert made.format == "jpeg"
    assert b"somebody" not in made.data
    assert b"<script>" not in made.data


async def test_placeholders_come_with_the_same_decoding(workers: Workers) -> None:
    picture = await workers.make(jpeg(), [], placeholder=True)
    small = base64.b64decode(picture.placeholder)
    assert len(small) < 300
    assert decoded(small).width == 16
    thumb = base64.b64decode(picture.thumbhash)
    assert 20 <= len(thumb) <= 28
    means = colour(photo())
    lightness = (thumb[0] & 63) / 63 * 255
    assert lightness == pytest.approx(sum(means) / 3, abs=6)


@pytest.mark.parametrize("name", [name for name in HOSTILE if name != "too-many-bytes"])
async def test_a_hostile_file_reaches_no_child(workers: Workers, name: str) -> None:
    with pytest.raises(Invalid):
        await workers.make(HOSTILE[name](), [Variant(640)])


def _broken_scan() -> bytes:
    data = jpeg()
    return data[: len(data) // 2] + b"\xff\xd9"


def _broken_pixels() -> bytes:
    data = png()
    at = data.index(b"IDAT") + 4
    (length,) = struct.unpack_from(">I", data, at - 8)
    pixels = data[at : at + length // 2]
    return data[: at - 8] + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def _wrong_sum() -> bytes:
    data = bytearray(png())
    data[data.index(b"IDAT") + 4 + 900] ^= 0xFF
    return bytes(data)


def _broken_webp() -> bytes:
    data = bytearray(webp())
    data[40:] = bytes(len(data) - 40)
    return bytes(data)


@pytest.mark.parametrize("make", [_broken_scan, _broken_pixels, _wrong_sum])
async def test_damage_that_only_a_decoder_finds_is_refused_too(workers: Workers, make: Any) -> None:
    source = make()
    read(source, Limits())  # its header is in order
    with pytest.raises(Invalid, match="cannot be decoded"):
        await workers.make(source, [Variant(640)])


async def test_avif_cannot_be_read_even_by_a_child(workers: Workers) -> None:
    child = await workers._take()
    try:
        job = {"seconds": 5, "variants": [[640, 75, "webp"]]}
        for name in ("avif", "svg", "tiff", "ppm"):
            answer, _ = await child.ask(job, HOSTILE[name]())
            assert "known format" in answer["error"] or "not a known" in answer["error"], name
    finally:
        await workers._give_back(child)


async def test_what_takes_too_long_ends_its_child_and_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("insight_cloud.images.workers._PATIENCE", 100)  # a busy machine is no fault
    noise = pyvips.Image.gaussnoise(3000, 2000, sigma=60, mean=128).cast("uchar")
    slow = jpeg(noise.bandjoin([noise, noise]).copy(interpretation="srgb"), Q=95)
    async with Workers(processes=1, seconds=1, limits=Limits(size=40_000_000)) as workers:
        before = {child._process.pid for child in workers._children}
        with pytest.raises(Invalid, match="takes more than 1 s"):
            await workers.make(slow, [Variant(3840, 85, "avif")])
        picture = await workers.make(jpeg(), [Variant(64)])
        assert picture.made[0].width == 64
        assert {child._process.pid for child in workers._children}.isdisjoint(before)


async def test_what_needs_too_much_memory_is_refused() -> None:
    # Interlaced: it must be held as a whole.
    empty = pyvips.Image.black(7500, 7500, bands=4).copy(interpretation="srgb")
    large = png(empty, interlace=True)
    limits = Limits(pixels=100_000_000)
    async with Workers(processes=1, memory_bytes=352 * 1024 * 1024, limits=limits) as workers:
        with pytest.raises(Invalid, match="decoded"):
            await workers.make(large, [Variant(16)])
        assert (await workers.make(jpeg(), [Variant(64)])).made


async def test_a_child_that_dies_is_replaced() -> None:
    async with Workers(processes=1) as alone:
        (child,) = alone._children
        child._process.kill()
        with pytest.raises(Invalid):
            await alone.make(jpeg(), [Variant(64)])
        assert (await alone.make(jpeg(), [Variant(64)])).made


async def test_a_child_has_no_secrets_and_few_rights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://user:secret@db/x")
    async with Workers(processes=1) as workers:
        (child,) = workers._children
        process = Path(f"/proc/{child._process.pid}")
        environment = await asyncio.to_thread((process / "environ").read_text)
        limits = await asyncio.to_thread((process / "limits").read_text)
        status = await asyncio.to_thread((process / "status").read_text)
    assert "secret" not in environment
    rows = {line[:26].strip(): line[26:].split()[0] for line in limits.splitlines()}
    assert rows["Max address space"] == str(1280 * 1024 * 1024)
    assert rows["Max file size"] == "0"
    assert rows["Max core file size"] == "0"
    assert int(rows["Max open files"]) == 64
    assert "NoNewPrivs:\t1" in status


async def test_too_many_at_once_are_sent_away() -> None:
    async with Workers(processes=1, queue=2) as workers:
        results = await asyncio.gather(
            *(workers.make(jpeg(), [Variant(64)]) for _ in range(8)), return_exceptions=True
        )
        made = [result for result in results if isinstance(result, Picture)]
        away = [result for result in results if isinstance(result, Unavailable)]
        assert len(made) == 3
        assert len(away) == 5
        assert all(error.retry_after >= 1 for error in away)


async def test_closed_workers_leave_no_process() -> None:
    async with Workers(processes=2) as workers:
        pids = [child._process.pid for child in workers._children]
        task = asyncio.create_task(workers.make(jpeg(), [Variant(640, 85, "avif")]))
        await asyncio.sleep(0)
    with pytest.raises((Invalid, Unavailable)):
        await task
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    with pytest.raises(Unavailable, match="not open"):
        await workers.make(jpeg(), [Variant(64)])


async def test_a_call_that_is_cancelled_gives_its_place_back() -> None:
    async with Workers(processes=1) as workers:
        task = asyncio.create_task(workers.make(jpeg(), [Variant(640, 85, "avif")]))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await workers.make(jpeg(), [Variant(64)])).made


async def test_a_source_beyond_the_limits_is_not_sent(workers: Workers) -> None:
    with pytest.raises(TooLarge):
        await workers.make(HOSTILE["too-many-bytes"](), [Variant(640)])


@pytest.mark.timeout(3600)
async def test_damaged_files_crash_nothing(workers: Workers) -> None:
    """A thousand of them; `TEST_IMAGE_MUTATIONS=10000` is the full number, as in the benchmark."""
    count = int(os.environ.get("TEST_IMAGE_MUTATIONS", "1000"))
    found = await damage(workers, count, seed=count)
    assert found.made + found.refused == count
    assert found.made
    assert found.refused
    assert found.ended == 0


async def test_a_child_that_is_ended_by_an_image_would_be_seen() -> None:
    async with Workers(processes=1) as alone:
        (child,) = alone._children
        child._process.kill()
        assert (await damage(alone, 20)).ended == 1
