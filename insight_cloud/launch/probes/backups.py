"""Reads what the backup stores hold, as the wiring of this program knows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from insight_cloud.launch.target import NotRun, Target

__all__ = ["document", "read_backups"]


async def read_backups(target: Target, parameters: Mapping[str, Any]) -> Any:
    """`stores`, each with its newest good backup; `same` says whether all hold the same one.

    With `drill` the item is not run before a drill was made.
    """
    if target.backups is None:
        raise NotRun("no backup store is known: set backup.stores in insight.toml")
    found = await target.once("backups", target.backups)
    if not any(store["good"] for store in found["stores"]) and not parameters.get("anyway"):
        raise NotRun("the stores hold no good backup of this database")
    if parameters.get("drill") and not any(store["drill"] for store in found["stores"]):
        raise NotRun("no drill was made: run `insight backup drill`")
    return found


async def document(job: Any) -> dict[str, Any]:
    """What the catalogues of `job`, a `backup.Job`, say, as data."""
    from insight_cloud.backup import retention
    from insight_cloud.backup.catalogue import Catalogue
    from insight_cloud.core.errors import InsightError

    now = job.clock()
    stores: list[dict[str, Any]] = []
    newest: list[str | None] = []
    for store in job.stores:
        catalogue = Catalogue(store, job.name)
        try:
            holdings = await catalogue.read()
            drilled = await _drill(catalogue)
        except InsightError as error:
            stores.append({"store": store.url, "problem": str(error), "good": 0, "drill": None})
            newest.append(None)
            continue
        good = [held for held in holdings.logical if held.good]
        newest.append(good[0].id if good else None)
        decisions = retention.decide(
            [held.entry() for held in holdings.logical], policy=job.policy, now=now
        )
        stores.append(
            {
                "store": store.url,
                "good": len(good),
                "bad": [held.id for held in holdings.backups if not held.good],
                "newest": good[0].id if good else None,
                "newest_at": good[0].at.isoformat() if good else None,
                "encrypted": bool(good and good[0].manifest and good[0].manifest.encryption),
                "newest_by_type": _by_type(good),
                "past_retention": [d.entry.id for d in decisions if not d.keep],
                "drill": drilled,
            }
        )
    return {
        "stores": stores,
        "count": len(stores),
        "same": len(set(newest)) == 1 and newest[0] is not None,
    }


def _by_type(good: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    for held in good:
        found.setdefault(held.type, held.at.isoformat())
    return found


async def _drill(catalogue: Any) -> dict[str, Any] | None:
    from insight_cloud.backup import drills

    last = await drills.last(catalogue)
    if last is None:
        return None
    return {
        "at": last.at.isoformat(),
        "ok": last.ok,
        "detail": last.detail,
        "backup": last.backup_id,
        "seconds": last.seconds,
    }
