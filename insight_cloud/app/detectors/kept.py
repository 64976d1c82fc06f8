"""Results kept between runs, below the user's cache directory; losing them costs time only.

One file holds what one detector found in one working copy: it is read once, written once
and replaced as a whole, so that a crash or a second run at the same time leaves a valid one.
A file that cannot be read, or whose digest is wrong, is as good as none.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

import msgspec
import zstandard

from insight_cloud.app.sarif.model import Finding, Rule

__all__ = ["LIMIT_BYTES", "Entry", "Kept", "key", "replace"]

LIMIT_BYTES = 256 * 1024 * 1024
"""Of all files together; the longest unused ones are removed first."""

_UNPACKED_BYTES = 256 * 1024 * 1024
_SPARE = 3
"""As many entries are kept as the present tree has, times this: enough for a few branches."""


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """What was found in one file, or in the whole tree."""

    findings: tuple[Finding, ...] = ()
    rules: tuple[Rule, ...] = ()
    detail: str = ""


def key(*parts: bytes | str) -> bytes:
    """A digest of `parts`, each with its length, so that no two lists of parts are alike."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.digest()


class Kept:
    """The results kept in `directory`, which is created for the user alone."""

    def __init__(self, directory: Path, *, limit_bytes: int = LIMIT_BYTES) -> None:
        self.directory = directory
        self.limit_bytes = limit_bytes

    def load(self, root: Path, detector: str) -> dict[bytes, Entry]:
        """The entries of a detector in a working copy; none when they cannot be read."""
        path = self._path(root, detector)
        try:
            data = path.read_bytes()
            os.utime(path)  # last used now: `save` removes the longest unused
            packed = data[16:]
            if hashlib.blake2b(packed, digest_size=16).digest() != data[:16]:
                return {}
            plain = zstandard.decompress(packed, max_output_size=_UNPACKED_BYTES)
            return msgspec.msgpack.decode(plain, type=dict[bytes, Entry])
        except (OSError, zstandard.ZstdError, msgspec.DecodeError):
            return {}

    def save(
        self, root: Path, detector: str, old: Mapping[bytes, Entry], new: Mapping[bytes, Entry]
    ) -> None:
        """Keep `new`, and of `old` the most recent ones; a full or read-only disk keeps none."""
        if new.keys() == old.keys():
            return
        spare = {name: entry for name, entry in old.items() if name not in new}
        room = max(len(new) * (_SPARE - 1), 4)
        entries = dict(list(spare.items())[-room:]) | dict(new)
        packed = zstandard.compress(msgspec.msgpack.encode(entries), 3)
        with contextlib.suppress(OSError):
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace(
                self._path(root, detector),
                hashlib.blake2b(packed, digest_size=16).digest() + packed,
            )
            self._shrink()

    def _path(self, root: Path, detector: str) -> Path:
        place = hashlib.blake2b(os.fsencode(root), digest_size=12).hexdigest()
        return self.directory / f"{place}-{detector}.kept"

    def _shrink(self) -> None:
        files = [(path, path.stat()) for path in self.directory.glob("*.kept")]
        total = sum(status.st_size for _, status in files)
        for path, status in sorted(files, key=lambda file: file[1].st_mtime):
            if total <= self.limit_bytes:
                return
            path.unlink(missing_ok=True)
            total -= status.st_size


def replace(path: Path, data: bytes) -> None:
    """Write `data` to `path` as a whole or not at all.

    Raises:
        OSError: it cannot be written; what was there before still is.
    """
    if path.exists() and not path.is_file():
        path.write_bytes(data)  # a device or a pipe is written to, not replaced
        return
    new = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        with new.open("xb") as stream:
            stream.write(data)
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
