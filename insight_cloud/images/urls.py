"""Addresses of an image in a width, quality and format, at whoever makes it. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias
from urllib.parse import quote, urlencode

from insight_cloud.core.errors import SettingsError
from insight_cloud.images.signature import Signer
from insight_cloud.images.variants import Format

__all__ = ["Address", "cloudflare", "cloudfront", "generic", "ours"]

Address: TypeAlias = Callable[[str, int, int, "Format | None"], "str | None"]
"""Source, width, quality, format (None: whatever suits the browser) to the address, if any."""

_PLACES = ("{src}", "{width}", "{quality}", "{format}")


def ours(
    endpoint: str = "/_image",
    *,
    version: Callable[[str], str] | None = None,
    signer: Signer | None = None,
    expires: int = 0,
) -> Address:
    """Addresses of our own endpoint.

    `version` gives the beginning of a source's digest, so that caches may keep the answer for
    ever. `signer` signs sources of other hosts, until the Unix time `expires` (0: for ever).
    """

    def address(source: str, width: int, quality: int, form: Format | None) -> str:
        query: dict[str, str | int] = {"url": source, "w": width, "q": quality}
        if form is not None:
            query["f"] = form
        if version is not None and (digest := version(source)):
            query["v"] = digest[:12]
        if signer is not None and not source.startswith("/"):
            query["s"] = signer.sign(source, expires)
            if expires:
                query["exp"] = expires
        return f"{endpoint}?{urlencode(query, safe='/')}"

    return address


def cloudflare(zone: str = "") -> Address:
    """Addresses of Cloudflare's image transformations, which `zone` must have switched on.

    `zone` is empty for pages of that zone, else `https://its.name`.
    """

    def address(source: str, width: int, quality: int, form: Format | None) -> str:
        # "scale-down" never enlarges; Cloudflare makes AVIF up to 1,200 pixels only.
        options = f"width={width},quality={quality},format={form or 'auto'},fit=scale-down"
        path = source if "://" in source else source.removeprefix("/")
        return f"{zone.rstrip('/')}/cdn-cgi/image/{options}/{quote(path, safe='/:')}"

    return address


def cloudfront(distribution: str) -> Address:
    """Addresses of a CloudFront distribution with an image function behind it."""

    def address(source: str, width: int, quality: int, form: Format | None) -> str:
        query = urlencode({"format": form or "auto", "width": width, "quality": quality})
        return f"{distribution.rstrip('/')}/{quote(source.removeprefix('/'), safe='/')}?{query}"

    return address


def generic(template: str) -> Address:
    """Addresses by a template with `{src}` `{width}` `{quality}` `{format}`.

    Raises:
        SettingsError: source or width have no place in it.
    """
    if "{src}" not in template or "{width}" not in template:
        raise SettingsError("the template of image addresses needs {src} and {width}")

    def address(source: str, width: int, quality: int, form: Format | None) -> str:
        values = (quote(source, safe="/:"), str(width), str(quality), form or "auto")
        text = template
        # In one pass, so that a source that contains {width} stays as it is.
        parts: list[str] = []
        while text:
            at, place = min(
                ((text.find(place), place) for place in _PLACES if place in text),
                default=(len(text), ""),
            )
            parts.append(text[:at])
            if place:
                parts.append(values[_PLACES.index(place)])
            text = text[at + len(place) :]
        return "".join(parts)

    return address
