from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as some

from insight_cloud.core.errors import SettingsError
from insight_cloud.images import Described, cloudflare, image, ours, picture, preload

CAT = Described("/photos/cat.jpg", 1300, 900, placeholder="UklGRg==")


class Elements(HTMLParser):
    """Every element with its attributes, in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}))

    def one(self, tag: str) -> dict[str, str]:
        (attributes,) = [attributes for name, attributes in self.found if name == tag]
        return attributes


def widths(srcset: str) -> list[int]:
    return [int(width) for width in re.findall(r" (\d+)w(?:, |$)", srcset)]


def test_every_format_offers_every_width_the_image_has() -> None:
    found = Elements(picture(CAT, ours(), alt="A cat", sizes="50vw"))
    sources = [attributes for name, attributes in found.found if name == "source"]
    assert [source["type"] for source in sources] == ["image/avif", "image/webp"]
    for one in (*sources, found.one("img")):
        assert widths(one["srcset"]) == [640, 750, 828, 1080, 1200, 1300]
        assert one["sizes"] == "50vw"
    assert "f=avif" in sources[0]["srcset"]
    assert "f=jpeg" in found.one("img")["srcset"]
    assert "f=jpeg" in found.one("img")["src"]


def test_the_place_is_kept_and_the_loading_waits() -> None:
    found = Elements(picture(CAT, ours(), alt="A cat")).one("img")
    assert (found["width"], found["height"]) == ("1300", "900")
    assert found["loading"] == "lazy"
    assert found["decoding"] == "async"
    assert "fetchpriority" not in found


def test_the_most_important_image_does_not_wait() -> None:
    found = Elements(picture(CAT, ours(), alt="A cat", priority=True)).one("img")
    assert found["fetchpriority"] == "high"
    assert "loading" not in found


def test_a_placeholder_stands_in_a_style_that_a_strict_policy_allows() -> None:
    text = picture(CAT, ours(), alt="", nonce="r4nd0m")
    assert text.startswith('<style nonce="r4nd0m">[data-blur="')
    assert "data:image/webp;base64,UklGRg==" in text
    assert "style=" not in Elements(text).one("img")
    without = Elements(picture(CAT, ours(), alt="")).one("img")
    assert "data:image/webp;base64,UklGRg==" in without["style"]


def test_nothing_shines_through_a_transparent_image() -> None:
    clear = Described("/a.png", 900, 600, alpha=True, placeholder="UklGRg==")
    assert "UklGRg" not in picture(clear, ours(), alt="")


def test_where_others_choose_the_format_there_are_no_sources() -> None:
    text = picture(CAT, cloudflare(), alt="", formats=())
    assert "<source" not in text
    assert "format=auto" in text
    assert "format=jpeg" not in text


def test_an_icon_has_one_width_for_each_density() -> None:
    found = Elements(image(CAT, ours(), alt="", width=40))
    assert re.findall(r"w=(\d+)\S* (\dx)", found.one("img")["srcset"]) == [
        ("48", "1x"),
        ("96", "2x"),
    ]
    assert (found.one("img")["width"], found.one("img")["height"]) == ("40", "28")


def test_a_preload_says_what_the_picture_will_choose_from() -> None:
    value = preload(CAT, ours(), sizes="50vw")
    assert value.startswith(
        "</_image?url=/photos/cat.jpg&w=1080&q=75&f=avif>; rel=preload; as=image"
    )
    assert 'type=image/avif; imagesrcset="' in value.replace("\n", "")
    assert 'imagesizes="50vw"; fetchpriority=high' in value
    sources = Elements(picture(CAT, ours(), alt="", sizes="50vw")).found
    srcset = next(attributes["srcset"] for name, attributes in sources if name == "source")
    assert srcset in value


@given(some.text(max_size=40), some.text(min_size=1, max_size=40))
def test_no_text_breaks_out_of_its_attribute(alt: str, source: str) -> None:
    text = picture(Described(source, 900, 600), ours(), alt=alt, sizes=alt, classes=alt or "x")
    names = {name for name, _ in Elements(text).found}
    assert names == {"picture", "source", "img"}


def test_templates_insert_it_as_it_is() -> None:
    from jinja2 import Environment

    page = Environment(autoescape=True).from_string("{{ cat }}")
    assert page.render(cat=picture(CAT, ours(), alt="<b>")).startswith("<picture><source")


def test_a_quality_has_a_name() -> None:
    assert "q=85" in picture(CAT, ours(), alt="", quality="high")
    with pytest.raises(SettingsError, match="thumbnail, standard, high"):
        picture(CAT, ours(), alt="", quality="best")
