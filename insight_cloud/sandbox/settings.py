"""What one run in the sandbox may use."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["SandboxSettings"]

_MIB = 1024 * 1024


class SandboxSettings(BaseModel):
    """The sandbox in which the server analyses code: what one run may use."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    seconds: float = Field(default=300, ge=1, le=3600)
    """Seconds from its start to its end."""
    cpu_seconds: int = Field(default=240, ge=1, le=3600)
    """CPU seconds of each process."""
    memory_bytes: int = Field(default=1024 * _MIB, ge=64 * _MIB)
    """Memory of all its processes together, where control groups can be made; else of each."""
    disk_bytes: int = Field(default=640 * _MIB, ge=16 * _MIB)
    """Its only writable place, which is in memory and gone afterwards."""
    processes: int = Field(default=128, ge=8, le=4096)
    """Processes and threads at once."""
    uid: int = Field(default=64231, ge=1, le=2**31 - 1)
    """User (and group) that it runs as when the service is root; it needs no account."""
