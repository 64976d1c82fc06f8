"""Numbers that several processes share: each writes a file of its own, and any can read all.

A file is mapped into memory, so an addition costs what it costs in an array, and nothing is
lost when the process is killed. Its owner holds a lock on it (`flock`), which the kernel drops
at the process' death: that, and not a process number, which another process may have by then,
tells the dead from the living. What the dead have counted is moved into one file, `ended`;
their gauges are dropped.

The directory is on a local disk, best in memory (`/run`, `/dev/shm`), and belongs to one
service: see `docs/explain/telemetry.md` for the format.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from insight_cloud.core.errors import Corrupt, SettingsError
from insight_cloud.telemetry.recorder import SCRATCH, Slots
from insight_cloud.telemetry.series import Found, Series, merged

__all__ = ["Leader", "Shared", "directory_in_memory"]

_MAGIC = b"metrics1"
_BEGIN = len(_MAGIC) + 8
_SUFFIX = ".metrics"
_ENDED = "ended.json"
_OWNER = "owner.lock"
_REMEMBERED = 1000
"""How many buried files are remembered by name, for readers that opened one just before."""


class _Line(msgspec.Struct):
    """A series as it stands in a file, behind the numbers: where its slots are."""

    first: int
    series: Series


_DECODER = msgspec.json.Decoder(_Line)


class _Ended(msgspec.Struct):
    """What the dead have counted, and whose counts these are."""

    absorbed: list[str] = []
    series: list[Series] = []


class Shared:
    """The numbers of this process in a directory that others read too.

    Open it in the process that records, not before a fork.

    Raises:
        SettingsError: the directory cannot be made or written.
    """

    def __init__(self, directory: Path, *, slots: int = 32_768) -> None:
        self._directory = directory
        self._slots = slots
        self._next = SCRATCH
        self._process = os.getpid()
        self._known: dict[str, tuple[int, list[tuple[int, Series]]]] = {}
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._file = self._create(f"{self._process}-{secrets.token_hex(6)}")
        except OSError as error:
            raise SettingsError(
                f"cannot keep metrics in {directory}: {error.strerror}; name a directory that "
                "this user may write and that has room"
            ) from error
        self._end = _BEGIN + slots * 8
        self._map = mmap.mmap(self._file, self._end)
        self.values: Slots = memoryview(self._map)[_BEGIN:].cast("d")

    def allocate(self, series: Series) -> int:
        """Give `series` its slots, and say so at the end of the file."""
        first = self._next
        line = msgspec.json.encode(_Line(first, series)) + b"\n"
        if first + len(series.values) > self._slots:
            return 0
        try:
            os.pwrite(self._file, line, self._end)
        except OSError:  # a full disk: measuring must not break what is measured
            return 0
        self._end += len(line)
        self._next += len(series.values)
        return first

    def read(self) -> tuple[Series, ...]:
        """Every series with its present values, of all processes, the ended ones too."""
        if os.getpid() != self._process:
            raise RuntimeError("the metrics were opened before a fork; open them after it")
        self._bury()
        living = {path.stem: self._content(path) for path in self._files()}
        # Last: whoever was buried since the files were listed is in it, and nobody counts twice.
        ended = _ended(self._directory)
        for name in ended.absorbed:
            living.pop(name, None)
        self._known = {name: kept for name, kept in self._known.items() if name in living}
        return merged([*filter(None, living.values()), _pairs(ended.series)])

    def close(self) -> None:
        """Leave. What was counted stays, as that of every process that ends.

        The file stays mapped, so that a late request does not fail by being counted.
        """
        if self._file >= 0:
            fcntl.flock(self._file, fcntl.LOCK_UN)
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _create(self, name: str) -> int:
        """Make the file, with its room taken and locked before others can see it."""
        hidden = self._directory / f".{name}"
        file = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            # Written to through the mapping, a hole that the full disk cannot fill kills us.
            os.posix_fallocate(file, 0, _BEGIN + self._slots * 8)
            os.pwrite(file, _MAGIC + self._slots.to_bytes(8, "little"), 0)
            hidden.rename(self._directory / f"{name}{_SUFFIX}")
        except OSError:
            os.close(file)
            hidden.unlink(missing_ok=True)
            raise
        return file

    def _files(self) -> list[Path]:
        return sorted(self._directory.glob(f"*{_SUFFIX}"))

    def _content(self, path: Path) -> list[Found] | None:
        """The series in a file; None when it is gone, or nothing that we can read."""
        try:
            data = path.read_bytes()
        except OSError:  # buried meanwhile: its counts are in `ended`
            return None
        magic, slots = data[: len(_MAGIC)], int.from_bytes(data[len(_MAGIC) : _BEGIN], "little")
        lines = _BEGIN + slots * 8
        if magic != _MAGIC or len(data) < lines:
            return None
        try:
            known = self._lines(path.stem, data, lines)
        except (msgspec.DecodeError, UnicodeDecodeError):  # another release's, which we cannot read
            return None
        values = memoryview(data)[_BEGIN:lines].cast("d")
        return [
            (series, values[first : first + len(series.values)].tolist()) for first, series in known
        ]

    def _lines(self, name: str, data: bytes, begin: int) -> list[tuple[int, Series]]:
        """The series that the end of a file announces; only what is new is decoded."""
        read, known = self._known.get(name, (begin, []))
        end = data.rfind(b"\n", read) + 1  # a line that is being written has none yet
        if end > read:
            fresh = _DECODER.decode_lines(data[read:end])
            known = known + [(line.first, line.series) for line in fresh]
            self._known[name] = (end, known)
        return known

    def _bury(self) -> None:
        """Move the counts of ended processes into one file; what we cannot read is left alone."""
        dead = [path for path in self._files() if _is_dead(path)]
        if not dead:
            return
        with _locked(self._directory):
            ended = _ended(self._directory)
            found = {path: self._content(path) for path in dead}
            readable = {path: content for path, content in found.items() if content is not None}
            fresh = [path for path in readable if path.stem not in ended.absorbed]
            if fresh:
                counts = [_counts(readable[path]) for path in fresh]
                names = [*ended.absorbed, *(path.stem for path in fresh)][-_REMEMBERED:]
                series = merged([_pairs(ended.series), *counts])
                content = msgspec.json.encode(_Ended(names, list(series)))
                _replace(self._directory / _ENDED, content)
            for path in readable:
                path.unlink(missing_ok=True)


@contextmanager
def directory_in_memory(
    prefix: str = "insight-metrics-",
    *,
    within: Path = Path("/dev/shm"),  # noqa: S108 - private, below
) -> Iterator[Path]:
    """Yield a new directory for `Shared`, in memory where there is some, and delete it afterwards.

    One that a service left behind when it was killed is deleted as well: it would hold the
    memory until the machine is started anew. Whose service lives is told by a lock.
    """
    place = within if os.access(within, os.W_OK) else Path(tempfile.gettempdir())
    for left in place.glob(f"{prefix}*"):
        _sweep(left)
    made = Path(tempfile.mkdtemp(prefix=f".{prefix}", dir=place))
    owner = os.open(made / _OWNER, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(owner, fcntl.LOCK_EX)
        # Seen by others from here on, when it is locked.
        final = made.rename(place / made.name.removeprefix("."))
        try:
            yield final
        finally:
            shutil.rmtree(final, ignore_errors=True)
    finally:
        os.close(owner)


def _sweep(directory: Path) -> None:
    with suppress(OSError):  # another user's, or swept by another
        file = os.open(directory / _OWNER, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(directory)
        finally:
            os.close(file)


class Leader:
    """One of several processes, for what must be done once: alerts, for example.

    Whoever asks first leads until it ends; then whoever asks next.
    """

    def __init__(self, directory: Path | None, name: str = "leader") -> None:
        self._path = None if directory is None else directory / f"{name}.lock"
        self._file = -1

    def __call__(self) -> bool:
        """Whether this process leads. Without a directory it is alone, and does."""
        if self._path is None or self._file >= 0:
            return True
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return False
        self._file = file
        return True

    def close(self) -> None:
        """Let another process lead."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _is_dead(path: Path) -> bool:
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # buried by another reader, or not ours to look at
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(file)
    return True


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    file = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


def _ended(directory: Path) -> _Ended:
    try:
        return msgspec.json.decode((directory / _ENDED).read_bytes(), type=_Ended)
    except FileNotFoundError:
        return _Ended()
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Corrupt(
            f"{directory / _ENDED} is not what we wrote ({error}); delete it to count anew"
        ) from error


def _pairs(series: list[Series]) -> list[Found]:
    return [(one, one.values) for one in series]


def _counts(found: list[Found]) -> list[Found]:
    """Without the gauges: they said how a process was, and it is no more."""
    return [(series, values) for series, values in found if series.kind != "gauge"]


def _replace(path: Path, data: bytes) -> None:
    new = path.with_suffix(".new")
    with open(new, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
