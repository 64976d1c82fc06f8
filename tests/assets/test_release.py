from __future__ import annotations

import base64
import hashlib
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as some

from insight_cloud.assets import build, release, with_deltas
from insight_cloud.core.errors import Invalid, Missing

FILES = {
    "css/app.css": b"""@import "base.css"; .a { background: url("../img/logo.svg?x#top") }
        .b { background: url(data:image/png;base64,AAAA) } .c { background: url(/other.png) }
        .d { background: url(https://cdn.example/x.png); content: "url(not-there.png)" }""",
    "css/base.css": b"@font-face { font-family: x; src: url('../fonts/x.woff2') }",
    "img/logo.svg": b"<svg xmlns='http://www.w3.org/2000/svg'>" + b"<g/>" * 100 + b"</svg>",
    "fonts/x.woff2": b"wOF2" + bytes(500),
    "app.js": b"console.log('hello');\n" * 50,
}


def test_a_name_holds_the_hash_of_the_content() -> None:
    made = build(FILES)["img/logo.svg"]
    digest = hashlib.sha256(FILES["img/logo.svg"]).hexdigest()
    assert made.path == f"img/logo.{digest[:12]}.svg"
    assert base64.b64decode(made.digest).hex() == digest
    assert (
        made.integrity
        == "sha384-" + base64.b64encode(hashlib.sha384(FILES["img/logo.svg"]).digest()).decode()
    )
    assert made.media_type == "image/svg+xml"


def test_stylesheets_refer_to_the_hashed_names() -> None:
    made = build(FILES)
    app = made["css/app.css"].body.decode()
    logo, base = made["img/logo.svg"].path, made["css/base.css"].path
    assert f'url("../{logo}?x#top")' in app
    assert f'@import "{base.removeprefix("css/")}"' in app
    for untouched in ("data:image/png;base64,AAAA", "/other.png", "https://cdn.example/x.png"):
        assert untouched in app
    assert '"url(not-there.png)"' in app
    assert made["fonts/x.woff2"].path in made["css/base.css"].body.decode()
    assert made["css/app.css"].references == ("css/base.css", "img/logo.svg")


def test_a_changed_picture_renames_the_stylesheets_that_use_it() -> None:
    before = build(FILES)
    after = build(FILES | {"img/logo.svg": b"<svg/>"})
    assert before["css/app.css"].path != after["css/app.css"].path
    assert before["css/base.css"].path == after["css/base.css"].path


def test_what_is_not_there_is_named() -> None:
    with pytest.raises(Missing, match=r"css/app\.css refers to img/logo\.svg"):
        build({name: body for name, body in FILES.items() if name != "img/logo.svg"})
    with pytest.raises(Missing, match="outside"):
        build({"a.css": b"a { b: url(../outside.png) }"})


def test_stylesheets_that_need_each_other_cannot_be_named() -> None:
    with pytest.raises(Invalid, match="refer to each other"):
        build({"a.css": b'@import "b.css";', "b.css": b'@import "a.css";'})


def test_a_comment_refers_to_nothing() -> None:
    assert build({"a.css": b"/* url(none.png) */ a { b: c }"})["a.css"].references == ()


def test_fonts_and_pictures_are_not_compressed_again() -> None:
    made = build(FILES)
    assert made["fonts/x.woff2"].encodings == {}
    assert set(made["app.js"].encodings) == {"br", "zstd", "gzip"}


def test_what_is_known_is_not_compressed_again() -> None:
    before = build(FILES)
    with mock.patch.object(release, "encode", side_effect=AssertionError):
        assert build(FILES, before.assets.values()) == before


def test_deltas_are_made_against_earlier_files_of_the_same_name() -> None:
    body = b"".join(b"function f%d() { return %d }\n" % (n, n * n) for n in range(500))
    releases = [build({"app.js": body + b"// %d\nlet v%d;" % (n, n)}) for n in range(6)]
    newest = with_deltas(releases[5], reversed(releases[:5]))
    expected = {releases[n]["app.js"].digest for n in (4, 3, 2)}
    assert set(newest["app.js"].deltas) == expected
    smallest = min(map(len, newest["app.js"].encodings.values()))
    assert all(len(packed) < smallest for packed in newest["app.js"].deltas.values())


def test_an_unchanged_file_needs_no_delta() -> None:
    made = build(FILES)
    assert with_deltas(made, [made])["app.js"].deltas == {}


def test_a_pattern_matches_newer_names_of_the_same_file_only() -> None:
    made = build(FILES | {"odd (1).js": FILES["app.js"]})
    assert made["css/app.css"].pattern == "css/app.*.css"
    assert made["odd (1).js"].pattern == ""


@given(
    some.dictionaries(some.from_regex(r"[a-c]\.(js|css|txt)", fullmatch=True), some.just(b"a{}"))
)
def test_building_twice_is_the_same(files: dict[str, bytes]) -> None:
    assert build(files) == build(files)
    assert set(build(files).assets) == set(files)


def test_an_asset_that_is_not_there_is_missing() -> None:
    with pytest.raises(Missing, match=r"none\.css"):
        build(FILES)["none.css"]
