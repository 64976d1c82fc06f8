"""A folder of images made ready: read, plan, apply. Originals are never touched."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from insight_cloud.core import files
from insight_cloud.core.errors import Invalid, Missing, Refused, SettingsError, Unavailable
from insight_cloud.core.plan import Change, Plan
from insight_cloud.images.catalogue import Catalogue, Entry, File
from insight_cloud.images.variants import DEVICE_WIDTHS, Format, Variant
from insight_cloud.images.workers import ENCODER, Picture, Workers

__all__ = ["CATALOGUE", "Choices", "Outcome", "apply", "plan", "read", "stored"]

CATALOGUE = "images.json"
"""The name of the catalogue in the folder of results."""

_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif"})
_SAVE_EVERY_SECONDS = 2.0
_TRIES = 5


@dataclass(frozen=True, slots=True)
class Choices:
    """What is made of each image. `quality` is 60, 75 or 85."""

    widths: tuple[int, ...] = DEVICE_WIDTHS
    formats: tuple[Format, ...] = ("avif", "webp", "jpeg")
    quality: int = 75

    def recipe(self, digest: str) -> str:
        """Name the result: content of the source, all choices, and who encodes."""
        words = f"{ENCODER} {digest} {self.widths} {self.formats} {self.quality}"
        return hashlib.blake2b(words.encode(), digest_size=12).hexdigest()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one source: an entry, or the reason why there is none."""

    source: str
    entry: Entry | None
    problem: str = ""


def read(folder: Path, output: Path, most_bytes: int) -> dict[str, str]:
    """Return the digest of each image below `folder` by its path.

    Hidden files and folders, links, and what lies in `output` are passed over.

    Raises:
        Missing: there is no such folder.
        Refused: it cannot be read.
    """
    if not folder.is_dir():
        raise Missing(f"there is no folder {folder}")
    found: dict[str, str] = {}
    skipped = output.resolve()
    for where, folders, names in os.walk(folder, onerror=_cannot_read):
        here = Path(where)
        folders[:] = sorted(
            name for name in folders if name[0] != "." and (here / name).resolve() != skipped
        )
        for name in sorted(names):
            path = here / name
            if name[0] == "." or path.suffix.lower() not in _SUFFIXES or path.is_symlink():
                continue
            found[path.relative_to(folder).as_posix()] = _digest(path, most_bytes)
    return found


def stored(output: Path) -> Catalogue:
    """Return the catalogue of an earlier run without what has gone missing since.

    Raises:
        Corrupt: it is not what was written; remove it to begin anew.
        Refused: it may not be read.
    """
    try:
        found = Catalogue.decode((output / CATALOGUE).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return Catalogue()
    except OSError as error:
        raise _unreadable(error) from error
    whole = {
        source: entry
        for source, entry in found.images.items()
        if all(_has(output / file.path, file.bytes) for file in entry.files)
    }
    return Catalogue(whole)


def plan(found: Mapping[str, str], catalogue: Catalogue, choices: Choices) -> Plan:
    """Say what is to be made, made anew and removed."""
    changes = []
    for source, digest in found.items():
        before, after = catalogue.images.get(source), choices.recipe(digest)
        if before is None:
            changes.append(Change("create", source, None, after, "new"))
        elif before.recipe != after:
            changes.append(
                Change("update", source, before.recipe, after, "the image or the choices changed")
            )
    gone = [source for source in catalogue.images if source not in found]
    changes += [
        Change("delete", source, catalogue.images[source].recipe, None, "the image is gone")
        for source in gone
    ]
    return Plan(tuple(changes))


async def apply(
    planned: Plan,
    folder: Path,
    output: Path,
    choices: Choices,
    workers: Workers,
    *,
    jobs: int,
    done: Callable[[Outcome], None] = lambda _: None,
) -> Catalogue:
    """Do what was planned, `jobs` images at a time, and return the new catalogue.

    Files are complete before the catalogue names them, and removed only when it does not any
    more. Interrupted, it keeps what is finished. An image that cannot be read is told to `done`
    and left out.

    Raises:
        SettingsError: `output` cannot be written.
    """
    keeper = _Keeper(output, stored(output))
    turn = asyncio.Semaphore(jobs)

    async def one(change: Change) -> None:
        async with turn:
            try:
                outcome = await _made(change, folder, output, choices, workers)
            except (Invalid, Missing, Refused) as error:
                outcome = Outcome(change.target, None, str(error))
            keeper.note(outcome)
            done(outcome)

    try:
        async with asyncio.TaskGroup() as group:
            for change in planned:
                if change.verb == "delete":
                    keeper.forget(change.target)
                else:
                    group.create_task(one(change))
    except* OSError as errors:
        raise SettingsError(f"{output} cannot be written: {errors.exceptions[0]}") from errors
    finally:
        keeper.save()
    keeper.clean()
    return keeper.catalogue


class _Keeper:
    """The catalogue while it grows, on disk now and then."""

    def __init__(self, output: Path, before: Catalogue) -> None:
        self._output = output
        self._old = {file.path for entry in before.images.values() for file in entry.files}
        self._entries = dict(before.images)
        self._saved = time.monotonic()

    @property
    def catalogue(self) -> Catalogue:
        return Catalogue(self._entries)

    def note(self, outcome: Outcome) -> None:
        if outcome.entry is None:
            self._entries.pop(outcome.source, None)
        else:
            self._entries[outcome.source] = outcome.entry
        if time.monotonic() - self._saved > _SAVE_EVERY_SECONDS:
            self.save()

    def forget(self, source: str) -> None:
        self._entries.pop(source, None)

    def save(self) -> None:
        try:
            files.write(self._output / CATALOGUE, self.catalogue.encode())
        except OSError as error:
            raise SettingsError(f"{self._output} cannot be written: {error}") from error
        self._saved = time.monotonic()

    def clean(self) -> None:
        """Remove the files that the catalogue does not name any more."""
        kept = {file.path for entry in self._entries.values() for file in entry.files}
        for path in self._old - kept:
            if (self._output / path).resolve().is_relative_to(self._output.resolve()):
                (self._output / path).unlink(missing_ok=True)


async def _made(
    change: Change, folder: Path, output: Path, choices: Choices, workers: Workers
) -> Outcome:
    data = await asyncio.to_thread((folder / change.target).read_bytes)
    picture = await _patiently(workers, data, choices)
    written: dict[str, File] = {}
    for made in picture.made:
        # What is no smaller than the source helps nobody: the source is there.
        if len(made.data) < len(data) and made.format in {"avif", "webp", "jpeg", "png"}:
            path = _path(change.target, change.after, made.variant.width, made.format)
            await asyncio.to_thread(files.write, output / path, made.data)
            form: Format = made.format  # type: ignore[assignment]  # one of the four
            written[path] = File(path, form, made.variant.width, len(made.data))
    entry = Entry(
        change.after,
        len(data),
        picture.width,
        picture.height,
        picture.alpha,
        picture.placeholder,
        picture.thumbhash,
        tuple(written.values()),
    )
    return Outcome(change.target, entry)


async def _patiently(workers: Workers, data: bytes, choices: Choices) -> Picture:
    """Make every variant; nobody waits for an answer here, so a busy machine may take longer."""
    variants = [
        Variant(wide, choices.quality, form) for wide in choices.widths for form in choices.formats
    ]
    for left in reversed(range(_TRIES)):
        try:
            return await workers.make(data, variants, placeholder=True)
        except Unavailable as error:
            if not left:
                raise
            await asyncio.sleep(error.retry_after)
    raise AssertionError  # pragma: no cover - the loop returns or raises


def _path(source: str, recipe: str, width: int, form: str) -> str:
    """Where a file goes: the name changes with its content, so it may be cached for ever."""
    path = PurePosixPath(source)
    return str(path.with_name(f"{path.stem}.{recipe[:8]}.{width}.{form}"))


def _digest(path: Path, most_bytes: int) -> str:
    try:
        if path.stat().st_size > most_bytes:
            return f"larger than {most_bytes}"
        return hashlib.blake2b(path.read_bytes(), digest_size=20).hexdigest()
    except OSError as error:
        raise _unreadable(error) from error


def _has(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False


def _cannot_read(error: OSError) -> None:
    raise _unreadable(error)


def _unreadable(error: OSError) -> Refused:
    return Refused(f"cannot read {error.filename}: {error.strerror}")
