"""Back any PostgreSQL up, prove it by a restore into a scratch database, and say what is old.

DATABASE_URL=postgresql://backup@db.example.com/shop python backup_job.py file:///backups
"""

import asyncio
import os
import sys

from insight_cloud.backup import Catalogue, Job, create, pruning, verify
from insight_cloud.core.storage import open_store


async def main() -> int:
    async with open_store(sys.argv[1], private=True) as store:
        job = Job("shop", os.environ["DATABASE_URL"], (store,))
        created = await create(job, "daily")
        catalogue = Catalogue(store, job.name)
        held = (await catalogue.read()).find(created.manifest.id)
        checks = await verify(job, catalogue, held, level="restore")
        for check in checks:
            print(f"{check.status:4}  {check.name}  {check.detail}")
        (found,) = await pruning.plan(job, [await catalogue.read()])
        print(found.plan)
    return int(any(check.status != "pass" for check in checks))


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
