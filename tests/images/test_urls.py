from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as some

from insight_cloud.core.errors import SettingsError
from insight_cloud.images import Signer, cloudflare, cloudfront, generic, ours


def test_our_addresses_say_what_is_wanted() -> None:
    assert ours()("/photos/cat.jpg", 640, 75, None) == "/_image?url=/photos/cat.jpg&w=640&q=75"
    versioned = ours("/i", version=lambda _: "0123456789abcdef0123")
    assert (
        versioned("/cat.jpg", 64, 60, "avif") == "/i?url=/cat.jpg&w=64&q=60&f=avif&v=0123456789ab"
    )


@given(some.text(min_size=1, max_size=60))
def test_any_source_comes_out_as_it_went_in(source: str) -> None:
    query = parse_qs(urlsplit(ours()(source, 640, 75, "webp") or "").query)
    assert query["url"] == [source]
    assert query["w"] == ["640"]


def test_only_sources_of_others_are_signed() -> None:
    signer = Signer(["k" * 16])
    address = ours(signer=signer, expires=99)
    assert "s=" not in (address("/cat.jpg", 640, 75, None) or "")
    query = parse_qs(urlsplit(address("https://a.example/b.jpg", 640, 75, None) or "").query)
    signer.check("https://a.example/b.jpg", query["s"][0], int(query["exp"][0]), now=1)


def test_cloudflares_addresses() -> None:
    assert cloudflare()("/photos/my cat.jpg", 640, 75, None) == (
        "/cdn-cgi/image/width=640,quality=75,format=auto,fit=scale-down/photos/my%20cat.jpg"
    )
    assert cloudflare("https://img.example/")("https://a.example/b.jpg", 64, 60, "avif") == (
        "https://img.example/cdn-cgi/image/width=64,quality=60,format=avif,fit=scale-down/"
        "https://a.example/b.jpg"
    )


def test_cloudfronts_addresses() -> None:
    assert cloudfront("https://d1.cloudfront.net")("/a/b.jpg", 640, 85, "webp") == (
        "https://d1.cloudfront.net/a/b.jpg?format=webp&width=640&quality=85"
    )


def test_addresses_by_a_template() -> None:
    address = generic("https://cdn.example/{width}x/{quality}/{format}{src}")
    assert address("/a {width}.jpg", 640, 75, None) == (
        "https://cdn.example/640x/75/auto/a%20%7Bwidth%7D.jpg"
    )
    for template in ("https://cdn.example/{src}", "https://cdn.example/{width}"):
        with pytest.raises(SettingsError, match=r"needs \{src\} and"):
            generic(template)
