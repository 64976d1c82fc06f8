"""What an operator may say about performance: every threshold that something is judged by."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, model_validator

from insight_cloud.tuning.thresholds import Thresholds

__all__ = ["PerformanceSettings"]


class PerformanceSettings(BaseModel):
    """From where on something is slow, large, old or unused, for `insight tune`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    query_mean_ms: float = Field(default=100, gt=0, le=3_600_000)
    """Milliseconds a statement may take on average; slower ones are a warning."""
    query_slow_ms: float = Field(default=1000, gt=0, le=3_600_000)
    """Milliseconds on average from which a statement is a failure."""
    query_calls: int = Field(default=5, ge=1)
    """Calls below which a slow statement is passed over: a one-off report is no habit."""
    unused_days: float = Field(default=14, ge=0, le=3650)
    """Days for which the use of an index must have been counted before it is called unused."""
    index_bytes: int = Field(default=1024 * 1024, ge=0)
    """Bytes below which an unused or duplicate index is not worth a word."""
    foreign_key_rows: int = Field(default=10_000, ge=0)
    """Rows from which on a foreign key needs an index."""
    bloat_percent: int = Field(default=40, ge=5, le=99)
    """Share of a table or index that is empty from which on it is bloat."""
    bloat_bytes: int = Field(default=10 * 1024 * 1024, ge=0)
    """Empty bytes below which that is not worth a word."""
    dead_percent: int = Field(default=20, ge=1, le=99)
    """Share of dead rows from which on a table should be vacuumed."""
    dead_rows: int = Field(default=10_000, ge=1)
    """Dead or changed rows below which a table is left to autovacuum."""
    sequence_percent: int = Field(default=70, ge=1, le=99)
    """Share of a sequence's numbers from which on it is near its end."""
    wraparound_transactions: int = Field(default=500_000_000, ge=1, le=2_000_000_000)
    """Age in transactions from which on wraparound is near; PostgreSQL stops at two billion."""
    idle_transaction_seconds: float = Field(default=300, gt=0)
    """Seconds for which a transaction may sit idle."""
    lock_wait_seconds: float = Field(default=30, gt=0)
    """Seconds for which a session may wait for a lock."""
    slot_bytes: int = Field(default=1024**3, ge=1)
    """Bytes of the log that an inactive replication slot may keep."""
    database_hit_percent: float = Field(default=95, ge=0, le=100)
    """Share of pages that PostgreSQL should find in its memory."""
    memory_bytes: int | None = Field(default=None, ge=64 * 1024 * 1024)
    """Memory of the database's machine; without it, only a local server's is known."""

    max_indexes: int = Field(default=24, ge=0, le=500)
    """New indexes that the advisor proposes at most."""
    advice_bytes: int | None = Field(default=None, ge=0)
    """Bytes that new indexes may take in all; without it, half of the tables' size."""
    write_percent: float = Field(default=200, ge=0)
    """How much dearer new indexes may make writing, in percent of what it costs now."""
    lock_timeout_seconds: float = Field(default=5, gt=0, le=3600)
    """Seconds for which a remedy waits for a lock before it gives up."""

    cache_hit_percent: float = Field(default=70, ge=0, le=100)
    """Share of look-ups that the cache should answer."""
    cache_memory_percent: float = Field(default=90, gt=0, le=100)
    """Share of `maxmemory` from which on Redis is nearly full."""
    cache_value_bytes: int = Field(default=1024 * 1024, ge=1)
    """Bytes from which on a key of the cache is a big one."""
    cache_slow_ms: float = Field(default=10, gt=0)
    """Milliseconds from which on a command of Redis is slow."""
    cache_forever_percent: float = Field(default=10, ge=0, le=100)
    """Share of keys of the cache's namespace that may have no time to live."""

    response_p95_seconds: float = Field(default=2, gt=0)
    """Seconds within which 95 of 100 requests are answered."""
    response_p99_seconds: float = Field(default=5, gt=0)
    """Seconds within which 99 of 100 requests are answered."""
    error_percent: float = Field(default=1, ge=0, le=100)
    """Share of requests that may end in an error of the server."""
    lcp_seconds: float = Field(default=2.5, gt=0)
    """Largest Contentful Paint of three page views in four."""
    inp_seconds: float = Field(default=0.2, gt=0)
    """Interaction to Next Paint of three page views in four."""
    fid_seconds: float = Field(default=0.1, gt=0)
    """First Input Delay of three page views in four; browsers have replaced it by INP."""
    cls_score: float = Field(default=0.1, gt=0)
    """Cumulative Layout Shift of three page views in four."""

    image_bytes: int = Field(default=200 * 1024, ge=1)
    """Bytes from which on an image is large as it is sent, at its full width."""
    image_saving_percent: float = Field(default=20, ge=0, le=100)
    """Share that the other formats must save before an image's lack of them is told."""

    memory_growth_bytes: int = Field(default=1024 * 1024, ge=1)
    """Bytes a minute from which on a service under even load has a leak."""

    reports: Path = Path("reports/performance")
    """Folder for the reports."""
    keep_reports: int = Field(default=30, ge=2, le=1000)
    """Reports of each kind that are kept; the oldest go."""

    @model_validator(mode="after")
    def _grow(self) -> PerformanceSettings:
        for low, high in (
            ("query_mean_ms", "query_slow_ms"),
            ("response_p95_seconds", "response_p99_seconds"),
        ):
            if getattr(self, low) > getattr(self, high):
                raise ValueError(f"{low} must not be above {high}")
        return self

    def thresholds(self) -> Thresholds:
        """Return what the rules of the database judge by."""
        names = Thresholds.__dataclass_fields__
        return Thresholds(**{name: getattr(self, name) for name in names})
