"""Finished images on disk: at most so many bytes, the least recently used go first.

Several processes may share a directory. Each file begins with the hash of what follows, so that
a torn one counts as missing. Nothing here is precious: everything can be made again.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from insight_cloud.core.errors import SettingsError, Unavailable

__all__ = ["Store"]

_DIGEST_BYTES = 16
_LOCKS = 256
_ABANDONED_SECONDS = 3600


class Store:
    """Values by key, in files below `directory`.

    At no time do the values have more than `most_bytes`, however many processes write. Keys are
    hexadecimal. Failing disks never fail a request: what cannot be read is missing, and what
    cannot be written is not kept (`failures` counts both).
    """

    def __init__(self, directory: Path, *, most_bytes: int = 1024**3) -> None:
        """Use `directory`, which is made if it is missing.

        Raises:
            SettingsError: it cannot be made or written.
        """
        self._directory = directory
        self._most = most_bytes
        self.failures = 0
        try:
            (directory / "locks").mkdir(parents=True, exist_ok=True)
            self._sum = directory / "locks" / "sum"
            with self._exclusive():
                self._sweep(0)
        except OSError as error:
            raise SettingsError(f"images cannot be kept in {directory}: {error}") from error

    async def get(self, key: str, *, younger_than: float | None = None) -> bytes | None:
        """Return the value of `key`, or None; `younger_than` that many seconds, if given."""
        return await asyncio.to_thread(self._get, key, younger_than)

    async def put(self, key: str, value: bytes) -> None:
        """Keep `value`, unless it alone would push out a quarter of the others."""
        await asyncio.to_thread(self._put, key, value)

    @asynccontextmanager
    async def lock(self, key: str, *, seconds: float = 30.0) -> AsyncIterator[None]:
        """Hold the lock of `key`, over all processes; it is free when its holder dies.

        Raises:
            Unavailable: somebody else has held it for `seconds`.
        """
        path = self._directory / "locks" / f"{int(key[:8], 16) % _LOCKS:02x}"
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:  # a full disk: then each process makes it for itself
            self.failures += 1
            yield
            return
        try:
            await _acquired(handle, seconds)
            yield
        finally:
            os.close(handle)

    # -- in a thread ---------------------------------------------------------------------------

    def _get(self, key: str, younger_than: float | None) -> bytes | None:
        path = self._path(key)
        try:
            with path.open("rb") as file:
                content = file.read()
                written = os.fstat(file.fileno()).st_mtime
        except FileNotFoundError:
            return None
        except OSError:
            self.failures += 1
            return None
        digest, value = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        if _digest(value) != digest:
            self._drop(path)
            return None
        if younger_than is not None and time.time() - written > younger_than:
            return None
        with contextlib.suppress(OSError):
            os.utime(path, (time.time(), written))  # used now; written when it was
        return value

    def _put(self, key: str, value: bytes) -> None:
        size = _DIGEST_BYTES + len(value)
        if size > self._most // 4:
            return
        path = self._path(key)
        try:
            path.parent.mkdir(exist_ok=True)
            with self._exclusive():
                held = self._held() - _size(path)
                if held + size > self._most:
                    held = self._sweep(size)
                self._write(path, value)
                self._sum.write_text(str(held + size))
        except OSError:
            self.failures += 1

    def _write(self, path: Path, value: bytes) -> None:
        # Not flushed to the disk, as core.files would: a torn file is noticed by its hash.
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".")
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(_digest(value))
                file.write(value)
            temporary.replace(path)
        except BaseException:
            temporary.unlink()
            raise

    def _drop(self, path: Path) -> None:
        with contextlib.suppress(OSError), self._exclusive():
            held = self._held() - _size(path)
            path.unlink()
            self._sum.write_text(str(held))

    def _held(self) -> int:
        try:
            return int(self._sum.read_text())
        except (OSError, ValueError):
            return self._sweep(0)

    def _sweep(self, needed: int) -> int:
        """Count what is there; if `needed` more does not fit, remove a quarter, oldest first."""
        found = []
        for path in self._directory.glob("??/*"):
            with contextlib.suppress(OSError):
                status = path.stat()
                if path.name.startswith("."):  # a writer died
                    if status.st_mtime < time.time() - _ABANDONED_SECONDS:
                        path.unlink()
                elif path.parent.name != "locks":
                    found.append((max(status.st_atime, status.st_mtime), status.st_size, path))
        held = sum(size for _, size, _ in found)
        if held + needed > self._most:
            for _, size, path in sorted(found):
                if held + needed <= self._most * 3 // 4:
                    break
                path.unlink(missing_ok=True)
                held -= size
        self._sum.write_text(str(held))
        return held

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """One writer at a time, over all processes."""
        handle = os.open(
            self._directory / "locks" / "writer", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def _path(self, key: str) -> Path:
        return self._directory / key[:2] / key


def _digest(value: bytes) -> bytes:
    return hashlib.blake2b(value, digest_size=_DIGEST_BYTES).digest()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


async def _acquired(handle: int, seconds: float) -> None:
    """Take the lock, by asking now and then: a thread that waits could not be cancelled."""
    pause, until = 0.005, time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                raise Unavailable("another process is busy with this image") from None
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 0.1)
        else:
            return
