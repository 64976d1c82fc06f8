"""`python -m insight_cloud.cli`: the same command where no script is installed."""

from insight_cloud.cli import main

main()
