"""HTML that makes a browser load the right image, early or late, without a page that jumps."""

from __future__ import annotations

import html
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from insight_cloud.core.errors import SettingsError
from insight_cloud.core.html import Html
from insight_cloud.images.urls import Address
from insight_cloud.images.variants import DEVICE_WIDTHS, QUALITIES, WIDTHS, Format, up_to

__all__ = ["Described", "image", "picture", "preload"]


@dataclass(frozen=True, slots=True)
class Described:
    """What must be known of an image to write its markup; a `Catalogue` knows it."""

    source: str
    """A path or an address."""
    width: int
    height: int
    alpha: bool = False
    placeholder: str = ""
    """WebP of 16 pixels, base64."""


def picture(
    described: Described,
    address: Address,
    *,
    alt: str,
    sizes: str = "100vw",
    quality: str = "standard",
    widths: Sequence[int] = DEVICE_WIDTHS,
    formats: Sequence[Format] = ("avif", "webp"),
    priority: bool = False,
    nonce: str | None = None,
    classes: str = "",
) -> Html:
    """Return `<picture>` for an image whose width depends on the page's.

    Args:
        described: the image.
        address: who makes it, see `urls`.
        alt: what it shows, for those who do not see it; "" for mere decoration.
        sizes: how wide it is shown, as CSS says it (`(min-width: 60rem) 50vw, 100vw`). Right
            values save more than any format: by it the browser chooses before it knows the page.
        quality: `thumbnail`, `standard` or `high`.
        widths: of these, all that the image has are offered.
        formats: best first; () where the address negotiates the format itself.
        priority: for the largest image at the top of a page: it is fetched first, not lazily.
        nonce: of the page's `style-src`; without one the placeholder is a style attribute, which
            a strict policy forbids.
        classes: of the `<img>`.
    """
    offered = _Offer(described, address, _quality(quality), up_to(described.width, widths))
    sources = "".join(
        f'<source type="image/{form}" srcset="{srcset}" sizes="{html.escape(sizes)}">'
        for form in formats
        if (srcset := html.escape(offered.by_width(form)))
    )
    fallback: Format | None = "jpeg" if formats else None
    attributes = _attributes(described, alt, priority=priority, classes=classes)
    srcset = html.escape(offered.by_width(fallback))
    if srcset:
        attributes += f' srcset="{srcset}" sizes="{html.escape(sizes)}"'
    src = html.escape(offered.middle(fallback) or described.source)
    before, attributes = _placeholder(described, attributes, nonce)
    return Html(f'{before}<picture>{sources}<img{attributes} src="{src}"></picture>')


def image(
    described: Described,
    address: Address,
    *,
    alt: str,
    width: int,
    quality: str = "standard",
    formats: Sequence[Format] = ("avif", "webp"),
    priority: bool = False,
    classes: str = "",
) -> Html:
    """Return `<picture>` for an image of always the same `width`: an avatar, a logo, an icon.

    Screens of double density get an image of double width.
    """
    shown = min(width, described.width)
    fit = _fitting(shown, described.width)
    offered = _Offer(described, address, _quality(quality), fit)
    sources = "".join(
        f'<source type="image/{form}" srcset="{srcset}">'
        for form in formats
        if (srcset := html.escape(offered.by_density(form)))
    )
    fallback: Format | None = "jpeg" if formats else None
    height = max(1, round(described.height * shown / described.width))
    scaled = Described(described.source, shown, height)
    attributes = _attributes(scaled, alt, priority=priority, classes=classes)
    if srcset := html.escape(offered.by_density(fallback)):
        attributes += f' srcset="{srcset}"'
    src = html.escape(offered.first(fallback) or described.source)
    return Html(f'<picture>{sources}<img{attributes} src="{src}"></picture>')


def preload(
    described: Described,
    address: Address,
    *,
    sizes: str = "100vw",
    quality: str = "standard",
    widths: Sequence[int] = DEVICE_WIDTHS,
    form: Format | None = "avif",
) -> str:
    """Return the value of a `Link` header that lets the browser begin before it has the page.

    For the one image with `priority`. An edge sends it as Early Hints.
    """
    offered = _Offer(described, address, _quality(quality), up_to(described.width, widths))
    kind = f"; type=image/{form}" if form else ""
    return (
        f"<{offered.middle(form) or described.source}>; rel=preload; as=image{kind}; "
        f'imagesrcset="{_quoted(offered.by_width(form))}"; imagesizes="{_quoted(sizes)}"; '
        "fetchpriority=high"
    )


@dataclass(frozen=True, slots=True)
class _Offer:
    """The addresses of one image at one quality."""

    described: Described
    address: Address
    quality: int
    widths: tuple[int, ...]

    def by_width(self, form: Format | None) -> str:
        # The last one may be nominally wider than the image, which is not enlarged.
        pairs = ((self._at(width, form), min(width, self.described.width)) for width in self.widths)
        return ", ".join(f"{url} {width}w" for url, width in pairs if url)

    def by_density(self, form: Format | None) -> str:
        pairs = ((self._at(width, form), number) for number, width in enumerate(self.widths, 1))
        return ", ".join(f"{url} {number}x" for url, number in pairs if url)

    def middle(self, form: Format | None) -> str | None:
        """For browsers without srcset: neither the smallest nor the largest."""
        found = [url for width in self.widths if (url := self._at(width, form))]
        return found[len(found) // 2] if found else None

    def first(self, form: Format | None) -> str | None:
        return next((url for width in self.widths if (url := self._at(width, form))), None)

    def _at(self, width: int, form: Format | None) -> str | None:
        return self.address(self.described.source, width, self.quality, form)


def _fitting(shown: int, natural: int) -> tuple[int, ...]:
    """The widths for single and double density."""
    wanted = (shown, min(shown * 2, natural))
    found = (next((w for w in WIDTHS if w >= width), WIDTHS[-1]) for width in wanted)
    return tuple(dict.fromkeys(found))


def _attributes(described: Described, alt: str, *, priority: bool, classes: str) -> str:
    loading = 'fetchpriority="high"' if priority else 'loading="lazy"'
    css = f' class="{html.escape(classes)}"' if classes else ""
    return (
        f' width="{described.width}" height="{described.height}" alt="{html.escape(alt)}" '
        f'{loading} decoding="async"{css}'
    )


def _placeholder(described: Described, attributes: str, nonce: str | None) -> tuple[str, str]:
    """What stands before the picture, and the attributes of the image."""
    if not described.placeholder or described.alpha:  # it would shine through
        return "", attributes
    style = (
        f'background:url("data:image/webp;base64,{described.placeholder}") center/cover no-repeat'
    )
    if nonce is None:
        return "", f'{attributes} style="{html.escape(style)}"'
    name = f"{zlib.crc32(described.placeholder.encode()):08x}"
    before = f'<style nonce="{html.escape(nonce)}">[data-blur="{name}"]{{{style}}}</style>'
    return before, f'{attributes} data-blur="{name}"'


def _quality(name: str) -> int:
    if name not in QUALITIES:
        raise SettingsError(f"the quality of an image is one of {', '.join(QUALITIES)}")
    return QUALITIES[name]


def _quoted(text: str) -> str:
    """Escape for a quoted string of a header."""
    return text.replace("\\", "\\\\").replace('"', '\\"')
