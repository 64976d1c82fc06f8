"""PostgreSQL's settings judged by formulas whose sources are named. Pure.

Sources: the PostgreSQL manual, chapters 19.4 (resource consumption) and 19.5 (write-ahead log),
for `shared_buffers`, `effective_cache_size` and what is unsafe; the formulas of pgtune (MIT) for
`maintenance_work_mem` and `work_mem`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from insight_cloud.tuning.finding import Finding

__all__ = ["memory", "unsafe", "wanted"]

_MIB = 1024 * 1024
_UNSAFE = {
    "fsync": ("off", "a crash can lose the whole database"),
    "full_page_writes": ("off", "a crash can leave torn pages"),
    "zero_damaged_pages": ("on", "damaged pages are silently emptied"),
    "autovacuum": ("off", "dead rows stay, and transaction numbers run out"),
    "track_counts": ("off", "autovacuum does not know where to go"),
    "enable_seqscan": ("off", "the planner may not choose for the whole server"),
    "enable_indexscan": ("off", "the planner may not choose for the whole server"),
}


def unsafe(settings: Mapping[str, str]) -> Iterator[Finding]:
    """Settings that endanger data or make the planner blind."""
    for name, (bad, why) in _UNSAFE.items():
        if settings.get(name) == bad:
            good = "on" if bad == "off" else "off"
            yield Finding(
                "setting.unsafe",
                name,
                f"is {bad}: {why}",
                evidence={"value": bad},
                remedy=f"alter system set {name} = {good}; select pg_reload_conf()",
            )


def wanted(memory_bytes: int, connections: int) -> dict[str, tuple[int, int, int, str]]:
    """For each setting the least, the best and the most in bytes, and why."""
    shared = memory_bytes // 4
    upkeep = min(memory_bytes // 16, 2 * 1024 * _MIB)
    work = max(4 * _MIB, (memory_bytes - shared) // (3 * max(1, connections)))
    return {
        "shared_buffers": (
            memory_bytes // 16,
            shared,
            memory_bytes * 2 // 5,
            "a quarter of memory",
        ),
        "effective_cache_size": (
            memory_bytes * 2 // 5,
            memory_bytes * 3 // 4,
            memory_bytes,
            "what the system keeps of files: about three quarters of memory",
        ),
        "maintenance_work_mem": (min(upkeep, 64 * _MIB), upkeep, memory_bytes // 4, "a sixteenth"),
        "work_mem": (_MIB, work, max(4 * work, 16 * _MIB), "what is left, for every connection"),
    }


def memory(settings: Mapping[str, str], memory_bytes: int) -> Iterator[Finding]:
    """Advice where a setting is far from what its formula says. Choices, not faults."""
    connections = int(settings.get("max_connections", "100"))
    for name, (least, best, most, why) in wanted(memory_bytes, connections).items():
        value = settings.get(name)
        if value is None or least <= float(value) <= most:
            continue
        restart = " and a restart" if name == "shared_buffers" else "; select pg_reload_conf()"
        yield Finding(
            "setting.memory",
            name,
            f"is {float(value) / _MIB:,.0f} MiB, and {best / _MIB:,.0f} MiB would be usual: {why}",
            "advice",
            evidence={"bytes": int(float(value)), "usual": best, "memory": memory_bytes},
            remedy=f"alter system set {name} = '{best // _MIB}MB'{restart}",
        )
