"""Backups that are proven: made, read back, restored, compared; for any PostgreSQL.

job = Job("shop", "postgresql://backup@db/shop", (storage.open_store("file:///backups"),))
created = await create(job, "daily")  # in every store, read back, published last
held = (await Catalogue(job.stores[0], job.name).read()).newest_good()
backup = await opened(Catalogue(job.stores[0], job.name), held.id, job.identity)
await restore(backup, job.url, "shop_copy", programs=job.programs, parallel=2)
"""

from insight_cloud.backup import pruning, state
from insight_cloud.backup.announce import Announcer
from insight_cloud.backup.catalogue import Catalogue, Held, Holdings
from insight_cloud.backup.creation import create
from insight_cloud.backup.crypto import Identity, Lock, new_identity
from insight_cloud.backup.drills import Drilled, Fresh, drill
from insight_cloud.backup.job import Job, Notify, Progress
from insight_cloud.backup.load import Opened, opened
from insight_cloud.backup.manifest import Manifest, Type, type_of_day
from insight_cloud.backup.programs import Programs
from insight_cloud.backup.restoration import Restored, Target, inspect, restore
from insight_cloud.backup.retention import Policy
from insight_cloud.backup.verification import Level, verify
from insight_cloud.backup.writer import Created

__all__ = [
    "Announcer",
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
    "Manifest",
    "Notify",
    "Opened",
    "Policy",
    "Programs",
    "Progress",
    "Restored",
    "Target",
    "Type",
    "create",
    "drill",
    "inspect",
    "new_identity",
    "opened",
    "pruning",
    "restore",
    "state",
    "type_of_day",
    "verify",
]
