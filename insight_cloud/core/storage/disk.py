"""A directory as a store: complete files only, written beside, synced, and moved into place."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

from insight_cloud.core.errors import (
    Conflict,
    Corrupt,
    InsightError,
    Invalid,
    Missing,
    Refused,
    Unavailable,
)
from insight_cloud.core.storage.store import (
    PARTIAL,
    PLAIN,
    Attributes,
    Leftover,
    Object,
    Store,
    clean_path,
)

__all__ = ["Disk"]

_CHUNK_BYTES = 4 * 1024 * 1024
_LIST_BATCH = 500

_ONE_NAME = "; a file and a folder cannot have the same name"
_NO_RIGHT = "; give this user the right to do that"
_MEANINGS: Mapping[int, tuple[type[InsightError], str]] = {
    errno.ENOENT: (Missing, ""),
    errno.EEXIST: (Conflict, ""),
    errno.ENOTDIR: (Conflict, _ONE_NAME),
    errno.EISDIR: (Conflict, _ONE_NAME),
    errno.EACCES: (Refused, _NO_RIGHT),
    errno.EPERM: (Refused, _NO_RIGHT),
    errno.EROFS: (Refused, ""),
    errno.ELOOP: (Missing, "; it is a link"),
    errno.ENOSPC: (Unavailable, "; make room and try again"),
    errno.EDQUOT: (Unavailable, "; make room and try again"),
    errno.ENAMETOOLONG: (Invalid, ""),
}
"""What the system's errors mean to a caller; all others are taken to pass."""

T = TypeVar("T")


class Disk(Store):
    """The directory `root`, made at the first write; `private` keeps other users out of it.

    Files are first written to `.insight-partial/` in it and synced, then moved into place
    under a lock: a crash leaves the old file or the new one, and perhaps a leftover.
    """

    def __init__(self, root: Path, *, private: bool = False) -> None:
        self.root = root
        self.url = f"file://{root}"
        self._file_mode, self._folder_mode = (0o600, 0o700) if private else (0o666, 0o777)

    async def put(
        self,
        path: str,
        data: bytes | AsyncIterable[bytes],
        *,
        attributes: Attributes = PLAIN,
        expected_bytes: int | None = None,
    ) -> str:
        """Write the file; see `Store.put`."""
        del attributes, expected_bytes  # a directory keeps none and needs none
        return await self._write(path, _pieces(data), _move)

    async def create(self, path: str, data: bytes, *, attributes: Attributes = PLAIN) -> str:
        """Write the file unless it exists; see `Store.create`."""
        del attributes
        return await self._write(path, _pieces(data), _link)

    async def replace(
        self, path: str, data: bytes, etag: str, *, attributes: Attributes = PLAIN
    ) -> str:
        """Write the file if it is still the same; see `Store.replace`."""
        del attributes

        def publish(new: Path, final: Path) -> None:
            found = final.lstat() if final.is_file() else None
            if found is None or _etag(found) != etag:
                raise Conflict(f"{self.url}: {path!r} was changed by somebody else; read it again")
            new.replace(final)

        return await self._write(path, _pieces(data), publish)

    async def head(self, path: str) -> Object:
        """Describe one file; see `Store.head`."""
        final = self._locate(path)
        return await self._run(path, lambda: _object(path, self._file_status(final)))

    async def read(self, path: str, *, limit_bytes: int = 16 * 1024 * 1024) -> bytes:
        """Return a small file whole; see `Store.read`."""
        final = self._locate(path)

        def read() -> bytes:
            self._check_inside(final)
            with _opened(final) as descriptor, os.fdopen(descriptor, "rb", closefd=False) as file:
                return file.read(limit_bytes + 1)

        content = await self._run(path, read)
        if len(content) > limit_bytes:
            raise Corrupt(f"{self.url}: {path!r} has more than {limit_bytes} bytes")
        return content

    async def stream(
        self, path: str, *, start: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        """Yield the file that is there now, whatever replaces it meanwhile; see `Store.stream`."""
        final = self._locate(path)
        with self._translated(path):
            self._check_inside(final)
            descriptor = _open(final)
        try:
            size = os.fstat(descriptor).st_size
            if start > size:
                raise Invalid(f"{self.url}: {path!r} has {size} bytes, none at {start}")
            end = size if length is None else min(size, start + length)
            for offset in range(start, end, _CHUNK_BYTES):
                wanted = min(_CHUNK_BYTES, end - offset)
                chunk = await self._run(path, partial(os.pread, descriptor, wanted, offset))
                if len(chunk) != wanted:
                    raise Corrupt(f"{self.url}: {path!r} became shorter while it was read")
                yield chunk
        finally:
            os.close(descriptor)

    async def list(self, prefix: str = "") -> AsyncIterator[Object]:
        """Yield the files below a folder; see `Store.list`."""
        folder = self._locate(prefix.rstrip("/")) if prefix else self.root
        found = self._walk(folder)
        while batch := await self._run(prefix, lambda: list(islice(found, _LIST_BATCH))):
            for item in batch:
                yield item

    async def delete(self, paths: Iterable[str]) -> None:
        """Remove files, and folders that become empty; see `Store.delete`."""
        wanted = [(path, self._locate(path)) for path in paths]  # all are checked before one goes
        for path, final in wanted:
            await self._run(path, partial(self._remove, final))

    async def leftovers(self) -> tuple[Leftover, ...]:
        """Find unfinished files of killed processes; see `Store.leftovers`."""

        def find() -> tuple[Leftover, ...]:
            folder = self.root / PARTIAL
            if not folder.is_dir():
                return ()
            files = sorted(file for file in folder.iterdir() if file.suffix == ".part")
            return tuple(
                Leftover("", file.name, datetime.fromtimestamp(file.stat().st_mtime, UTC))
                for file in files
            )

        return await self._run(PARTIAL, find)

    async def abort(self, leftover: Leftover) -> None:
        """Remove an unfinished file; see `Store.abort`."""
        name = clean_path(leftover.identifier)
        if "/" in name or not name.endswith(".part"):
            raise Invalid(f"{self.url}: {leftover.identifier!r} is no unfinished upload")
        await self._run(name, lambda: (self.root / PARTIAL / name).unlink(missing_ok=True))

    async def close(self) -> None:
        """Nothing is held open."""

    async def _write(
        self, path: str, pieces: AsyncIterator[bytes], publish: Callable[[Path, Path], None]
    ) -> str:
        final = self._locate(path)
        new = self.root / PARTIAL / f"{uuid4().hex}.part"
        with self._translated(path):  # not in a thread: cancelled, nobody would close it
            descriptor = self._open_new(new)
        try:
            try:
                async for piece in pieces:
                    await self._run(path, partial(_write_all, descriptor, piece))
                await self._run(path, lambda: os.fsync(descriptor))
            finally:
                os.close(descriptor)
            return await self._run(path, lambda: self._publish(new, final, publish))
        finally:
            new.unlink(missing_ok=True)

    def _open_new(self, new: Path) -> int:
        self._make_folder(new.parent)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        return os.open(new, flags, self._file_mode)

    def _publish(self, new: Path, final: Path, publish: Callable[[Path, Path], None]) -> str:
        # Under the lock, comparing and moving are one step, and no folder vanishes in between.
        with _locked(self.root / PARTIAL / "lock"):
            self._make_folder(final.parent)
            self._check_inside(final)
            publish(new, final)
            etag = _etag(final.lstat())
        _sync_folder(final.parent)
        return etag

    def _make_folder(self, folder: Path) -> None:
        missing = []
        while not folder.is_dir():
            missing.append(folder)
            folder = folder.parent
        for one in reversed(missing):
            try:
                one.mkdir(mode=self._folder_mode)
            except FileExistsError:
                if not one.is_dir():
                    raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from None
            with contextlib.suppress(PermissionError):  # a folder above the store
                _sync_folder(one.parent)

    def _locate(self, path: str) -> Path:
        return self.root / clean_path(path)

    def _check_inside(self, final: Path) -> None:
        """A link in the tree must not lead out of it."""
        if not final.parent.resolve().is_relative_to(self.root.resolve()):
            raise Refused(f"{self.url}: {final} lies behind a link that leads out of the store")

    def _file_status(self, final: Path) -> os.stat_result:
        self._check_inside(final)
        status = final.lstat()
        if not stat.S_ISREG(status.st_mode):
            raise FileNotFoundError(errno.ENOENT, "not a file", str(final))
        return status

    def _walk(self, folder: Path) -> Iterator[Object]:
        if not folder.is_dir():
            return
        self._check_inside(folder / "any")
        for place, folders, files in os.walk(folder, onerror=_unless_gone):  # follows no links
            if Path(place) == self.root and PARTIAL in folders:
                folders.remove(PARTIAL)
            for name in files:
                file = Path(place, name)
                with contextlib.suppress(FileNotFoundError):  # removed meanwhile, or a link
                    path = file.relative_to(self.root).as_posix()
                    yield _object(path, self._file_status(file))

    def _remove(self, final: Path) -> None:
        if not final.parent.is_dir():
            return
        self._check_inside(final)
        self._make_folder(self.root / PARTIAL)
        with _locked(self.root / PARTIAL / "lock"):
            with contextlib.suppress(FileNotFoundError):
                final.unlink()
                _sync_folder(final.parent)
            for folder in final.parents:
                if folder == self.root:
                    break
                with contextlib.suppress(OSError):  # not empty, or gone
                    folder.rmdir()

    async def _run(self, path: str, act: Callable[[], T]) -> T:
        """Do it in a thread, and speak our own errors.

        Cancelled, it still waits for the thread: what the thread works on is closed next.
        """
        with self._translated(path):
            working = asyncio.ensure_future(asyncio.to_thread(act))
            try:
                return await asyncio.shield(working)
            except asyncio.CancelledError:
                await asyncio.wait([working])
                raise

    @contextmanager
    def _translated(self, path: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._explain(path, error) from error

    def _explain(self, path: str, error: OSError) -> InsightError:
        meaning, advice = _MEANINGS.get(error.errno or 0, (Unavailable, ""))
        return meaning(f"{self.url}: {path!r}: {error.strerror or error}{advice}")


async def _pieces(data: bytes | AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """The data in pieces that are worth a thread each."""
    if isinstance(data, bytes):
        yield data
        return
    waiting = bytearray()
    async for piece in data:
        waiting += piece
        if len(waiting) >= _CHUNK_BYTES:
            yield bytes(waiting)
            waiting.clear()
    yield bytes(waiting)


def _move(new: Path, final: Path) -> None:
    new.replace(final)


def _link(new: Path, final: Path) -> None:
    """Give the new file its name only if nobody has it: rename would replace."""
    os.link(new, final)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _open(final: Path) -> int:
    descriptor = os.open(final, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise FileNotFoundError(errno.ENOENT, "not a file", str(final))


@contextmanager
def _opened(final: Path) -> Iterator[int]:
    descriptor = _open(final)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    """Make a new name survive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _object(path: str, status: os.stat_result) -> Object:
    modified = datetime.fromtimestamp(status.st_mtime, UTC)
    return Object(path, status.st_size, modified, _etag(status))


def _etag(status: os.stat_result) -> str:
    return f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"


def _unless_gone(error: OSError) -> None:
    """A folder that cannot be read would make a list silently incomplete."""
    if not isinstance(error, FileNotFoundError):
        raise error
