"""Archives as people make them, and as people should not."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zipfile
from collections.abc import Mapping

import zstandard

__all__ = ["tar", "tar_gz", "tar_zst", "zipped"]

Files = Mapping[str, bytes]


def tar(files: Files, *special: tarfile.TarInfo) -> bytes:
    """A tar file."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for info in special:
            archive.addfile(info)
    return out.getvalue()


def tar_gz(files: Files, *special: tarfile.TarInfo) -> bytes:
    """The same, as most send it."""
    return gzip.compress(tar(files, *special), 6)


def tar_zst(files: Files, *special: tarfile.TarInfo) -> bytes:
    """The same, as our own client sends it."""
    return zstandard.compress(tar(files, *special))


def zipped(files: Files, *, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip file."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def entry(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    """A tar entry that is no regular file."""
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = target
    info.devmajor, info.devminor = 8, 0
    return info


def lying_zip() -> bytes:
    """A zip whose directory says that its 9 MiB are 10 bytes."""
    data = bytearray(zipped({"a.py": bytes(9 * 1024 * 1024)}))
    at = data.index(b"PK\x01\x02")
    data[at + 24 : at + 28] = struct.pack("<I", 10)
    return bytes(data)


def locked_zip() -> bytes:
    """A zip that says it needs a password."""
    data = bytearray(zipped({"a.py": b"x = 1\n"}))
    data[6] |= 1
    at = data.index(b"PK\x01\x02")
    data[at + 8] |= 1
    return bytes(data)
