"""The last entries of something, in this process or in a file that several share."""

from __future__ import annotations

import fcntl
import os
import time
from collections import deque
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

__all__ = ["Ring"]

_LINE_BYTES = 512
"""About what an entry takes; so much for twice the entries that are kept, and the file is cut."""

EntryT = TypeVar("EntryT")


class Ring(Generic[EntryT]):
    """Keeps the last `keep` entries, dataclasses that JSON can hold.

    With a `file`, best in memory, every process that names it adds to it and reads all. A file
    that cannot be written loses the entry: watching must not break what is watched.
    """

    def __init__(self, kind: type[EntryT], *, keep: int, file: Path | None = None) -> None:
        self._keep = keep
        self._file = file
        self._kept: deque[EntryT] = deque(maxlen=keep)
        self._decoder = msgspec.json.Decoder(kind)

    def add(self, entry: EntryT) -> None:
        """Keep one more."""
        if self._file is None:
            self._kept.append(entry)
        else:
            _append(self._file, msgspec.json.encode(entry) + b"\n", self._keep)

    def entries(self) -> tuple[EntryT, ...]:
        """What is kept, the newest first."""
        return tuple(reversed(self._kept if self._file is None else self._read(self._file)))

    def _read(self, path: Path) -> list[EntryT]:
        try:
            with path.open("rb") as file:
                _lock(file.fileno(), fcntl.LOCK_SH)  # not between cutting and writing
                content = file.read()
        except OSError:
            return []
        found = []
        for line in content.splitlines()[-self._keep :]:
            try:
                found.append(self._decoder.decode(line))
            except (
                msgspec.DecodeError,
                UnicodeDecodeError,
            ):  # half written, by one that was killed
                continue
        return found


def _append(path: Path, line: bytes, keep: int) -> None:
    """Add a line; when there are many more than are kept, only these stay."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError:
        return
    try:
        _lock(file, fcntl.LOCK_EX)
        if os.fstat(file).st_size > 2 * keep * _LINE_BYTES:
            lines = path.read_bytes().splitlines(keepends=True)[-keep:]
            os.ftruncate(file, 0)
            line = b"".join(lines) + line
        os.write(file, line)
    except OSError:
        return
    finally:
        os.close(file)


def _lock(file: int, kind: int) -> None:
    """Wait for the lock, for ten milliseconds at most: an entry is not worth more of a request.

    Its holder may have been stopped. Without the lock an entry can be lost, and no more.
    """
    for _ in range(50):
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.0002)
        else:
            return
