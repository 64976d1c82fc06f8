from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as some

from insight_cloud.core.errors import Invalid, TooLarge
from insight_cloud.images import Limits
from insight_cloud.images.header import bare, read
from tests.images.gallery import GOOD, HOSTILE, jpeg, photo, png, webp

MOST_BYTES = 64 * 1024 * 1024


def test_there_are_at_least_forty_hostile_files() -> None:
    assert len(HOSTILE) >= 40


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_before_it_is_decoded(name: str) -> None:
    data = HOSTILE[name]()
    tracemalloc.start()
    try:
        with pytest.raises(Invalid) as refusal:
            read(data, Limits())
        assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
    finally:
        tracemalloc.stop()
    assert 400 <= refusal.value.http_status < 500
    assert str(refusal.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("avif", "AVIF or HEIF; only JPEG, PNG, WebP and GIF are decoded"),
        ("svg-of-entities", "the file is SVG"),
        ("tiff", "the file is TIFF"),
        ("html", "the file is HTML"),
        ("jpeg-truncated", "the JPEG is truncated"),
        ("png-3600-megapixels", "60000 × 60000 pixels"),  # noqa: RUF001 - a product
        ("png-144-megapixels", "144,000,000 pixels"),
        ("jpeg-2000-scans", "more than 100 scans"),
        ("gif-of-20000-frames", "20,000 frames"),
        ("too-many-bytes", "at most 20,000,000"),
    ],
)
def test_a_refusal_says_what_is_wrong(name: str, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        read(HOSTILE[name](), Limits())


@pytest.mark.parametrize("name", GOOD)
def test_a_good_file_declares_its_size(name: str) -> None:
    header = read(GOOD[name](), Limits())
    size = (1, 1) if "one-pixel" in name else (96, 64)
    assert (header.width, header.height) == size
    assert header.format == name.partition("-")[0]
    assert header.frames == (4 if "animated" in name else 1)


@pytest.mark.parametrize(
    "limits",
    [Limits(size=1000), Limits(pixels=6143), Limits(side=95)],
    ids=["bytes", "pixels", "side"],
)
def test_each_limit_counts(limits: Limits) -> None:
    data = jpeg(photo(96, 64))
    assert read(data, Limits(size=len(data), pixels=6144, side=96)).width == 96
    with pytest.raises(TooLarge):
        read(data, limits)


def test_frames_are_limited() -> None:
    with pytest.raises(TooLarge, match="4 frames"):
        read(GOOD["gif-animated"](), Limits(frames=3))


@pytest.mark.parametrize("name", GOOD)
def test_what_is_bare_is_the_same_picture_and_no_more(name: str) -> None:
    data = GOOD[name]()
    header = read(data, Limits())
    clean = bare(data, header)
    assert read(clean, Limits()) == header
    assert bare(clean, header) == clean
    assert len(clean) <= len(data)
    assert b"<script" not in clean
    assert b"alert" not in clean
    assert b"Exif" not in clean
    assert b"PK\x03\x04" not in clean


def test_a_colour_profile_stays() -> None:
    data = GOOD["jpeg-display-p3"]()
    assert b"ICC_PROFILE" in bare(data, read(data, Limits()))


_SEEDS = [jpeg(photo(64, 48)), png(photo(64, 48)), webp(photo(64, 48)), GOOD["gif-animated"]()]


@given(some.sampled_from(_SEEDS), some.data())
def test_no_damage_leads_to_any_other_error(seed: bytes, draw: some.DataObject) -> None:
    data = bytearray(seed[: draw.draw(some.integers(0, len(seed)))])
    for _ in range(draw.draw(some.integers(0, 8))):
        if data:
            data[draw.draw(some.integers(0, len(data) - 1))] = draw.draw(some.integers(0, 255))
    try:
        header = read(bytes(data), Limits())
    except Invalid:
        return
    assert read(bare(bytes(data), header), Limits()) == header


@given(some.binary(max_size=300))
def test_no_other_bytes_do_either(data: bytes) -> None:
    for start in (b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF\x40\0\0\0WEBP"):
        try:
            read(start + data, Limits())
        except Invalid:
            continue
