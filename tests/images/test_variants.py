from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from insight_cloud.core.errors import Invalid
from insight_cloud.images import DEVICE_WIDTHS, ICON_WIDTHS, WIDTHS
from insight_cloud.images.variants import (
    accepted,
    choose,
    parse_format,
    parse_quality,
    parse_width,
    up_to,
)

CHROME = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"


def test_there_are_eight_device_and_eight_icon_widths() -> None:
    assert len(DEVICE_WIDTHS) == len(ICON_WIDTHS) == 8
    assert tuple(sorted(WIDTHS)) == WIDTHS


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (CHROME, "webp"),
        ("image/avif,image/png,*/*", "avif"),
        ("image/*,*/*;q=0.8", "jpeg"),
        ("*/*", "jpeg"),
        ("", "jpeg"),
        ("IMAGE/WEBP", "webp"),
        ("image/webp;q=0, image/avif", "avif"),
        ("image/webp;q=0.000", "jpeg"),
        ("image/webp;q=broken", "jpeg"),
        ("image/webp;q=0.1", "webp"),
    ],
)
def test_a_browser_gets_the_first_offer_that_it_names(accept: str, form: str) -> None:
    assert choose(accept, ("webp", "avif")) == form


def test_the_order_is_the_servers() -> None:
    assert choose(CHROME, ("avif", "webp")) == "avif"


@given(some.text(max_size=200))
def test_any_accept_can_be_read(text: str) -> None:
    assert isinstance(accepted(text), frozenset)


@pytest.mark.parametrize("text", ["641", "-640", "0640", " 640", "640.0", "", "1e3", "٦٤٠"])
def test_no_other_width_is_taken(text: str) -> None:
    with pytest.raises(Invalid, match="the width must be one of"):
        parse_width(text)


def test_widths_qualities_and_formats_are_read() -> None:
    assert [parse_width(str(width)) for width in WIDTHS] == list(WIDTHS)
    assert [parse_quality(text) for text in ("60", "75", "85", "", "thumbnail", "high")] == [
        *(60, 75, 85, 75, 60, 85),
    ]
    assert parse_format("avif") == "avif"
    for text in ("61", "best"):
        with pytest.raises(Invalid):
            parse_quality(text)
    for text in ("png", "svg", ""):
        with pytest.raises(Invalid):
            parse_format(text)


@given(some.integers(1, 20_000))
def test_widths_go_up_to_the_image_and_one_beyond(width: int) -> None:
    offered = up_to(width, DEVICE_WIDTHS)
    assert offered
    assert list(offered) == sorted(offered)
    assert sum(one >= width for one in offered) <= 1
    assert {one for one in DEVICE_WIDTHS if one < width} <= set(offered)
