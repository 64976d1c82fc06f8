"""The backups of one job in one store: found, published, judged, removed.

    NAME/backups/ID/running.json        who makes it; gone when it is published
    NAME/backups/ID/data-001.pgdump.zst the parts
    NAME/backups/ID/manifest.json       written last, and only after every part was read back
    NAME/backups/ID/bad.json            a verification found it damaged

A folder without a manifest is no backup, whatever else is in it: nothing lists it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import msgspec

from insight_cloud.backup.manifest import (
    LONGEST_BYTES,
    UNREADABLE,
    Manifest,
    Part,
    Type,
    decode,
    is_id,
)
from insight_cloud.backup.retention import Entry
from insight_cloud.core.errors import Corrupt, InsightError, Missing
from insight_cloud.core.storage import Attributes, Object, Store

__all__ = ["Catalogue", "Held", "Holdings", "Unfinished", "part_file"]

MANIFEST, BAD, RUNNING = "manifest.json", "bad.json", "running.json"
_AT_ONCE = 8
_ABANDONED = timedelta(hours=24)
_LONGEST_RUN = timedelta(days=7)
_BASE = "base"


def part_file(part: str, *, compression: str, plain: bool, sealed: bool) -> str:
    """The object's name in the folder of a backup; its endings say how to open it."""
    form = {"database": "json", "base": "tar"}.get(part, "sql" if plain else "pgdump")
    packed = "gz" if compression == "gzip" else "zst"
    return f"{part}.{form}.{packed}" + (".sealed" if sealed else "")


def file_of(manifest: Manifest, part: Part) -> str:
    """The name of a part's object."""
    return part_file(
        part.name,
        compression=manifest.compression,
        plain=manifest.kind == "plain",
        sealed=manifest.encryption is not None,
    )


@dataclass(frozen=True, slots=True)
class Held:
    """A published backup in one store; `problem` says why it must not be trusted."""

    id: str
    manifest: Manifest | None
    problem: str | None = None

    @property
    def good(self) -> bool:
        """Whether it is complete as far as a listing can tell, and failed no verification."""
        return self.manifest is not None and self.problem is None

    @property
    def at(self) -> datetime:
        """When it was taken; the name says so when the manifest cannot."""
        if self.manifest is not None:
            return self.manifest.snapshot_at
        return datetime.strptime(self.id[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)

    @property
    def type(self) -> Type:
        """Its type, by its name."""
        return cast("Type", self.id.split("-")[1])

    def entry(self) -> Entry:
        """What the retention wants to know."""
        return Entry(self.id, self.type, self.at, self.good)


@dataclass(frozen=True, slots=True)
class Unfinished:
    """What a run has written that was never published, or is being made right now."""

    id: str
    objects: tuple[Object, ...]

    @property
    def newest(self) -> datetime:
        """When something was last written, by the store's clock."""
        return max(found.modified for found in self.objects)


@dataclass(frozen=True, slots=True)
class Holdings:
    """All that one store has of one job, the newest first."""

    store: Store
    backups: tuple[Held, ...]
    unfinished: tuple[Unfinished, ...]

    @property
    def logical(self) -> tuple[Held, ...]:
        """The dumps, without the base backups of the archive."""
        return tuple(held for held in self.backups if not _is_base(held))

    @property
    def bases(self) -> tuple[Held, ...]:
        """The base backups of the archive."""
        return tuple(held for held in self.backups if _is_base(held))

    def find(self, backup_id: str) -> Held:
        """The backup of that id, or the only one whose id begins so.

        Raises:
            Missing: there is none, or there are several.
        """
        found = [held for held in self.backups if held.id.startswith(backup_id)]
        exact = [held for held in found if held.id == backup_id]
        if len(exact or found) == 1:
            return (exact or found)[0]
        if found:
            raise Missing(
                f"{self.store.url} has {len(found)} backups whose id begins with {backup_id!r}:"
                " write more of it"
            )
        raise Missing(f"{self.store.url} has no backup {backup_id!r}")

    def newest_good(self, *, before: datetime | None = None, kind: str = "") -> Held:
        """The newest backup that can be trusted, taken not after `before`.

        Raises:
            Missing: there is none.
        """
        for held in self.backups:
            inside = before is None or held.at <= before
            if held.good and inside and (_is_base(held) == (kind == _BASE)):
                return held
        when = f" from before {before:%Y-%m-%d %H:%M:%S %Z}" if before else ""
        raise Missing(f"{self.store.url} has no good backup{when}")


def _is_base(held: Held) -> bool:
    return held.id.split("-")[1] == _BASE


class _Running(msgspec.Struct, frozen=True):
    """Who makes a backup: enough to tell on the same machine whether that process still is."""

    host: str
    boot: str
    pid: int
    started: str


class Catalogue:
    """The folder of one job in one store."""

    def __init__(self, store: Store, name: str) -> None:
        self.store = store
        self.name = name
        self._folder = f"{name}/backups"
        self._records = f"{name}/records"

    def path(self, backup_id: str, file: str) -> str:
        """Where an object of a backup is."""
        return f"{self._folder}/{backup_id}/{file}"

    async def read(self) -> Holdings:
        """List everything; the manifests are read and held against the sizes of the parts.

        Raises:
            Unavailable: the store does not answer; half a list is never returned.
        """
        folders = await self._folders()
        gate = asyncio.Semaphore(_AT_ONCE)

        async def held(backup_id: str, objects: dict[str, Object]) -> Held | None:
            async with gate:
                return await self._held(backup_id, objects)

        published = {name: files for name, files in folders.items() if MANIFEST in files}
        found = await asyncio.gather(*(held(name, files) for name, files in published.items()))
        backups = sorted((item for item in found if item is not None), key=lambda item: item.id)
        unfinished = tuple(
            Unfinished(name, tuple(files.values()))
            for name, files in sorted(folders.items())
            if MANIFEST not in files
        )
        newest = sorted(backups, key=lambda item: (item.at, item.id), reverse=True)
        return Holdings(self.store, tuple(newest), unfinished)

    async def _folders(self) -> dict[str, dict[str, Object]]:
        folders: dict[str, dict[str, Object]] = {}
        async for found in self.store.list(self._folder):
            backup_id, _, file = found.path.removeprefix(f"{self._folder}/").partition("/")
            if is_id(backup_id) and file:
                folders.setdefault(backup_id, {})[file] = found
        return folders

    async def _held(self, backup_id: str, objects: dict[str, Object]) -> Held | None:
        try:
            manifest = await self.manifest(backup_id)
        except Missing:
            return None  # removed since it was listed
        except Corrupt as error:
            return Held(backup_id, None, str(error))
        sizes = {name: found.size for name, found in objects.items()}
        problem = _difference(manifest, sizes)
        if problem is None and BAD in objects:
            problem = await self._verdict(backup_id)
        return Held(backup_id, manifest, problem)

    async def manifest_bytes(self, backup_id: str) -> bytes:
        """The manifest's object."""
        return await self.store.read(self.path(backup_id, MANIFEST), limit_bytes=LONGEST_BYTES)

    async def manifest(self, backup_id: str) -> Manifest:
        """The manifest, proved to be unchanged and of this backup.

        Raises:
            Missing: there is none.
            Corrupt: it was changed.
        """
        manifest = decode(await self.manifest_bytes(backup_id))
        if manifest.id != backup_id:
            raise Corrupt(f"the manifest of {backup_id} belongs to {manifest.id}")
        return manifest

    async def _verdict(self, backup_id: str) -> str:
        with contextlib.suppress(InsightError, *UNREADABLE):
            found = await self.store.read(self.path(backup_id, BAD))
            return str(msgspec.json.decode(found, type=dict[str, str])["problem"])
        return "a verification failed"

    async def begin(self, backup_id: str, attributes: Attributes) -> datetime:
        """Announce a backup that will be made; return the time by the store's clock."""
        path = self.path(backup_id, RUNNING)
        await self.store.put(path, msgspec.json.encode(_ourselves()), attributes=attributes)
        return (await self.store.head(path)).modified

    async def publish(self, manifest: Manifest, encoded: bytes, attributes: Attributes) -> None:
        """Make a backup visible: every part must be in the store and proved.

        Raises:
            Corrupt: the store does not give back what was written; nothing is published then.
            Conflict: there is a backup of that id.
        """
        path = self.path(manifest.id, MANIFEST)
        await self.store.create(path, encoded, attributes=attributes)
        try:
            await self._confirm(manifest, encoded)
        except BaseException:
            await asyncio.shield(self.store.delete([path]))
            raise
        with contextlib.suppress(InsightError):  # it is published: a mark too many does no harm
            await self.store.delete([self.path(manifest.id, RUNNING)])

    async def _confirm(self, manifest: Manifest, encoded: bytes) -> None:
        if await self.manifest_bytes(manifest.id) != encoded:
            raise Corrupt(f"{self.store.url} returned another manifest than was written")
        sizes = {name: found.size for name, found in (await self._files(manifest.id)).items()}
        if problem := _difference(manifest, sizes):
            raise Corrupt(f"{self.store.url}: {problem}")

    async def remove(self, backup_id: str) -> None:
        """Remove a backup, or what was left of one: the manifest first, so that none is half."""
        await self.store.delete([self.path(backup_id, MANIFEST)])
        files = await self._files(backup_id)
        await self.store.delete([found.path for found in files.values()])

    async def withdraw(self, backup_id: str, paths: Sequence[str]) -> None:
        """Remove what was written of a backup that is not to be: the mark of its run last."""
        await self.store.delete([self.path(backup_id, MANIFEST)])
        await self.store.delete([*paths, self.path(backup_id, RUNNING)])

    async def mark(self, backup_id: str, problem: str | None, at: datetime) -> None:
        """Remember that a verification found it damaged, or (None) that it is whole again."""
        path = self.path(backup_id, BAD)
        if problem is None:
            await self.store.delete([path])
            return
        body = msgspec.json.encode({"problem": problem[:2000], "at": at.isoformat()})
        await self.store.put(path, body)

    async def clean(self, unfinished: Iterable[Unfinished], now: datetime) -> list[str]:
        """Remove what abandoned runs left, and uploads that were never finished; return ids.

        A run of this machine is abandoned when its process is gone, or has written nothing for a
        week (a large part is not seen before it is complete); any other one when it has written
        nothing for a day. `now` is the time by the store's clock.
        """
        removed = []
        for left in unfinished:
            if await self._abandoned(left, now):
                await self.remove(left.id)
                removed.append(left.id)
        await self._clean_uploads(now)
        return removed

    async def _clean_uploads(self, now: datetime) -> None:
        with contextlib.suppress(InsightError):  # not every store can tell; the docs say what then
            for leftover in await self.store.leftovers():
                if now - leftover.started > _ABANDONED and self._ours(leftover.path):
                    await self.store.abort(leftover)

    def _ours(self, path: str) -> bool:
        """A directory's unfinished files have no path: they are in a folder of its own."""
        return not path or path.startswith(f"{self._folder}/")

    async def _abandoned(self, left: Unfinished, now: datetime) -> bool:
        silence = now - left.newest
        try:
            body = await self.store.read(self.path(left.id, RUNNING))
            running = msgspec.json.decode(body, type=_Running)
        except (Missing, *UNREADABLE):
            return silence > _ABANDONED
        if running.host != socket.gethostname() or not running.started:
            return silence > _ABANDONED
        return _is_gone(running) or silence > _LONGEST_RUN

    async def record(self, kind: str, body: bytes) -> None:
        """Keep the last result of a kind, for example of a drill."""
        await self.store.put(f"{self._records}/{kind}.json", body)

    async def recorded(self, kind: str) -> bytes | None:
        """The last result of a kind, if there is one."""
        try:
            return await self.store.read(f"{self._records}/{kind}.json")
        except Missing:
            return None

    def stream(self, manifest: Manifest, part: Part) -> AsyncIterator[bytes]:
        """Read a part as it is stored."""
        return self.store.stream(self.path(manifest.id, file_of(manifest, part)))

    async def _files(self, backup_id: str) -> dict[str, Object]:
        folder = f"{self._folder}/{backup_id}"
        return {
            found.path.removeprefix(f"{folder}/"): found async for found in self.store.list(folder)
        }


def _difference(manifest: Manifest, sizes: dict[str, int]) -> str | None:
    for part in manifest.parts:
        size = sizes.get(file_of(manifest, part))
        if size is None:
            return f"part {part.name!r} is missing"
        if size != part.stored_bytes:
            return f"part {part.name!r} has {size} bytes instead of {part.stored_bytes}"
    return None


def _ourselves() -> _Running:
    return _Running(socket.gethostname(), _boot(), os.getpid(), _start_of(os.getpid()) or "")


def _is_gone(found: _Running) -> bool:
    """Whether a run of this machine has ended; its number may be another's today."""
    return found.boot != _boot() or _start_of(found.pid) != found.started


def _boot() -> str:
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return ""


def _start_of(pid: int) -> str | None:
    """When a process started, in the kernel's ticks; None when there is none."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None if Path("/proc/self/stat").exists() else ""
    return status.rpartition(")")[2].split()[19]


def catalogues(stores: Sequence[Store], name: str) -> tuple[Catalogue, ...]:
    """One for each store."""
    return tuple(Catalogue(store, name) for store in stores)
