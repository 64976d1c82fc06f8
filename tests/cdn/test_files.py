"""A built directory: what is sent of it, under which headers."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from insight_cloud.cdn import File, Rules
from insight_cloud.cdn.files import IMMUTABLE, read_build, send
from insight_cloud.core.errors import Conflict, Invalid, Missing, Refused
from tests.cdn.sites import Build

REVALIDATE = "public, max-age=0, must-revalidate"


def by_path(build: Build, rules: Rules | None = None) -> dict[str, File]:
    return {file.path: file for file in build.read(rules)}


def test_a_name_with_its_own_hash_is_kept_for_ever(build: Build) -> None:
    content = b"export {}"
    sha256, md5 = hashlib.sha256(content).hexdigest(), hashlib.md5(content).hexdigest()
    build.write(f"js/main.{sha256[:8]}.js", content)
    build.write(f"js/other-{md5[:12]}.js", content)
    build.write(f"js/{sha256}.js", content)  # no name before the hash: not recognised
    files = by_path(build)
    for name in (f"js/main.{sha256[:8]}.js", f"js/other-{md5[:12]}.js"):
        assert files[name].hashed
        assert files[name].attributes.cache_control == IMMUTABLE
        assert files[name].attributes.content_type == "text/javascript; charset=utf-8"


@pytest.mark.parametrize(
    "name", ["photo-20261125.jpg", "app.0123456789ab.css", "my-settings.js", "a.deadbeef.html"]
)
def test_a_name_that_only_looks_like_it_is_not(build: Build, name: str) -> None:
    build.write(name, "content")
    file = by_path(build)[name]
    assert not file.hashed
    assert file.attributes.cache_control == REVALIDATE


def test_other_tools_hashes_are_taken_on_trust(build: Build) -> None:
    build.write("_next/static/chunks/main-B1x_9Yz0.js", "code")
    file = by_path(build, Rules(immutable=("_next/static/*",)))[
        "_next/static/chunks/main-B1x_9Yz0.js"
    ]
    assert file.hashed
    assert file.attributes.cache_control == IMMUTABLE


def test_a_page_is_never_kept_for_ever(build: Build) -> None:
    content = b"<html>"
    name = f"page.{hashlib.sha256(content).hexdigest()[:12]}.html"
    build.write(name, content)
    file = by_path(build, Rules(immutable=("*",)))[name]
    assert (file.page, file.hashed) == (True, False)
    assert file.attributes.cache_control == REVALIDATE


def test_compressed_forms_say_what_they_are(build: Build) -> None:
    style = next(build.root.glob("app.*.css")).name
    for suffix in (".br", ".zst", ".Vr3x_0-1aBcD.dcz"):
        build.write(f"{style}{suffix}", b"packed")
    files = by_path(build)
    forms = {".gz": "gzip", ".br": "br", ".zst": "zstd", ".Vr3x_0-1aBcD.dcz": "dcz"}
    for suffix, encoding in forms.items():
        file = files[f"{style}{suffix}"]
        assert file.attributes.content_encoding == encoding
        assert file.attributes.content_type == "text/css; charset=utf-8"
        assert file.attributes.cache_control == IMMUTABLE
        assert file.hashed
    assert files[style].attributes.content_encoding == ""


def test_an_archive_is_an_archive(build: Build) -> None:
    build.write("download.tar.gz", b"packed")
    file = by_path(build)["download.tar.gz"]
    assert file.attributes.content_encoding == ""


def test_one_form_may_stand_for_all(build: Build) -> None:
    style = next(build.root.glob("app.*.css")).name
    files = by_path(build, Rules(encoding="gzip"))
    assert f"{style}.gz" not in files
    assert files[style].attributes.content_encoding == "gzip"
    assert files[style].source.name == f"{style}.gz"
    assert files[style].hashed
    assert files["robots.txt"].attributes.content_encoding == ""


def test_cache_control_can_be_said_by_pattern(build: Build) -> None:
    build.write("images/photo.webp", b"pixels")
    rules = Rules(cache_control="no-cache", overrides=(("images/*", "public, max-age=604800"),))
    files = by_path(build, rules)
    assert files["images/photo.webp"].attributes.cache_control == "public, max-age=604800"
    assert files["images/photo.webp"].attributes.content_type == "image/webp"
    assert files["robots.txt"].attributes.cache_control == "no-cache"


def test_hidden_files_stay_at_home(build: Build) -> None:
    build.write(".env", "SECRET=1")
    build.write(".git/config", "")
    build.write("docs/.DS_Store", "")
    build.write(".well-known/security.txt", "Contact: x")
    found = by_path(build)
    assert ".well-known/security.txt" in found
    assert not any("env" in path or "git" in path or "DS_" in path for path in found)


def test_what_is_no_site_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="build the site first"):
        read_build(tmp_path / "none", Rules())
    with pytest.raises(Missing, match="no files"):
        read_build(tmp_path, Rules())


@pytest.mark.parametrize("target", ["/etc/passwd", "/etc", "index.html"])
def test_a_link_is_refused(build: Build, target: str) -> None:
    (build.root / "docs/link").symlink_to(target)
    with pytest.raises(Refused, match="link"):
        build.read()


def test_a_name_that_no_store_can_hold_is_refused(build: Build) -> None:
    build.write("a\nb.html", "")
    with pytest.raises(Invalid, match="cannot be stored"):
        build.read()


async def test_a_file_that_changes_on_the_way_is_noticed(build: Build) -> None:
    file = by_path(build)["robots.txt"]
    assert b"".join([chunk async for chunk in send(file)]) == b"User-agent: *"
    build.write("robots.txt", "Another")
    with pytest.raises(Conflict, match="changed while it was sent"):
        async for _ in send(file):
            pass
    (build.root / "robots.txt").unlink()
    with pytest.raises(Conflict, match="is gone"):
        async for _ in send(file):
            pass
