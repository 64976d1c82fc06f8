"""Exit with 1 when a database has faults: a check for a pipeline or a monitor.

DATABASE_URL=postgresql://monitor@db/shop python tuning_check.py
"""

import asyncio
import os
import sys

from insight_cloud import tuning
from insight_cloud.core.report import Report


async def main() -> int:
    checks = await tuning.check(os.environ["DATABASE_URL"], tuning.Thresholds(unused_days=30))
    for check in checks:
        print(f"{check.status:4}  {check.name}  {check.detail}")
    return 1 if Report.of(checks).failed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
