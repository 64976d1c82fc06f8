"""Archives, the good and the malicious. Nothing may appear outside of the folder, ever."""

from __future__ import annotations

import contextlib
import gzip
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from insight_cloud.app.sources.unpack import Limits, Unpacked, kind_of, unpack
from insight_cloud.core.errors import Invalid, TooLarge
from tests.app.sources import archives
from tests.app.sources.archives import entry, tar, tar_gz, tar_zst, zipped

FILES = {"src/a.py": b"x = 1\n", "README": b"hello\n", "src/deep/b.py": b""}


@pytest.fixture
def room(tmp_path: Path) -> Path:
    """A folder with a neighbour that must not change."""
    (tmp_path / "beside").write_text("untouched")
    return tmp_path


def put(room: Path, data: bytes, limits: Limits = Limits(), *, strip: bool = False) -> Unpacked:  # noqa: B008 - frozen
    """Unpack `data` in the room."""
    (room / "archive").write_bytes(data)
    return unpack(room / "archive", room / "tree", limits, strip=strip)


def found(room: Path) -> dict[str, bytes]:
    """Every file below the tree; nothing but files and folders may be there."""
    tree = room / "tree"
    assert not [path for path in tree.rglob("*") if path.is_symlink()]
    return {str(p.relative_to(tree)): p.read_bytes() for p in tree.rglob("*") if p.is_file()}


@pytest.mark.parametrize("make", [tar_gz, tar_zst, zipped])
def test_every_kind_of_archive_becomes_its_files(
    room: Path, make: Callable[[dict[str, bytes]], bytes]
) -> None:
    assert put(room, make(FILES)) == Unpacked(files=3, bytes=12)
    assert found(room) == FILES


@pytest.mark.parametrize("make", [tar_gz, zipped])
def test_the_first_folder_is_left_out_on_request(
    room: Path, make: Callable[[dict[str, bytes]], bytes]
) -> None:
    put(room, make({f"demo-1a2b/{name}": data for name, data in FILES.items()}), strip=True)
    assert found(room) == FILES


HOSTILE = (
    *("../beside", "a/../../beside", "/etc/owned", "a/../../../../../../../../tmp/owned"),
    *("..\\beside", "C:/owned", "c:owned", "a\x1bb", "a\nb", "a" * 300, "x/" * 70 + "y"),
    "ab\u202ecd.py",
)


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
@pytest.mark.parametrize("make", [tar_gz, zipped])
def test_a_name_that_leads_elsewhere_refuses_the_archive(
    room: Path, make: Callable[[dict[str, bytes]], bytes], name: str
) -> None:
    with pytest.raises(Invalid, match="name that is not allowed"):
        put(room, make({name: b"owned"}))
    assert {path.name for path in room.iterdir()} <= {"archive", "beside", "tree"}
    assert (room / "beside").read_text() == "untouched"


@pytest.mark.parametrize(
    "special",
    [
        entry("link", tarfile.SYMTYPE, "/etc/passwd"),
        entry("link", tarfile.SYMTYPE, ".."),
        entry("hard", tarfile.LNKTYPE, "/etc/passwd"),
        entry("device", tarfile.BLKTYPE),
        entry("console", tarfile.CHRTYPE),
        entry("pipe", tarfile.FIFOTYPE),
    ],
    ids=lambda info: f"{info.name}-{info.linkname}",
)
def test_only_regular_files_are_made(room: Path, special: tarfile.TarInfo) -> None:
    done = put(room, tar_gz(FILES, special))
    assert (done.left_out, done.examples) == (1, [special.name])
    assert found(room) == FILES


def test_nothing_is_written_through_a_link_of_the_archive(room: Path) -> None:
    link = tar({}, entry("src", tarfile.SYMTYPE, str(room)))[:512]
    put(room, gzip.compress(link + tar({"src/beside": b"owned"})))
    assert (room / "beside").read_text() == "untouched"
    assert found(room) == {"src/beside": b"owned"}


def test_a_link_in_a_zip_is_left_out(room: Path) -> None:
    info = zipfile.ZipInfo("link")
    info.external_attr = 0o120777 << 16
    path = room / "made.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(info, "/etc/passwd")
    assert put(room, path.read_bytes()).left_out == 1
    assert found(room) == {}


def test_rights_of_the_archive_are_not_taken(room: Path) -> None:
    info = tarfile.TarInfo("run")
    info.mode, info.uid = 0o4777, 0
    put(room, tar_gz({}, info))
    assert (room / "tree/run").stat().st_mode & 0o7777 == 0o600


def test_a_repository_in_an_archive_is_left_out(room: Path) -> None:
    evil = {".git/config": b"[core]\nfsmonitor = evil\n", "sub/.GIT/hooks/x": b"#!/bin/sh\n"}
    assert put(room, tar_gz(FILES | evil)).left_out == 2
    assert found(room) == FILES


BROKEN = {
    "empty": (b"", "no archive"),
    "text": (b"#!/bin/sh\n", "no archive"),
    "gzip of nothing": (b"\x1f\x8b\x08" + bytes(50), "cannot be read"),
    "zip of nothing": (b"PK\x03\x04" + bytes(50), "cannot be read"),
    "zstd of nothing": (b"\x28\xb5\x2f\xfd" + b"\xff" * 50, "cannot be read"),
    "gzip cut": (tar_gz(FILES)[:-30], "cannot be read"),
    "tar cut in gzip": (gzip.compress(tar(FILES)[:1024]), "cut off"),
    "tar cut in zstd": (zstandard.compress(tar(FILES)[:1024]), "cut off"),
    "zstd cut": (tar_zst(FILES)[:-30], "cannot be read|cut off"),
    "zip cut": (zipped(FILES)[:-30], "cannot be read"),
    "no tar": (gzip.compress(b"\xff" * 2000), "cannot be read"),
    "locked": (archives.locked_zip(), "cannot be read"),
    "lying": (archives.lying_zip(), "cannot be read|times its size"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_archive_is_refused(room: Path, name: str) -> None:
    data, message = BROKEN[name]
    with pytest.raises(Invalid, match=message):
        put(room, data)


def test_a_file_that_is_there_twice_is_refused(room: Path) -> None:
    with pytest.raises(Invalid, match="twice"):
        put(room, gzip.compress(tar({"a": b"1"})[:1024] + tar({"a": b"2"})))
    with pytest.raises(Invalid, match="twice"):
        put(room, tar_gz({"b": b"1", "b/c": b"2"}))


@pytest.mark.parametrize("make", [tar_gz, tar_zst, zipped])
def test_a_bomb_is_refused_before_it_goes_off(
    room: Path, make: Callable[[dict[str, bytes]], bytes]
) -> None:
    bomb = make({"zeros": bytes(64 * 1024 * 1024)})
    with pytest.raises(TooLarge, match="100 times its size"):
        put(room, bomb)
    assert sum(map(len, found(room).values())) < 10 * 1024 * 1024


def test_many_small_bombs_are_one(room: Path) -> None:
    with pytest.raises(TooLarge, match="times its size"):
        put(room, zipped({f"{n}": bytes(1024 * 1024) for n in range(40)}))


def test_more_than_the_limits_is_refused(room: Path) -> None:
    data = os.urandom(300_000)
    with pytest.raises(TooLarge, match="more than 0 MiB"):
        put(room, tar_gz({"a": data, "b": data}), Limits(unpacked_bytes=400_000))


def test_more_entries_than_the_limit_are_refused(room: Path) -> None:
    files = {f"{n}/": b"" for n in range(11)}
    with pytest.raises(TooLarge, match="more than 10 entries"):
        put(room, zipped(files), Limits(entries=10))


def test_a_window_that_takes_too_much_memory_is_refused(room: Path) -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=30, enable_ldm=True)
    packed = zstandard.ZstdCompressor(compression_params=parameters)
    with pytest.raises(Invalid, match="cannot be read"):
        put(room, packed.compressobj().compress(b"") + _long_frame(packed))


def _long_frame(packed: zstandard.ZstdCompressor) -> bytes:
    stream = packed.compressobj()
    return stream.compress(tar(FILES)) + stream.flush()


def test_kinds_are_told_by_their_beginning() -> None:
    assert kind_of(tar_gz({})[:4]) == "tar.gz"
    assert kind_of(tar_zst({})[:4]) == "tar.zst"
    assert kind_of(zipped({})[:4]) == "zip"


@given(st.dictionaries(st.text(max_size=30), st.binary(max_size=50), max_size=5))
def test_whatever_the_names_nothing_appears_outside(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]
) -> None:
    room = tmp_path_factory.mktemp("room")
    try:
        data = tar_zst(files)
    except (ValueError, UnicodeError):
        return  # no archive can hold these names
    with contextlib.suppress(Invalid):
        put(room, data)
    assert {path.name for path in room.iterdir()} <= {"archive", "tree"}
