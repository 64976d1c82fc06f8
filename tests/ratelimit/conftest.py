"""The shared Redis servers."""

from tests.redis import redis_cluster_fixture, redis_server_fixture

__all__ = ["redis_cluster_fixture", "redis_server_fixture"]
