from __future__ import annotations

import pytest

from insight_cloud.assets import minify
from insight_cloud.core.errors import Invalid


def test_css_loses_what_only_people_need() -> None:
    body = b"/* why */\n.a {\n  color : #ffffff ;\n}\n.b { margin: 0px 0px }\n"
    assert minify("app.css", body) == b".a{color:#fff}.b{margin:0}"


def test_modern_css_stays_what_it_is() -> None:
    body = (
        b":root { color-scheme: light dark } a { color: light-dark(red, blue); &:hover { x: y } }"
    )
    made = minify("app.css", body)
    assert b"light-dark(red,#00f)" in made
    assert b"&:hover" in made


def test_javascript_loses_blanks_and_comments_but_not_its_licence() -> None:
    body = b"/*! MIT */\n// why\nconst a  =  `x  ${ 1 }`;\n\nexport { a };\n"
    made = minify("app.mjs", body)
    assert made.startswith(b"/*! MIT */")
    assert b"// why" not in made
    assert b"`x  ${ 1 }`" in made


@pytest.mark.parametrize("name", ["jquery.min.js", "icon.svg", "data.json", "photo.png"])
def test_other_files_are_left_alone(name: str) -> None:
    assert minify(name, b"  a   b  ") == b"  a   b  "


def test_css_that_is_none_is_refused_by_name() -> None:
    with pytest.raises(Invalid, match=r"app\.css is not CSS"):
        minify("app.css", b".a { color: }}}")
    with pytest.raises(Invalid, match="UTF-8"):
        minify("app.css", b"\xff\xfe")


def test_what_is_small_already_does_not_grow() -> None:
    assert minify("app.css", b"a{b:c}") == b"a{b:c}"
