from __future__ import annotations

import os
from pathlib import Path

import pytest

from insight_cloud.core.errors import Missing, Refused, TooLarge
from insight_cloud.images import Mounts


@pytest.fixture
def mounts(photos: Path) -> Mounts:
    (photos.parent / "secret.png").write_bytes(b"secret")
    (photos.parent / "photos-of-others").mkdir()
    (photos.parent / "photos-of-others/a.jpg").write_bytes(b"x")
    return Mounts({"/photos/": photos, "/photos/below": photos / "below"})


def test_a_file_is_found_and_read(mounts: Mounts, photos: Path) -> None:
    found = mounts.find("/photos/cat.jpg?v=1")
    assert mounts.read(found, 10**7) == (photos / "cat.jpg").read_bytes()
    assert mounts.find("/photos/below/logo.png").path == photos / "below/logo.png"


def test_a_changed_file_has_another_stamp(mounts: Mounts, photos: Path) -> None:
    before = mounts.find("/photos/cat.jpg")
    assert mounts.find("/photos/cat.jpg") == before
    (photos / "cat.jpg").write_bytes(b"another")
    assert mounts.find("/photos/cat.jpg") != before


@pytest.mark.parametrize(
    "url",
    [
        "/photos/../secret.png",
        "/photos/%2e%2e/secret.png",
        "/photos/..%2fsecret.png",
        "/photos/below/../../secret.png",
        "/photos//etc/passwd",
        "/photos/%2Fetc%2Fpasswd",
        "/photos/cat.jpg%00.png",
        "/photos/",
        "/photos/below",
        "/photos/none.jpg",
        "/photos/" + "a" * 5000,
        "/photos/../photos-of-others/a.jpg",
        "/photos/\ud800.jpg",
    ],
)
def test_nothing_outside_is_found(mounts: Mounts, url: str) -> None:
    with pytest.raises(Missing):
        mounts.find(url)


@pytest.mark.parametrize("url", ["/etc/passwd", "/photo/cat.jpg", "/photos-of-others/a.jpg", "/"])
def test_other_addresses_are_refused(mounts: Mounts, url: str) -> None:
    with pytest.raises(Refused):
        mounts.find(url)


def test_links_out_rings_and_pipes_are_not_found(mounts: Mounts, photos: Path) -> None:
    (photos / "out.png").symlink_to(photos.parent / "secret.png")
    (photos / "ring.png").symlink_to("ring.png")
    os.mkfifo(photos / "pipe.png")
    for name in ("out.png", "ring.png", "pipe.png"):
        with pytest.raises(Missing):
            mounts.find(f"/photos/{name}")
    (photos / "in.png").symlink_to("cat.jpg")
    assert mounts.find("/photos/in.png").path == photos / "cat.jpg"


def test_what_became_a_pipe_or_a_link_meanwhile_is_not_read(mounts: Mounts, photos: Path) -> None:
    found = mounts.find("/photos/cat.jpg")
    (photos / "cat.jpg").unlink()
    with pytest.raises(Missing):
        mounts.read(found, 10**7)
    os.mkfifo(photos / "cat.jpg")
    with pytest.raises(Missing):
        mounts.read(found, 10**7)
    (photos / "cat.jpg").unlink()
    (photos / "cat.jpg").symlink_to(photos.parent / "secret.png")
    with pytest.raises(Missing):
        mounts.read(found, 10**7)


def test_what_has_grown_is_not_read_whole(mounts: Mounts) -> None:
    with pytest.raises(TooLarge):
        mounts.read(mounts.find("/photos/cat.jpg"), 100)


def test_a_file_in_the_place_of_a_folder_is_that_one_image(photos: Path) -> None:
    mounts = Mounts({"/logo/": photos / "below/logo.png"})
    found = mounts.find("/logo/")
    assert mounts.read(found, 10_000_000) == (photos / "below/logo.png").read_bytes()
    for beside in ("/logo/logo.png", "/logo/../cat.jpg", "/logo/../../cat.jpg"):
        with pytest.raises(Missing):
            mounts.find(beside)
