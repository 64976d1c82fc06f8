"""`python -m insight_cloud.core.schedule`: what cron and launchd start."""

import sys

from insight_cloud.core.schedule.runner import main

sys.exit(main())
