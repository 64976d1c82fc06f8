"""The archive: what PostgreSQL writes into its log, in the stores a few seconds later.

    NAME/wal/KEY.json                    the data key of one run of the archiver, closed by age
    NAME/wal/SEGMENT.KEY.zst[.sealed]    a segment of the log, 16 MiB unpacked
    NAME/wal/SEGMENT.partial.KEY.zst…    the newest one so far, written again and again
    NAME/wal/status.json                 everything committed before `at` is in the archive

PostgreSQL's own pg_receivewal fetches the log through a replication slot, so that the server
keeps what is not safe yet. A segment is removed from this machine when every store has it.
Each store is served by itself: one that is away holds up no other.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import msgspec

from insight_cloud.backup import postgres
from insight_cloud.backup.catalogue import Held
from insight_cloud.backup.child import Child, access
from insight_cloud.backup.crypto import DataKey, Identity, Opener, Sealer
from insight_cloud.backup.job import Job
from insight_cloud.backup.manifest import UNREADABLE, Encryption
from insight_cloud.backup.packing import unzstd, zstd
from insight_cloud.backup.postgres import Link
from insight_cloud.backup.programs import Program
from insight_cloud.backup.staged import maintenance
from insight_cloud.backup.tasks import together
from insight_cloud.core.errors import Corrupt, InsightError, Missing, Refused, Unavailable
from insight_cloud.core.storage import Store

__all__ = [
    "SEGMENT_BYTES",
    "SLOT",
    "Archived",
    "Archiver",
    "Log",
    "check_segments",
    "end",
    "first_segment",
    "folder",
    "segment_of",
    "segments_between",
]

SLOT = "insight_backup"
SEGMENT_BYTES = 16 * 1024 * 1024
"""Of a cluster that was made without `initdb --wal-segsize`."""
_SEGMENT = re.compile(r"[0-9A-F]{24}(\.partial)?|[0-9A-F]{8}\.history")
_WHOLE = re.compile(r"[0-9A-F]{24}")
_OBJECT = re.compile(
    r"(?P<file>[0-9A-F]{24}|[0-9A-F]{8}\.history)(?P<partial>\.partial)?"
    r"\.(?P<key>[0-9a-f]{16})\.zst(?P<sealed>\.sealed)?"
)
_LARGEST_SEGMENT = 1024 * 1024 * 1024
_OBJECT_BYTES = 2 * _LARGEST_SEGMENT
_SALT_BYTES = 16
_CATCH_UP_SECONDS = 5.0


class Archived(msgspec.Struct, frozen=True):
    """How far the archive reaches: everything committed at `at` (the server's clock) is in it."""

    at: datetime
    lsn: str
    ended: bool = False
    """Whether somebody has ended it: nothing more will come."""


class _Key(msgspec.Struct, frozen=True):
    encryption: Encryption | None


def folder(name: str) -> str:
    """Where the archive of a job lies in a store."""
    return f"{name}/wal"


async def _quiet(store: Store, error: InsightError | None) -> None:
    pass


@dataclass
class Archiver:
    """Keeps the archive of a cluster. `spool` is a directory of ours, for what is on its way.

    `seconds` is the pause between two looks, and so what a disaster may cost. `told` hears how
    far a store is; `trouble` hears once that a store has a problem, and once (None) that it is
    over.
    """

    job: Job
    spool: Path
    seconds: float
    told: Callable[[Archived], None] = lambda _: None
    trouble: Callable[[Store, InsightError | None], Awaitable[None]] = _quiet
    _key_id: str = field(default_factory=lambda: secrets.token_hex(8))
    _key: DataKey | None = None
    _seen: dict[tuple[Store, str], tuple[int, int]] = field(default_factory=dict)
    """Size and time of the last change of what was sent, by store and file."""

    async def run(self) -> None:
        """Fetch and send until cancelled. What a store cannot take now, it gets later.

        Raises:
            Refused: the role may not replicate, the server has no slot left, or the spool
                cannot be used.
            Unavailable: pg_receivewal or the server ended: start again; nothing is lost,
                because the server keeps what was not fetched.
        """
        try:
            self.spool.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise Refused(f"cannot make {self.spool}: {error.strerror}") from error
        async with maintenance(self.job.url) as link:
            server, _ = await postgres.server_of(link)
            await check_segments(link)
            program = await self.job.programs.find(
                "pg_receivewal", at_least=server.major, url=self.job.url
            )
            encryption = await self._new_key()
            await _make_slot(program, self.job.url)
            with access(self.job.url, application_name=SLOT) as reach:
                words = [f"--dbname={reach.argument}", f"--directory={self.spool}"]
                words += [f"--slot={SLOT}", "--status-interval=1", "--no-loop", "--no-password"]
                async with Child(program.path, words, reach) as child:
                    serving = (self._serve(link, store, encryption) for store in self.job.stores)
                    await together(self._watch(child), *serving)

    async def _new_key(self) -> Encryption | None:
        if self.job.lock is None:
            return None
        self._key = DataKey.new()
        return await asyncio.to_thread(self.job.lock.close, self._key)

    async def _watch(self, child: Child) -> None:
        raise child.failure(await child.finish() or 1)

    async def _serve(self, link: Link, store: Store, encryption: Encryption | None) -> None:
        """Send everything to one store, for ever."""
        begun = caught_up = troubled = False
        while True:
            reached = await _reached(link)
            # The newest segment begins anew with each run: until all is fetched again, a store
            # has more of it from the run before.
            caught_up = caught_up or reached is not None
            try:
                if not begun:
                    await self._begin(store, encryption)
                    begun = True
                await self.send(store, partial=caught_up)
                if reached is not None:
                    await self._tell(store, reached)
            except InsightError as error:
                if not troubled:
                    await self.trouble(store, error)
                troubled = True
            else:
                if troubled:
                    await self.trouble(store, None)
                troubled = False
            await asyncio.sleep(self.seconds)

    async def _begin(self, store: Store, encryption: Encryption | None) -> None:
        """Leave the key of this run in a store before anything is closed with it."""
        path = f"{folder(self.job.name)}/{self._key_id}.json"
        body = msgspec.json.encode(_Key(encryption))
        await store.put(path, body, attributes=self.job.attributes_of(store))

    async def send(self, store: Store, *, partial: bool = True) -> None:
        """Send a store what is new; remove from this machine what all stores have.

        Raises:
            Unavailable, Refused, Corrupt: the store; or the spool cannot be read.
        """
        try:
            names = await asyncio.to_thread(lambda: sorted(p.name for p in self.spool.iterdir()))
            for name in names:
                if _SEGMENT.fullmatch(name) and (partial or not name.endswith(".partial")):
                    with contextlib.suppress(FileNotFoundError):  # another name, or sent by all
                        await self._send_file(store, name)
            # pg_receivewal goes on behind the newest one that it finds here.
            for name in [name for name in names if _WHOLE.fullmatch(name)][:-1]:
                if all((each, name) in self._seen for each in self.job.stores):
                    await asyncio.to_thread((self.spool / name).unlink, missing_ok=True)
                    for each in self.job.stores:
                        self._seen.pop((each, name), None)
        except OSError as error:
            raise Unavailable(f"{self.spool}: {error.strerror}; make it readable") from error

    async def _send_file(self, store: Store, name: str) -> None:
        found = await asyncio.to_thread((self.spool / name).stat)
        now = (found.st_size, found.st_mtime_ns)
        if self._seen.get((store, name)) == now:
            return
        body = await asyncio.to_thread(self._pack, self.spool / name)
        await self._put(store, name, body)
        self._seen[store, name] = now
        if _WHOLE.fullmatch(name) and self._seen.pop((store, f"{name}.partial"), None) is not None:
            await store.delete([self._path(f"{name}.partial")])

    def _pack(self, path: Path) -> bytes:
        packed = zstd(path.read_bytes(), self.job.level)
        if self._key is None:
            return packed
        # Each writing has a key of its own: a nonce must not meet two contents.
        salt = secrets.token_bytes(_SALT_BYTES)
        sealer = Sealer(self._key.for_part("wal", f"{path.name} {salt.hex()}"))
        return salt + sealer.update(packed) + sealer.finish()

    async def _put(self, store: Store, file: str, body: bytes) -> None:
        path = self._path(file)
        await store.put(path, body, attributes=self.job.attributes_of(store))
        if await store.read(path, limit_bytes=_OBJECT_BYTES) != body:
            raise Corrupt(f"{store.url}: {path!r} is not what was written")

    def _path(self, file: str) -> str:
        sealed = ".sealed" if self._key is not None else ""
        return f"{folder(self.job.name)}/{file}.{self._key_id}.zst{sealed}"

    async def _tell(self, store: Store, reached: Archived) -> None:
        await store.put(_status(self.job.name), msgspec.json.encode(reached))
        self.told(reached)


async def end(job: Job) -> None:
    """End the archive for good: the server keeps no log for it any more; the stores keep theirs.

    Raises:
        Conflict: it is running.
    """
    async with maintenance(job.url) as link:
        await link.rows(
            "select pg_drop_replication_slot(slot_name) from pg_replication_slots"
            " where slot_name = %s",
            [SLOT],
        )
    for store in job.stores:
        reached = await Log(store, job.name).reaches()
        if reached is not None:
            ended = msgspec.structs.replace(reached, ended=True)
            await store.put(_status(job.name), msgspec.json.encode(ended))


def _status(name: str) -> str:
    return f"{folder(name)}/status.json"


async def check_segments(link: Link) -> None:
    """Whether the cluster cuts its log as usual.

    Raises:
        Refused: it does not.
    """
    size = await link.value("select current_setting('wal_segment_size')")
    if size != "16MB":
        raise Refused(
            f"the cluster cuts its log into segments of {size} (initdb --wal-segsize); the archive"
            " knows those of 16MB only: use pgBackRest for it"
        )


async def _make_slot(program: Program, url: str) -> None:
    with access(url) as reach:
        words = [f"--dbname={reach.argument}", f"--slot={SLOT}", "--create-slot", "--if-not-exists"]
        async with Child(program.path, [*words, "--no-password"], reach) as child:
            status = await child.finish()
            if status != 0:
                raise child.failure(status)


async def _reached(link: Link) -> Archived | None:
    """A moment up to which pg_receivewal has written everything; None if it lags behind."""
    (now,) = await link.rows(
        "select clock_timestamp() as at, pg_current_wal_flush_lsn()::text as lsn"
    )
    limit = asyncio.get_running_loop().time() + _CATCH_UP_SECONDS
    while asyncio.get_running_loop().time() < limit:
        written = await link.value(
            "select coalesce(max(write_lsn) >= %s::pg_lsn, false) from pg_stat_replication"
            " where application_name = %s",
            [now["lsn"], SLOT],
        )
        if written:
            return Archived(**now)
        await asyncio.sleep(0.1)
    return None


@dataclass(frozen=True)
class Log:
    """The archive in one store, to be read."""

    store: Store
    name: str

    async def reaches(self) -> Archived | None:
        """How far it reaches, if there is one."""
        try:
            body = await self.store.read(_status(self.name))
            return msgspec.json.decode(body, type=Archived)
        except Missing:
            return None
        except UNREADABLE as error:
            raise Corrupt(f"{self.store.url}: the archive's status is not readable") from error

    async def fetch(self, first: str, into: Path, identity: Identity | None) -> int:
        """Write every segment from `first` on into a directory; return how many there were.

        Raises:
            Refused: it is encrypted, and the key is wrong or was not given.
            Corrupt: a segment is damaged; the message names it.
        """
        keys: dict[str, DataKey | None] = {}
        files = 0
        async for file, partial, path, key_id in self._objects(first):
            if await asyncio.to_thread((into / file).exists):
                continue
            if key_id not in keys:
                keys[key_id] = await self._key(key_id, identity)
            body = await self.store.read(path, limit_bytes=_OBJECT_BYTES)
            name = f"{file}.partial" if partial else file
            content = await asyncio.to_thread(_unpack, body, name, keys[key_id], self.store.url)
            await asyncio.to_thread((into / file).write_bytes, content)
            files += 1
        return files

    async def _objects(self, first: str) -> AsyncIterator[tuple[str, bool, str, str]]:
        """Whole segments before partial ones, which are used only where there is no whole one."""
        prefix = folder(self.name)
        found = []
        async for item in self.store.list(prefix):
            match = _OBJECT.fullmatch(item.path.removeprefix(f"{prefix}/"))
            if match and (match["file"].endswith(".history") or match["file"][8:] >= first[8:]):
                found.append((match["partial"] is not None, item.modified, item.path, match))
        # Of several partial ones (of runs that were killed) the last one wins.
        for partial, _, path, match in sorted(found, key=lambda one: (one[0], -one[1].timestamp())):
            yield match["file"], partial, path, match["key"]

    async def _key(self, key_id: str, identity: Identity | None) -> DataKey | None:
        try:
            body = await self.store.read(f"{folder(self.name)}/{key_id}.json")
            encryption = msgspec.json.decode(body, type=_Key).encryption
        except (Missing, *UNREADABLE) as error:
            raise Corrupt(f"{self.store.url}: the key {key_id} of the archive is lost") from error
        if encryption is None:
            return None
        if identity is None:
            raise Refused("the archive is encrypted: name the identity file or the passphrase")
        return await asyncio.to_thread(identity.open, encryption)

    async def begins(self, reached: Archived) -> str:
        """The first segment, without its timeline, from which on the log has no hole."""
        prefix = folder(self.name)
        there = set()
        async for item in self.store.list(prefix):
            if match := _OBJECT.fullmatch(item.path.removeprefix(f"{prefix}/")):
                there.add(match["file"][8:])
        number = max(0, _place(reached.lsn) - 1) // SEGMENT_BYTES
        while number > 0 and _numbered(number - 1, SEGMENT_BYTES) in there:
            number -= 1
        return _numbered(number, SEGMENT_BYTES)

    async def before(self, segment: str) -> list[str]:
        """The paths of all segments before one, which no later base backup needs."""
        prefix = folder(self.name)
        old = []
        async for item in self.store.list(prefix):
            match = _OBJECT.fullmatch(item.path.removeprefix(f"{prefix}/"))
            if match and not match["file"].endswith(".history") and match["file"][8:] < segment[8:]:
                old.append(item.path)
        return old


def _unpack(body: bytes, name: str, key: DataKey | None, where: str) -> bytes:
    try:
        if key is not None:
            salt, sealed = body[:_SALT_BYTES], body[_SALT_BYTES:]
            opener = Opener(key.for_part("wal", f"{name} {salt.hex()}"))
            body = opener.update(sealed) + opener.finish()
        return unzstd(body, _LARGEST_SEGMENT)
    except Corrupt as error:
        raise Corrupt(f"{where}: segment {name} of the archive is damaged: {error}") from error


def first_segment(base: Held) -> str:
    """The segment with which a good base backup begins."""
    manifest = base.manifest
    assert manifest is not None  # noqa: S101 - a good one has one
    assert manifest.start_lsn is not None  # noqa: S101 - every base backup has one
    return segment_of(manifest.timeline or 1, manifest.start_lsn, SEGMENT_BYTES)


def segment_of(timeline: int, lsn: str, segment_bytes: int) -> str:
    """The name of the segment that holds a place in the log."""
    return f"{timeline:08X}{_numbered(_place(lsn) // segment_bytes, segment_bytes)}"


def segments_between(first: str, last: str, segment_bytes: int) -> Iterator[str]:
    """The names, without the timeline, of all segments from one place in the log to another.

    What ends exactly where a segment ends needs none of the next one.
    """
    for number in range(_place(first) // segment_bytes, (_place(last) - 1) // segment_bytes + 1):
        yield _numbered(number, segment_bytes)


def _place(lsn: str) -> int:
    high, low = (int(part, 16) for part in lsn.split("/"))
    return (high << 32) | low


def _numbered(number: int, segment_bytes: int) -> str:
    per_id = 2**32 // segment_bytes
    return f"{number // per_id:08X}{number % per_id:08X}"
