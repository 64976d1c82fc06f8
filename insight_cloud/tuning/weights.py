"""Findings about the cache, images and bundles: from numbers to words. Pure.

The numbers of images and bundles come from other components; here they are only judged.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from insight_cloud.core.report import Check
from insight_cloud.tuning.finding import Finding, Severity
from insight_cloud.tuning.redis import CacheFacts

__all__ = [
    "BUNDLE_KINDS",
    "CACHE_KINDS",
    "IMAGE_KINDS",
    "CacheLimits",
    "Image",
    "bundle",
    "cache",
    "images",
    "unseen",
]

CACHE_KINDS = (
    "latency", "memory", "policy", "evictions", "hit_rate", "fragmentation", "connections",
    "big_keys", "keys_without_ttl", "slow_commands",
)  # fmt: skip
IMAGE_KINDS = ("large", "unoptimized")
BUNDLE_KINDS = ("budget", "duplicate", "unused")
_ENOUGH_LOOKUPS = 1000
_ENOUGH_KEYS = 20
_FRAGMENTED = 1.8
_FRAGMENTED_FROM = 64 * 1024 * 1024
_SLOW_PING_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class CacheLimits:
    """From where on something is wrong with the cache; as in `PerformanceSettings`."""

    hit_percent: float = 70
    memory_percent: float = 90
    value_bytes: int = 1024 * 1024
    slow_ms: float = 10
    forever_percent: float = 10


def cache(facts: CacheFacts, limits: CacheLimits) -> list[Finding]:
    """Judge a Redis."""
    found = [*_memory(facts, limits), *_use(facts, limits), *_keys(facts, limits)]
    if facts.latency_seconds >= _SLOW_PING_SECONDS:
        milliseconds = facts.latency_seconds * 1000
        found.append(
            Finding(
                "latency",
                "PING",
                f"takes {milliseconds:.0f} ms: each look-up waits that long",
                evidence={"ms": round(milliseconds, 2)},
                remedy="put Redis beside the service; look at its slow commands and at swapping",
            )
        )
    return found


def _memory(facts: CacheFacts, limits: CacheLimits) -> Iterable[Finding]:
    if not facts.max_bytes:
        yield Finding(
            "policy",
            "maxmemory",
            "is not set: the cache grows until the system ends it",
            remedy="CONFIG SET maxmemory 256mb (and in redis.conf), with a policy of volatile-lru",
        )
    elif facts.used_bytes * 100 >= limits.memory_percent * facts.max_bytes:
        full = facts.policy == "noeviction"
        yield Finding(
            "memory",
            "maxmemory",
            f"{facts.used_bytes / facts.max_bytes:.0%} is used"
            + (", and then writes are refused" if full else ""),
            "fail" if full else "warn",
            evidence={"used": facts.used_bytes, "max": facts.max_bytes, "policy": facts.policy},
            remedy="more memory, shorter times to live, or smaller values",
        )
    if facts.max_bytes and facts.policy.startswith("allkeys"):
        yield Finding(
            "policy",
            "maxmemory-policy",
            f"is {facts.policy}: rate limits in the same Redis may be evicted, and so forgotten",
            "advice",
            remedy="CONFIG SET maxmemory-policy volatile-lru, or a Redis of its own for limits",
        )
    if facts.fragmentation >= _FRAGMENTED and facts.used_bytes >= _FRAGMENTED_FROM:
        yield Finding(
            "fragmentation",
            "memory",
            f"{facts.fragmentation:.1f} times what is used is held",
            evidence={"ratio": facts.fragmentation},
            remedy="CONFIG SET activedefrag yes, or restart it at a quiet hour",
        )


def _use(facts: CacheFacts, limits: CacheLimits) -> Iterable[Finding]:
    asked = facts.hits + facts.misses
    if asked >= _ENOUGH_LOOKUPS and facts.hits * 100 < limits.hit_percent * asked:
        yield Finding(
            "hit_rate",
            "keyspace",
            f"{facts.hits / asked:.1%} of {asked:,} look-ups found something",
            evidence={"hits": facts.hits, "misses": facts.misses},
            remedy="longer times to live; more memory where keys are evicted",
        )
    if facts.evicted and facts.evicted * 20 >= max(1, facts.total_keys):
        yield Finding(
            "evictions",
            "keyspace",
            f"{facts.evicted:,} keys were evicted, and {facts.total_keys:,} are there",
            evidence={"evicted": facts.evicted},
            remedy="more memory, or shorter times to live",
        )
    if facts.rejected:
        yield Finding(
            "connections",
            "maxclients",
            f"{facts.rejected:,} connections were refused",
            "fail",
            evidence={"rejected": facts.rejected, "clients": facts.clients},
            remedy="one client a process; raise maxclients; look for leaking connections",
        )
    slow = [one for one in facts.slow or () if one.milliseconds >= limits.slow_ms]
    if slow:
        worst = max(slow, key=lambda one: one.milliseconds)
        yield Finding(
            "slow_commands",
            worst.name,
            f"took {worst.milliseconds:.0f} ms, and {len(slow) - 1} more were slow",
            evidence={"commands": sorted({one.name for one in slow})},
            remedy="KEYS and whole collections block everybody: use SCAN, and smaller values",
        )


def _keys(facts: CacheFacts, limits: CacheLimits) -> Iterable[Finding]:
    big = sorted((k for k in facts.keys if k.bytes >= limits.value_bytes), key=lambda k: -k.bytes)
    for key in big[:10]:
        yield Finding(
            "big_keys",
            key.name,
            f"{key.bytes / 2**20:.1f} MiB: moving it holds everybody up",
            evidence={"bytes": key.bytes},
            remedy="cache parts of it, or the page that is made of it, compressed",
        )
    forever = [key for key in facts.keys if key.forever]
    share = 100 * len(forever) / max(1, len(facts.keys))
    if len(facts.keys) >= _ENOUGH_KEYS and share > limits.forever_percent:
        yield Finding(
            "keys_without_ttl",
            forever[0].name,
            f"and {len(forever) - 1} more of {len(facts.keys)} keys never expire",
            evidence={"share": round(share, 1), "sample": len(facts.keys)},
            remedy="give them a time to live, or they stay until the memory is full",
        )


def unseen(facts: CacheFacts) -> dict[str, str]:
    """What could not be looked at, and why."""
    found = {}
    if facts.slow is None:
        found["slow_commands"] = "the server does not let us read its slow log"
    if facts.hits + facts.misses < _ENOUGH_LOOKUPS:
        found["hit_rate"] = f"only {facts.hits + facts.misses:,} look-ups so far"
    if not facts.keys:
        found["big_keys"] = found["keys_without_ttl"] = "there are no keys of ours"
    return found


# -- images and bundles ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Image:
    """An image: bytes of the original, and of the smallest of its width; None if not made."""

    name: str
    bytes: int
    best_bytes: int | None


def images(found: Sequence[Image], *, large_bytes: int, saving_percent: float) -> list[Finding]:
    """Judge a folder of images as it is sent."""
    findings = []
    for image in found:
        sent = image.bytes if image.best_bytes is None else image.best_bytes
        if image.best_bytes is None:
            findings.append(
                Finding(
                    "unoptimized",
                    image.name,
                    f"{image.bytes / 1024:,.0f} KiB are sent as they are, in one width",
                    evidence={"bytes": image.bytes},
                    remedy="insight images optimize FOLDER",
                )
            )
        if image.best_bytes is not None and sent >= large_bytes:
            saved = 100 * (1 - sent / max(1, image.bytes))
            findings.append(
                Finding(
                    "large",
                    image.name,
                    f"{sent / 1024:,.0f} KiB in its best format, {saved:.0f} % saved",
                    "warn" if saved < saving_percent else "advice",
                    evidence={"bytes": image.bytes, "best_bytes": sent},
                    remedy="fewer pixels, a lower quality, or another picture",
                )
            )
    return findings


def bundle(checks: Iterable[Check]) -> list[Finding]:
    """Turn what `assets` reports about budgets and dead files into findings."""
    found = []
    for check in checks:
        if check.status in {"warn", "fail"}:
            kind = _BUNDLE.get(check.name.rpartition(".")[2], "budget")
            severity: Severity = "fail" if check.status == "fail" else "warn"
            found.append(
                Finding(kind, check.name, check.detail, severity, remedy=_BUNDLE_REMEDIES[kind])
            )
    return found


_BUNDLE = {"unused": "unused", "duplicates": "duplicate"}
_BUNDLE_REMEDIES = {
    "unused": "remove the files that nobody names",
    "duplicate": "keep one of them, or it is loaded twice",
    "budget": "load less on the first page: split by route, drop a library, load later",
}
