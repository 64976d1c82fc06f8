"""The test servers themselves: they answer, die, hang and come back as a test asks."""

from __future__ import annotations

import pytest

from tests.redis import redis_cluster, redis_server


def test_a_server_answers_dies_and_comes_back_on_its_port() -> None:
    with redis_server() as server:
        assert server.command("SET", "a", "1") == "+OK\r\n"
        server.kill()
        with pytest.raises(ConnectionRefusedError):
            server.command("PING")
        server.restart()
        assert server.command("GET", "a") == "$-1\r\n"


def test_a_hung_server_goes_on_where_it_was() -> None:
    with redis_server() as server:
        server.command("SET", "a", "1")
        server.stop()
        with pytest.raises(TimeoutError):
            server.command("PING")
        server.resume()
        assert server.command("GET", "a") == "$1\r\n1\r\n"


def test_a_cluster_covers_every_slot_with_three_primaries() -> None:
    with redis_cluster() as cluster:
        assert len(cluster.primaries()) == 3
        assert "cluster_slots_ok:16384" in cluster.nodes[5].command("CLUSTER", "INFO")
