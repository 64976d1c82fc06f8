"""Backups that are proven: made, read back, restored, compared; for any PostgreSQL.

job = Job("shop", "postgresql://backup@db/shop", (storage.open_store("file:///backups"),))
created = await create(job, "daily")  # in every store, read back, published last
catalogue = Catalogue(job.stores[0], job.name)
held = (await catalogue.read()).newest_good()
backup = await opened(catalogue, held.id, job.identity)
await restore(backup, job.url, "shop_copy", programs=job.programs, parallel=2)
"""

from typing import TYPE_CHECKING

from insight_cloud.backup.settings import BackupSettings
from insight_cloud.core import later

if TYPE_CHECKING:
    from insight_cloud.backup import archive, pruning, state
    from insight_cloud.backup.announce import Announcer
    from insight_cloud.backup.archive import Archiver, Log
    from insight_cloud.backup.catalogue import Catalogue, Held, Holdings
    from insight_cloud.backup.cluster import base
    from insight_cloud.backup.creation import create
    from insight_cloud.backup.crypto import Identity, Lock, new_identity
    from insight_cloud.backup.drills import Drilled, Fresh, drill
    from insight_cloud.backup.job import Job, Notify, Progress, name_of, usual_parallel
    from insight_cloud.backup.load import Opened, opened
    from insight_cloud.backup.manifest import Manifest, Type, type_of_day
    from insight_cloud.backup.programs import Programs
    from insight_cloud.backup.recovery import Recovered, recover
    from insight_cloud.backup.restoration import Restored, Target, inspect, restore
    from insight_cloud.backup.retention import Policy
    from insight_cloud.backup.verification import Level, verify
    from insight_cloud.backup.writer import Created

__all__ = [
    "Announcer",
    "Archiver",
    "BackupSettings",
    "Catalogue",
    "Created",
    "Drilled",
    "Fresh",
    "Held",
    "Holdings",
    "Identity",
    "Job",
    "Level",
    "Lock",
    "Log",
    "Manifest",
    "Notify",
    "Opened",
    "Policy",
    "Programs",
    "Progress",
    "Recovered",
    "Restored",
    "Target",
    "Type",
    "archive",
    "base",
    "create",
    "drill",
    "inspect",
    "name_of",
    "new_identity",
    "opened",
    "pruning",
    "recover",
    "restore",
    "state",
    "type_of_day",
    "usual_parallel",
    "verify",
]

__getattr__ = later.names(
    __name__,
    {
        ".": "archive pruning state",
        "announce": "Announcer",
        "archive": "Archiver Log",
        "cluster": "base",
        "catalogue": "Catalogue Held Holdings",
        "creation": "create",
        "crypto": "Identity Lock new_identity",
        "drills": "Drilled Fresh drill",
        "job": "Job Notify Progress name_of usual_parallel",
        "load": "Opened opened",
        "manifest": "Manifest Type type_of_day",
        "programs": "Programs",
        "recovery": "Recovered recover",
        "restoration": "Restored Target inspect restore",
        "retention": "Policy",
        "verification": "Level verify",
        "writer": "Created",
    },
)
