from __future__ import annotations

import dataclasses

import pytest

from insight_cloud.core.errors import Refused, SettingsError, Unavailable
from insight_cloud.tuning import redis, weights
from insight_cloud.tuning.redis import CacheFacts, Key, SlowCommand
from tests.redis import redis_server

HEALTHY = CacheFacts(
    version="7",
    latency_seconds=0.001,
    used_bytes=10,
    max_bytes=1000,
    policy="volatile-lru",
    evicted=0,
    hits=9000,
    misses=1000,
    fragmentation=1.1,
    rejected=0,
    clients=3,
    total_keys=100,
    keys=tuple(Key(f"insight:{number}", 100, forever=False) for number in range(50)),
)
LIMITS = weights.CacheLimits()


async def test_a_real_redis_is_judged_by_what_is_in_it() -> None:
    with redis_server("--maxmemory", "100mb", "--maxmemory-policy", "volatile-lru") as server:
        server.command("CONFIG", "SET", "slowlog-log-slower-than", "0")
        for number in range(30):
            server.command("SET", f"insight:{number}", "x" * 10)
        server.command("SETEX", "insight:big", "100", "x" * 40_000)
        server.command("SET", "other:1", "x")
        server.command("INFO")
        facts = await redis.read(server.url, prefix="insight:")
        limits = weights.CacheLimits(value_bytes=30_000, slow_ms=0.0001)
        found = {(one.kind, one.target) for one in weights.cache(facts, limits)}
    assert facts.total_keys == 32
    assert len(facts.keys) == 31
    assert ("big_keys", "insight:big") in found
    assert {kind for kind, _ in found} == {"big_keys", "keys_without_ttl", "slow_commands"}


def test_a_healthy_cache_gives_no_alarm() -> None:
    assert weights.cache(HEALTHY, LIMITS) == []


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"max_bytes": 0}, "policy"),
        ({"used_bytes": 950}, "memory"),
        ({"evicted": 50}, "evictions"),
        ({"misses": 9000}, "hit_rate"),
        ({"fragmentation": 3.0, "used_bytes": 2**27, "max_bytes": 2**30}, "fragmentation"),
        ({"rejected": 1}, "connections"),
        ({"latency_seconds": 0.5}, "latency"),
        ({"keys": (*HEALTHY.keys[:20], *(Key("k", 1, forever=True),) * 9)}, "keys_without_ttl"),
        ({"keys": (Key("k", 2**21, forever=False),)}, "big_keys"),
        ({"slow": (SlowCommand("KEYS", 50),)}, "slow_commands"),
    ],
)
def test_each_fault_is_told(change: dict[str, object], kind: str) -> None:
    facts = dataclasses.replace(HEALTHY, **change)  # type: ignore[arg-type]
    assert [one.kind for one in weights.cache(facts, LIMITS)] == [kind]


def test_what_could_not_be_seen_is_said() -> None:
    facts = dataclasses.replace(HEALTHY, slow=None, hits=1, misses=0, keys=())
    unseen = weights.unseen(facts)
    assert set(unseen) == {"slow_commands", "hit_rate", "big_keys", "keys_without_ttl"}


async def test_a_redis_that_is_away_or_closed_is_told() -> None:
    with redis_server() as server:
        server.command("CONFIG", "SET", "requirepass", "right")
        with pytest.raises(Refused, match="does not let us in"):
            await redis.read(server.url, prefix="")
        server.kill()
        with pytest.raises(Unavailable, match="does not answer"):
            await redis.read(server.url, prefix="")
    with pytest.raises(SettingsError, match="cannot be read"):
        await redis.read("http://x:secret@y", prefix="")
