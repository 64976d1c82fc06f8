from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from insight_cloud.assets import Assets, build
from insight_cloud.core.errors import Missing, SettingsError

FILES = {
    "app.css": b".a { color: red }",
    "app.js": b"import './lib/x.mjs'",
    "lib/x.mjs": b"export {}",
    "x.woff2": b"wOF2",
    "logo.svg": b"<svg/>",
    "data.json": b"{}",
}


@pytest.fixture
def assets() -> Assets:
    return Assets(build(FILES))


def test_elements_carry_address_and_integrity(assets: Assets) -> None:
    css, js = assets.release["app.css"], assets.release["app.js"]
    assert assets.stylesheet("app.css") == (
        f'<link rel="stylesheet" href="/static/{css.path}" integrity="{css.integrity}">'
    )
    assert assets.script("app.js") == (
        f'<script src="/static/{js.path}" defer integrity="{js.integrity}"></script>'
    )
    assert ' type="module" ' in assets.script("app.js", module=True)
    assert hasattr(assets.stylesheet("app.css"), "__html__")


def test_modules_find_each_other_by_their_plain_names(assets: Assets) -> None:
    text = assets.importmap(nonce="r4nd0m")
    assert text.startswith('<script type="importmap" nonce="r4nd0m">')
    data = json.loads(re.sub("<.*?>", "", text))
    assert data["imports"]["/static/lib/x.mjs"] == assets.url("lib/x.mjs")
    assert data["integrity"][assets.url("lib/x.mjs")] == assets.release["lib/x.mjs"].integrity
    assert "nonce" not in assets.importmap()


def test_a_link_header_preloads_each_kind_as_what_it_is(assets: Assets) -> None:
    value = assets.preload("app.css", "app.js", "x.woff2", "logo.svg", "data.json")
    links = value.split(", ")
    assert [re.search(r"as=(\w+)", link)[1] for link in links] == [  # type: ignore[index]  # each has one
        *("style", "script", "font", "image", "fetch"),
    ]
    assert links[2].endswith("; crossorigin")
    assert all(link.startswith("</static/") and "; rel=preload" in link for link in links)
    assert f'integrity="{assets.release["app.css"].integrity}"' in links[0]


def test_a_link_header_that_edges_would_cut_is_refused(assets: Assets) -> None:
    with pytest.raises(SettingsError, match="too long"):
        assets.preload(*["app.css"] * 100)


def test_a_name_that_is_not_there_is_missing(assets: Assets) -> None:
    for ask in (assets.url, assets.stylesheet, assets.script, assets.preload):
        with pytest.raises(Missing, match=r"none\.css"):
            ask("none.css")


@pytest.mark.parametrize("prefix", ["static/", "/static", ""])
def test_a_prefix_has_slashes_at_both_ends(prefix: str) -> None:
    with pytest.raises(SettingsError, match="slash"):
        Assets(build({}), prefix=prefix)


def test_no_name_breaks_out_of_its_attribute(tmp_path: Path) -> None:
    name = '"><script>.css'
    (tmp_path / name).write_bytes(b".a { b: c }")
    assets = Assets.prepare(tmp_path)
    assert assets.stylesheet(name).count("<") == 1
    assert assets.importmap().count("<") == 2
