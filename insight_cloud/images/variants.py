"""Which sizes, qualities and formats there are, and which of them a browser gets. Pure."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from insight_cloud.core.errors import Invalid

__all__ = [
    "DEVICE_WIDTHS",
    "ICON_WIDTHS",
    "QUALITIES",
    "WIDTHS",
    "Format",
    "Variant",
    "accepted",
    "choose",
    "parse_format",
    "parse_quality",
    "parse_width",
    "up_to",
]

Format = Literal["avif", "webp", "jpeg", "png"]
"""What is written. PNG stands in for JPEG where a picture is transparent."""

DEVICE_WIDTHS = (640, 750, 828, 1080, 1200, 1920, 2048, 3840)
ICON_WIDTHS = (16, 32, 48, 64, 96, 128, 256, 384)
WIDTHS = (*ICON_WIDTHS, *DEVICE_WIDTHS)
"""Every width that can be asked for: a list, so that nobody can ask for a million of them."""

QUALITIES = {"thumbnail": 60, "standard": 75, "high": 85}
"""Named qualities, as WebP counts them; the other formats are set to look alike."""

_FORMATS: tuple[Format, ...] = ("avif", "webp", "jpeg")


@dataclass(frozen=True, slots=True)
class Variant:
    """One picture to be made. `width` is a maximum: nothing is enlarged."""

    width: int
    quality: int = 75
    format: Format = "webp"


def parse_width(text: str, widths: Sequence[int] = WIDTHS) -> int:
    """Read one of `widths`.

    Raises:
        Invalid: it is none of them.
    """
    known = {str(width): width for width in widths}
    if text not in known:
        raise Invalid(
            f"the width must be one of {', '.join(known)}", problems=(("/w", "is none of these"),)
        )
    return known[text]


def parse_quality(text: str) -> int:
    """Read a quality, 60, 75 or 85 or its name; empty is 75.

    Raises:
        Invalid: it is none of them.
    """
    known = QUALITIES | {str(value): value for value in QUALITIES.values()} | {"": 75}
    if text not in known:
        raise Invalid("the quality must be 60, 75 or 85", problems=(("/q", "is not 60, 75 or 85"),))
    return known[text]


def parse_format(text: str) -> Format:
    """Read the name of a format that can be asked for.

    Raises:
        Invalid: it is none of them.
    """
    for known in _FORMATS:
        if text == known:
            return known
    raise Invalid(
        f"the format must be one of {', '.join(_FORMATS)}",
        problems=(("/f", "is none of these"),),
    )


def choose(accept: str, offered: Sequence[Format]) -> Format:
    """Return the first of `offered` that a browser names in its `Accept`, else JPEG.

    `image/*` and `*/*` do not count: old browsers send them and cannot read what is new.
    """
    named = accepted(accept)
    return next((form for form in offered if f"image/{form}" in named), "jpeg")


@functools.lru_cache(maxsize=256)
def accepted(accept: str) -> frozenset[str]:
    """The media types that an `Accept` names, without those it excludes by `q=0`."""
    named = set()
    for item in accept.lower()[:1000].split(","):
        name, *parameters = (part.strip() for part in item.split(";"))
        weights = [text[2:] for text in parameters if text.startswith("q=")]
        if not any(_is_zero(weight) for weight in weights):
            named.add(name)
    return frozenset(named)


def up_to(width: int, widths: Sequence[int]) -> tuple[int, ...]:
    """Those of `widths` that are of use for a picture `width` wide: nothing is enlarged.

    The first one beyond stays, as it stands for the picture at its own size.
    """
    smaller = tuple(one for one in sorted(widths) if one < width)
    beyond = sorted(one for one in widths if one >= width)[:1]
    return (*smaller, *beyond)


def _is_zero(weight: str) -> bool:
    try:
        return float(weight) == 0
    except ValueError:
        return True
