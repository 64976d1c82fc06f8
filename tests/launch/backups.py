"""Real backups of a small database in real stores, as the worlds need them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec

from insight_cloud.backup import Catalogue, Drilled, Job, Policy, create
from insight_cloud.launch.probes import backups
from tests.backup.world import IDENTITY, LOCK, folder, programs
from tests.launch.world import Setup, World

__all__ = ["holding"]


def holding(
    *types: Any,
    stores: int = 1,
    hours: float = 0,
    drill: bool | None = None,
    encrypted: bool = True,
    policy: int = 3,
) -> Setup:
    """Backups of these types in so many stores, made `hours` ago, perhaps with a drill.

    With `policy` 0 nothing but the newest is kept, so an older one is past its time.
    """

    async def make(w: World) -> None:
        url = await w.database("embedded", "create table t (a int)", "insert into t values (1)")
        job = Job(
            "shop",
            url,
            tuple(folder(w.folder / f"store{number}") for number in range(stores)),
            programs=programs(),
            lock=LOCK if encrypted else None,
            identity=IDENTITY if encrypted else None,
            policy=Policy(days={}, at_least=1) if policy == 0 else Policy(),
        )
        for type_ in types:
            await create(job, type_)
        if drill is not None:
            for store in job.stores:
                done = Drilled(at=w.now, ok=drill, detail="restored", seconds=100.0)
                await Catalogue(store, job.name).record("drill", msgspec.json.encode(done))
        w.now += timedelta(hours=hours, minutes=2)
        w.target["backups"] = lambda: backups.document(job)

    return make
