"""What an operator may say about the cache."""

from __future__ import annotations

from datetime import timedelta

from pydantic import BaseModel, ConfigDict, Field, SecretStr

__all__ = ["CacheSettings"]


class CacheSettings(BaseModel):
    """Where Redis or Upstash is; without either the cache is in the process."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    url: SecretStr | None = None
    """Redis URL: `redis://`, `rediss://` (TLS) or `unix://`."""
    cluster: bool = False
    """Whether `url` names a node of a Redis Cluster."""
    upstash_url: str | None = None
    """Upstash REST endpoint; used when there is no `url`."""
    upstash_token: SecretStr | None = None
    """Upstash REST token, with the right to write."""
    namespace: str = Field(default="insight", pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    """Every name in the store begins with this; deployments that share a store differ in it."""
    ttl: timedelta = Field(default=timedelta(minutes=5), gt=timedelta(0))
    """How long a value is served when the code does not say."""
    stale: timedelta = Field(default=timedelta(minutes=5), gt=timedelta(0))
    """How much longer a value is kept for the case that computing it anew fails."""
    memory_bytes: int = Field(default=64 * 2**20, ge=2**20)
    """Bytes that the store in the process may take, where there is no Redis."""
    local_bytes: int = Field(default=32 * 2**20, ge=0)
    """Bytes of copies that each process keeps of what is in the store; 0 keeps none."""
    timeout_seconds: float = Field(default=0.2, gt=0, le=10)
    """Seconds that a request waits for the store before it goes on without it."""
    max_connections: int = Field(default=32, ge=1, le=1000)
    """Connections to Redis at most, in each process (and for each node of a cluster)."""
