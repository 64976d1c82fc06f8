"""A backup on its way into every store: parts written and read back, published last."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from insight_cloud.backup import fan
from insight_cloud.backup.catalogue import Catalogue, part_file
from insight_cloud.backup.crypto import DataKey
from insight_cloud.backup.dump import Planned
from insight_cloud.backup.job import Job, Progress, Report
from insight_cloud.backup.manifest import Encryption, Kind, Manifest, Part, encode
from insight_cloud.backup.packing import Compression, Packer
from insight_cloud.backup.proving import prove
from insight_cloud.core.errors import InsightError
from insight_cloud.core.storage import Store

__all__ = ["Created", "Writer"]

Act: TypeAlias = Callable[[Store], Awaitable[None]]

_CLEANING_SECONDS = 20.0
_GZIP_LEVEL = 9


@dataclass(frozen=True, slots=True)
class Created:
    """A backup that is in at least one store; `failures` say why it is not in others."""

    manifest: Manifest
    stores: tuple[Store, ...]
    failures: Mapping[Store, InsightError]
    cleaned: tuple[str, ...] = ()
    """What earlier runs had left, and this one removed."""


class Writer:
    """One backup on its way into the stores. A store that fails is left behind."""

    def __init__(
        self, job: Job, backup_id: str, *, kind: Kind, report: Report, total_bytes: int = 0
    ) -> None:
        self.id = backup_id
        self.kind = kind
        self.compression: Compression = "gzip" if kind == "plain" else "zstd"
        self._job = job
        self._key = DataKey.new() if job.lock is not None else None
        self._catalogues = {store: Catalogue(store, job.name) for store in job.stores}
        self._attributes = {store: job.attributes_of(store) for store in job.stores}
        self._report = report
        self._done = 0
        self._total = total_bytes
        self._paths: list[str] = []
        self.failures: dict[Store, InsightError] = {}
        self.cleaned: list[str] = []

    @property
    def live(self) -> tuple[Store, ...]:
        """The stores that have taken everything so far."""
        return tuple(store for store in self._job.stores if store not in self.failures)

    async def begin(self) -> None:
        """Announce it everywhere, and remove what dead runs have left."""
        await self._in_all(self._begin)
        self._check()

    async def _begin(self, store: Store) -> None:
        catalogue = self._catalogues[store]
        now = await catalogue.begin(self.id, self._attributes[store])
        left = (await catalogue.read()).unfinished
        self.cleaned += await catalogue.clean((one for one in left if one.id != self.id), now)

    async def part(self, planned: Planned, source: AsyncIterator[bytes], packer: Packer) -> Part:
        """Write one part into every live store, and read it back from each.

        `source` must have fed `packer` by its end.
        """
        name = part_file(
            planned.name,
            compression=self.compression,
            plain=self.kind == "plain",
            sealed=self._key is not None,
        )
        path = self._catalogues[self._job.stores[0]].path(self.id, name)
        self._paths.append(path)
        failed = await fan.send(
            self._counted(source, packer),
            self.live,
            path,
            attributes=self._attributes,
            expected_bytes=planned.bytes,
        )
        self._fail(failed)
        part = Part(
            name=planned.name,
            content=planned.content,
            tables=() if planned.name == "data-rest" else tuple(map(str, planned.tables)),
            raw_bytes=packer.raw_bytes,
            stored_bytes=packer.stored_bytes,
            sha256=packer.sha256,
        )
        await self._in_all(lambda store: prove(part, store.stream(path), store.url))
        self._check()
        return part

    def packer(self, part: str) -> Packer:
        """What makes the stored form of a part."""
        level = _GZIP_LEVEL if self.compression == "gzip" else self._job.level
        key = None if self._key is None else self._key.for_part(self.id, part)
        return Packer(self.compression, level=level, key=key)

    def envelope(self) -> Encryption | None:
        """The key, closed for those who may read the backup."""
        if self._job.lock is None or self._key is None:
            return None
        return self._job.lock.close(self._key)

    async def publish(self, manifest: Manifest) -> None:
        """Make it visible in every live store."""
        key = None if self._key is None else self._key.for_manifest(self.id)
        encoded = encode(manifest, key=key)
        await self._in_all(
            lambda store: self._catalogues[store].publish(
                manifest, encoded, self._attributes[store]
            )
        )
        self._check()

    async def tidy(self) -> None:
        """Remove what failed stores hold of it, as far as they let us; a later run tries again."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLEANING_SECONDS):
                await asyncio.gather(*(self._remove(store) for store in self.failures))

    async def abandon(self) -> None:
        """Remove it everywhere: it will not be finished."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLEANING_SECONDS):
                await asyncio.gather(*(self._remove(store) for store in self._job.stores))

    async def _remove(self, store: Store) -> None:
        with contextlib.suppress(InsightError):
            await self._catalogues[store].withdraw(self.id, self._paths)

    async def _in_all(self, act: Act) -> None:
        stores = self.live
        found = await asyncio.gather(*(_attempt(act, store) for store in stores))
        self._fail({s: error for s, error in zip(stores, found, strict=True) if error is not None})

    def _fail(self, failed: Mapping[Store, InsightError]) -> None:
        for store, error in failed.items():
            self.failures.setdefault(store, error)

    def _check(self) -> None:
        """Go on as long as one store is left."""
        if not self.live:
            raise next(iter(self.failures.values()))

    async def _counted(self, source: AsyncIterator[bytes], packer: Packer) -> AsyncIterator[bytes]:
        seen = 0
        async for piece in source:
            self._done += packer.raw_bytes - seen
            seen = packer.raw_bytes
            self._report(Progress("dumped", self._done, self._total))
            yield piece
        self._done += packer.raw_bytes - seen


async def _attempt(act: Act, store: Store) -> InsightError | None:
    try:
        await act(store)
    except InsightError as error:
        return error
    return None
