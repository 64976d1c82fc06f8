"""`Site`: a built directory on its way into an object store, and what is there already."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

from insight_cloud.cdn.deployment import Deployment, plan
from insight_cloud.cdn.files import CONTROL, File, send
from insight_cloud.cdn.record import EMPTY, RECORD, Record, decode, encode, known
from insight_cloud.core.errors import Conflict, InsightError, Missing
from insight_cloud.core.report import Check, stopwatch
from insight_cloud.core.storage import Attributes, Store

__all__ = ["Found", "Outcome", "Progress", "Purger", "Site"]

Progress = Callable[[int, int], None]
"""Told how many bytes of how many have been sent."""

_RECORD_BYTES = 64 * 1024 * 1024
_RECORD_ATTRIBUTES = Attributes("application/json", "private, no-store")
_STALE = timedelta(minutes=30)  # a deployment that began before that has been cut off


T = TypeVar("T")


class Purger(Protocol):
    """Whatever holds copies of the site in a cache."""

    async def purge(self, urls: Sequence[str]) -> None:
        """Let the next request of each address get the new content."""


@dataclass(frozen=True, slots=True)
class Found:
    """What is in the store: the record with its version, and the sizes of all objects."""

    record: Record = EMPTY
    etag: str = ""
    sizes: Mapping[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a deployment did."""

    uploaded: int
    bytes: int
    removed: int
    purged: int
    seconds: float

    def __str__(self) -> str:
        if not (self.uploaded or self.removed or self.purged):
            return "nothing to do"
        return (
            f"{self.uploaded} files sent ({self.bytes:,} bytes), {self.removed} removed, "
            f"{self.purged} addresses purged, {self.seconds:.1f} s"
        )


class Site:
    """The site in `store`, reached by people at `base_url`, with copies in `purgers`.

    `keep` is how long hashed files stay after the last deployment that used them. Whatever
    fails, or is cut off, leaves a site that works: pages are replaced when all that they need
    is there, and the record of what is deployed is written last, by one deployment at a time.
    """

    def __init__(
        self,
        store: Store,
        *,
        base_url: str = "",
        purgers: Sequence[Purger] = (),
        keep: timedelta = timedelta(days=30),
        at_once: int = 8,
    ) -> None:
        self._store = store
        self._base_url = base_url if purgers else ""
        self._purgers = purgers
        self._keep = keep
        self._at_once = at_once

    async def read(self) -> Found:
        """Read the record, and list what is really there."""
        try:
            etag = (await self._store.head(RECORD)).etag
            record = decode(
                await self._store.read(RECORD, limit_bytes=_RECORD_BYTES), self._store.url
            )
        except Missing:
            etag, record = "", EMPTY
        sizes = {
            item.path: item.size
            async for item in self._store.list()
            if not item.path.startswith(f"{CONTROL}/")
        }
        return Found(record, etag, sizes)

    def plan(self, wanted: Iterable[File], found: Found, now: datetime) -> Deployment:
        """Say what a deployment would do; see `deployment.plan`."""
        return plan(
            wanted, found.record, found.sizes or {}, now, keep=self._keep, base_url=self._base_url
        )

    async def apply(
        self,
        deployment: Deployment,
        found: Found,
        now: datetime,
        *,
        progress: Progress = lambda _done, _total: None,
    ) -> Outcome:
        """Carry out a deployment.

        Raises:
            Conflict: another deployment runs, or has finished since `found` was read, or a
                file of the build changed; plan again.
        """
        if not deployment.changes:
            return Outcome(0, 0, 0, 0, 0.0)
        begun = time.monotonic()
        started, etag = await self._begin(deployment, found, now)
        sent = _Counter(sum(file.size for file in deployment.uploads), progress)
        try:
            await self._send(deployment, sent)
            etag = await self._write(deployment.after, etag)
        except BaseException:
            await self._give_up(started, etag)
            raise
        await self._purge(deployment.after, etag)
        return Outcome(
            len(deployment.uploads),
            sent.total,
            len(deployment.removed),
            len(deployment.changed),
            time.monotonic() - begun,
        )

    async def check(self, found: Found, now: datetime, *, verify: bool = False) -> list[Check]:
        """Say whether what is there is what was deployed; `verify` reads all of it."""
        record, sizes = found.record, found.sizes or {}
        if record.deployed is None:
            return [Check("cdn.deployed", "fail", f"nothing was deployed to {self._store.url}")]
        checks = [
            Check(
                "cdn.deployed",
                "pass",
                f"{len(record.files)} files since {record.deployed:%Y-%m-%d %H:%M} UTC",
            ),
            _unfinished(record, now),
            _purged(record),
            _complete(record, sizes),
        ]
        return [*checks, await self._verified(record)] if verify else checks

    async def _begin(
        self, deployment: Deployment, found: Found, now: datetime
    ) -> tuple[Record, str]:
        """Write down what is going to be sent, so that only one deployment runs at a time."""
        running = found.record.begun
        if running is not None and now - running < _STALE:
            raise Conflict(
                f"{self._store.url}: a deployment runs since {running:%H:%M} UTC; wait for it, or "
                f"try again after {running + _STALE:%H:%M} if it was cut off"
            )
        pending = {**found.record.pending, **{f.path: known(f) for f in deployment.uploads}}
        started = replace(found.record, begun=now, pending=pending)
        return started, await self._write(started, found.etag)

    async def _send(self, deployment: Deployment, sent: _Counter) -> None:
        for step in (deployment.hashed, deployment.others, deployment.pages):
            await _each(step, self._at_once, lambda file: self._upload(file, sent))
        await self._store.delete(deployment.removed)

    async def _give_up(self, started: Record, etag: str) -> None:
        """Let the next deployment begin at once; what was sent stays written down."""
        with contextlib.suppress(InsightError, asyncio.CancelledError):
            await self._write(replace(started, begun=None), etag)

    async def _upload(self, file: File, sent: _Counter) -> None:
        await self._store.put(
            file.path, send(file), attributes=file.attributes, expected_bytes=file.size
        )
        sent.add(file.size)

    async def _purge(self, record: Record, etag: str) -> None:
        """Purge, and only then forget what had to be purged."""
        if not record.unpurged:
            return
        for purger in self._purgers:
            await purger.purge(record.unpurged)
        await self._write(replace(record, unpurged=()), etag)

    async def _write(self, record: Record, etag: str) -> str:
        """Write the record over the version `etag`; Conflict when somebody was faster."""
        data = encode(record)
        try:
            if etag:
                return await self._store.replace(RECORD, data, etag, attributes=_RECORD_ATTRIBUTES)
            return await self._store.create(RECORD, data, attributes=_RECORD_ATTRIBUTES)
        except Conflict as error:
            raise Conflict(
                f"{self._store.url}: another deployment was faster; plan again"
            ) from error

    async def _verified(self, record: Record) -> Check:
        wrong: list[str] = []

        async def verify(path: str) -> None:
            digest = hashlib.sha256()
            try:
                async for chunk in self._store.stream(path):
                    digest.update(chunk)
            except Missing:
                return  # which another check tells
            if digest.hexdigest() != record.files[path].sha256:
                wrong.append(path)

        with stopwatch() as watch:
            await _each(tuple(record.files), self._at_once, verify)
        if wrong:
            named = ", ".join(sorted(wrong)[:5])
            return Check("cdn.content", "fail", f"{len(wrong)} differ: {named}", watch.seconds)
        return Check("cdn.content", "pass", "every byte is as deployed", watch.seconds)


class _Counter:
    """Bytes that have been sent, told to whoever watches."""

    def __init__(self, total: int, progress: Progress) -> None:
        self.total = total
        self._done = 0
        self._progress = progress

    def add(self, count: int) -> None:
        self._done += count
        self._progress(self._done, self.total)


async def _each(items: Sequence[T], at_once: int, act: Callable[[T], Awaitable[None]]) -> None:
    """Do it for all items, some at once. The first failure ends the others, and is raised."""
    waiting = iter(items)

    async def work() -> None:
        for item in waiting:
            await act(item)

    workers = [asyncio.ensure_future(work()) for _ in range(min(at_once, len(items)))]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


def _unfinished(record: Record, now: datetime) -> Check:
    if record.begun is None:
        return Check("cdn.unfinished", "pass", "no deployment was cut off")
    state = "runs" if now - record.begun < _STALE else "was cut off; deploy again"
    detail = f"the deployment of {record.begun:%Y-%m-%d %H:%M} UTC {state}"
    return Check("cdn.unfinished", "warn", detail)


def _purged(record: Record) -> Check:
    if not record.unpurged:
        return Check("cdn.purged", "pass", "no cache is behind")
    detail = f"{len(record.unpurged)} addresses were not purged; deploy again"
    return Check("cdn.purged", "warn", detail)


def _complete(record: Record, sizes: Mapping[str, int]) -> Check:
    wrong = [path for path, one in record.files.items() if sizes.get(path) != one.size]
    if wrong:
        named = ", ".join(sorted(wrong)[:5])
        return Check("cdn.complete", "fail", f"{len(wrong)} missing or replaced: {named}")
    return Check("cdn.complete", "pass", "every file is there")
