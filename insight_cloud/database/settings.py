"""What an operator may say about the database."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr

__all__ = ["DatabaseSettings"]


class DatabaseSettings(BaseModel):
    """PostgreSQL: where it is, how many connections, and how long anything may take."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: SecretStr | None = Field(
        None,
        description="`postgresql://USER:PASSWORD@HOST/NAME`. Without it, the embedded PostgreSQL "
        "18 serves. A server beyond this machine is asked for a certificate that verifies, "
        "unless the URL has its own `sslmode`.",
    )
    directory: Path | None = Field(
        None,
        description="Where the embedded server keeps its data. Without it, a folder of the user's "
        "own data directory.",
    )
    min_size: int | None = Field(
        None,
        ge=0,
        le=1000,
        description="Connections kept open. Without it, 5 in production and 2 in development.",
    )
    max_size: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="Connections at most, in each process. Without it, 20 in production and 10 in "
        "development.",
    )
    max_idle_seconds: float = Field(
        30, gt=0, description="Seconds after which a connection beyond `min_size` is closed."
    )
    max_lifetime_seconds: float = Field(
        3600, gt=0, description="Seconds after which a connection is replaced by a new one."
    )
    acquire_timeout_seconds: float = Field(
        5, gt=0, description="Seconds that a request waits for a connection before it is told 503."
    )
    statement_timeout_seconds: float = Field(
        30, gt=0, description="Seconds after which the server stops a statement."
    )
    slow_warn_seconds: float = Field(
        1, ge=0, description="Seconds from which on a statement is logged as a warning."
    )
    slow_error_seconds: float = Field(
        5, ge=0, description="Seconds from which on a statement is logged as an error."
    )
    pgbouncer: bool = Field(
        False,
        description="Whether the URL leads to PgBouncer in transaction mode: nothing is prepared, "
        "and the statement timeout is left to the server's role.",
    )
