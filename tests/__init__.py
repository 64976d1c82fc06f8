"""The tests mirror `insight_cloud/` path for path."""
