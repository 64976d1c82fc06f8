"""Tests of `insight_cloud.ratelimit`."""
