"""The drill: restore the newest backup of each store on a fresh server, compare, take the time.

A backup that was never restored is a hope. The result lies in the store itself, so that any
machine can say when the last drill was.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import TypeAlias

import msgspec

from insight_cloud.backup import load, restoration
from insight_cloud.backup.catalogue import Catalogue
from insight_cloud.backup.job import Job, Report
from insight_cloud.backup.manifest import UNREADABLE, Manifest
from insight_cloud.backup.restoration import Target
from insight_cloud.core.errors import InsightError
from insight_cloud.core.report import Check, stopwatch

__all__ = ["Drilled", "Fresh", "drill", "last"]

Fresh: TypeAlias = Callable[[], AbstractAsyncContextManager[str]]
"""A server whose URL may do everything. Usually it is new, and gone afterwards."""


class Drilled(msgspec.Struct, frozen=True):
    """The result of a drill, as it lies in the store."""

    at: datetime
    ok: bool
    detail: str
    backup_id: str | None = None
    seconds: float = 0.0
    """From the first byte read to a database that was compared: the time a recovery takes."""
    bytes: int = 0


async def drill(
    job: Job, catalogue: Catalogue, fresh: Fresh, *, report: Report = lambda _: None
) -> Check:
    """Restore the newest good backup of one store on a fresh server, and remember the result.

    Nothing of it stays on the server, in case that is not a fresh one.
    """
    name, started = "backup.drill", job.clock()
    with stopwatch() as watch:
        try:
            done = await _try(job, catalogue, fresh, started, report)
        except InsightError as error:
            done = Drilled(at=started, ok=False, detail=str(error), seconds=watch.seconds)
    try:
        await catalogue.record("drill", msgspec.json.encode(done))
    except InsightError as error:
        kept = f"{done.detail}; the result could not be kept: {error}"
        return Check(name, "fail", kept, done.seconds)
    return Check(name, "pass" if done.ok else "fail", done.detail, done.seconds)


async def _try(
    job: Job, catalogue: Catalogue, fresh: Fresh, started: datetime, report: Report
) -> Drilled:
    held = (await catalogue.read()).newest_good()
    backup = await load.opened(catalogue, held.id, job.identity)
    manifest = backup.manifest
    async with fresh() as url:
        # A killed drill leaves a database that the next restore on that server sweeps away.
        name = f"drill__restore_{secrets.token_hex(4)}"
        target = await restoration.inspect(url, name, manifest)
        if reason := _impossible(manifest, target):
            return Drilled(at=started, ok=False, detail=reason, backup_id=held.id)
        restored = await restoration.restore(
            backup,
            url,
            name,
            programs=job.programs,
            parallel=job.parallel,
            create_roles=True,
            report=report,
        )
        await restoration.remove(url, restored)
    mib = manifest.server.bytes / 2**20
    detail = (
        f"{held.id} restored and compared in {restored.seconds:.1f} s: {manifest.rows:,} rows of"
        f" {len(manifest.tables)} tables, {mib:,.0f} MiB"
    )
    return Drilled(
        at=started,
        ok=True,
        detail=detail,
        backup_id=held.id,
        seconds=restored.seconds,
        bytes=manifest.server.bytes,
    )


def _impossible(manifest: Manifest, target: Target) -> str | None:
    if target.missing_extensions:
        names = ", ".join(target.missing_extensions)
        return f"the fresh server has no {names}: name a server that has by --server"
    if target.version_number // 10000 < manifest.server.major:
        return f"the fresh server ({target.version}) is older than the backup's: use --server"
    return None


async def last(catalogue: Catalogue) -> Drilled | None:
    """The result of the last drill of a store, if there was one."""
    found = await catalogue.recorded("drill")
    try:
        return None if found is None else msgspec.json.decode(found, type=Drilled)
    except UNREADABLE:
        return None
