"""Archives of strangers: what may be in one, and how it becomes files. Runs inside the sandbox.

Nothing here trusts a header: sizes are counted as bytes come, names are looked at before anything
is made, and nothing but directories and regular files ever is. A name that tries to lead elsewhere
refuses the whole archive, because who writes one means it.
"""

from __future__ import annotations

import contextlib
import gzip
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol, cast

import zstandard

from insight_cloud.core.errors import Invalid, TooLarge

__all__ = ["KINDS", "Limits", "Unpacked", "kind_of", "unpack"]

KINDS = {
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",
    b"\x1f\x8b": "tar.gz",
    b"\x28\xb5\x2f\xfd": "tar.zst",
}
"""How each kind of archive begins."""

_CHUNK = 256 * 1024
_NAME = 1024
_DEPTH = 64
_SMALL = 8 * 1024 * 1024
"""Below this a high ratio is no bomb: a folder of empty files compresses without end."""
_MIB = 1024 * 1024
_WINDOW = 2**27
_BLOCK = 512
_PADDING_MOST = 64
"""Chunks that may follow the end of a tar file: some writers fill up with zeros."""
_FOREIGN = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, zstandard.ZstdError)


@dataclass(frozen=True, slots=True)
class Limits:
    """How much an archive may become."""

    unpacked_bytes: int = 500 * _MIB
    entries: int = 20_000
    ratio: int = 100


@dataclass(slots=True)
class Unpacked:
    """What came of it: `left_out` are entries that are no regular files."""

    files: int = 0
    bytes: int = 0
    left_out: int = 0
    examples: list[str] = field(default_factory=list)

    def leave_out(self, name: str) -> None:
        """Note an entry that was not unpacked."""
        self.left_out += 1
        if len(self.examples) < 3:
            self.examples.append(name)


class _Entry(Protocol):
    """One entry, of whatever kind of archive."""

    @property
    def name(self) -> str: ...
    @property
    def is_directory(self) -> bool: ...
    @property
    def is_file(self) -> bool: ...
    def open(self) -> IO[bytes]: ...


def kind_of(beginning: bytes) -> str:
    """Which kind of archive begins so.

    Raises:
        Invalid: none that we read.
    """
    for magic, kind in KINDS.items():
        if beginning.startswith(magic):
            return kind
    raise Invalid("this is no archive that we read: send a zip, tar.gz or tar.zst file")


def unpack(archive: Path, into: Path, limits: Limits, *, strip: bool = False) -> Unpacked:
    """Unpack `archive` below `into`, which must be empty. `strip` drops each path's first folder.

    Raises:
        TooLarge: it holds more than `limits` allow.
        Invalid: it is no archive, is damaged, or a name in it leads elsewhere.
    """
    into.mkdir(exist_ok=True)
    packed = archive.stat().st_size
    done = Unpacked()
    with archive.open("rb") as stream:
        kind = kind_of(stream.read(4))
        stream.seek(0)
        try:
            entries = _of_zip(stream) if kind == "zip" else _of_tar(stream, kind)
            for number, entry in enumerate(entries, 1):
                if number > limits.entries:
                    raise TooLarge(f"the archive has more than {limits.entries:,} entries")
                _take(entry, into, done, packed, limits, strip=strip)
        except _FOREIGN as error:
            raise Invalid(f"the archive cannot be read: {error}") from error
        except (EOFError, ValueError, RuntimeError, NotImplementedError, RecursionError) as error:
            # zipfile raises RuntimeError for a password and NotImplementedError for a method.
            raise Invalid(f"the archive cannot be read: {error}") from error
    return done


def _take(
    entry: _Entry, into: Path, done: Unpacked, packed: int, limits: Limits, *, strip: bool
) -> None:
    parts = _parts(entry.name)
    parts = parts[1:] if strip else parts
    if not parts or entry.is_directory:
        return  # folders come with their files
    if ".git" in (part.lower() for part in parts) or not entry.is_file:
        done.leave_out(entry.name)
        return
    path = into.joinpath(*parts)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with (
            entry.open() as source,
            os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as target,
        ):
            while chunk := source.read(_CHUNK):
                done.bytes += len(chunk)
                _check(done, packed, limits)
                target.write(chunk)
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise Invalid(
            f"the archive has {entry.name!r} twice, as a file and something else"
        ) from error
    except OSError as error:
        raise TooLarge(f"cannot unpack {entry.name!r}: {error.strerror}") from error
    done.files += 1


def _check(done: Unpacked, packed: int, limits: Limits) -> None:
    if done.bytes > limits.unpacked_bytes:
        raise TooLarge(f"the archive unpacks to more than {limits.unpacked_bytes // _MIB} MiB")
    if done.bytes > _SMALL and done.bytes > packed * limits.ratio:
        raise TooLarge(f"the archive unpacks to more than {limits.ratio} times its size")


def _parts(name: str) -> tuple[str, ...]:
    """The folders and the file of an entry's name.

    Raises:
        Invalid: it is absolute, leads upwards, or is none that a file can have.
    """
    parts = tuple(part for part in name.split("/") if part not in {"", "."})
    wrong = (
        name.startswith("/")
        or ".." in parts
        or "\\" in name
        or any(part[1:2] == ":" for part in parts[:1])
        or "\0" in name
        or not name.isprintable()
        or len(name.encode("utf-8", "surrogateescape")) > _NAME
        or len(parts) > _DEPTH
        or any(len(part.encode("utf-8", "surrogateescape")) > 255 for part in parts)
    )
    if wrong:
        raise Invalid(f"the archive has an entry with a name that is not allowed: {name[:200]!r}")
    return parts


@dataclass(frozen=True, slots=True)
class _TarEntry:
    tar: tarfile.TarFile
    info: tarfile.TarInfo

    @property
    def name(self) -> str:
        return self.info.name

    @property
    def is_directory(self) -> bool:
        return self.info.isdir()

    @property
    def is_file(self) -> bool:
        return self.info.isreg() and not self.info.issparse()

    def open(self) -> IO[bytes]:
        return cast("IO[bytes]", self.tar.extractfile(self.info))


def _of_tar(stream: IO[bytes], kind: str) -> Iterator[_Entry]:
    with contextlib.ExitStack() as stack:
        if kind == "tar.gz":
            plain: Any = stack.enter_context(gzip.GzipFile(fileobj=stream))
        else:
            decoder = zstandard.ZstdDecompressor(max_window_size=_WINDOW)
            plain = stack.enter_context(decoder.stream_reader(stream, read_across_frames=True))
        watched = _Watched(plain)
        with tarfile.open(fileobj=cast("IO[bytes]", watched), mode="r|") as tar:
            yield from (_TarEntry(tar, info) for info in tar)
        watched.end()


class _Watched:
    """A stream that remembers how it ended: a tar file cut off reads like a shorter one."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._last = b""

    def read(self, size: int) -> bytes:
        """Pass on what comes."""
        data: bytes = self._stream.read(size)
        self._last = (self._last + data)[-_BLOCK:]
        return data

    def end(self) -> None:
        """Read to the end, which is a block of zeros."""
        for _ in range(_PADDING_MOST):
            if not self.read(_CHUNK):
                break
        else:
            raise TooLarge("the archive has too much after its end")
        if self._last != bytes(_BLOCK):
            raise Invalid("the archive is cut off; send it again")


@dataclass(frozen=True, slots=True)
class _ZipEntry:
    archive: zipfile.ZipFile
    info: zipfile.ZipInfo

    @property
    def name(self) -> str:
        return self.info.orig_filename

    @property
    def is_directory(self) -> bool:
        return self.info.is_dir()

    @property
    def is_file(self) -> bool:
        kind = (self.info.external_attr >> 16) & 0o170000  # what Unix archivers note; else nothing
        return kind in {0, 0o100000}

    def open(self) -> IO[bytes]:
        return self.archive.open(self.info)


def _of_zip(stream: IO[bytes]) -> Iterator[_Entry]:
    with zipfile.ZipFile(stream) as archive:
        for info in archive.infolist():
            yield _ZipEntry(archive, info)
