"""What the rules of the database judge by; apart from the settings, for those who have others."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Thresholds"]


@dataclass(frozen=True, slots=True)
class Thresholds:
    """As described in `PerformanceSettings`, with the same defaults."""

    query_mean_ms: float = 100
    query_slow_ms: float = 1000
    query_calls: int = 5
    unused_days: float = 14
    index_bytes: int = 1024 * 1024
    foreign_key_rows: int = 10_000
    bloat_percent: int = 40
    bloat_bytes: int = 10 * 1024 * 1024
    dead_percent: int = 20
    dead_rows: int = 10_000
    sequence_percent: int = 70
    wraparound_transactions: int = 500_000_000
    idle_transaction_seconds: float = 300
    lock_wait_seconds: float = 30
    slot_bytes: int = 1024**3
    database_hit_percent: float = 95
    memory_bytes: int | None = None
