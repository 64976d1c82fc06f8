"""What an operator may say about backups."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr

__all__ = ["BackupSettings"]


class BackupSettings(BaseModel):
    """Where backups go, who can read them, how long they stay.

    A store is `file:///directory`, `s3://bucket/prefix`, `az://container/prefix` or
    `gs://bucket/prefix`; its credentials stand in the section `storage`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    stores: tuple[str, ...] = ()
    """Every backup goes to all of them; without any, into a folder of this machine."""
    name: str | None = None
    """The folder in the stores; by default the name of the database."""
    recipients: tuple[str, ...] = ()
    """Encrypt for the holders of these age keys (`age1…`, or an SSH public key)."""
    passphrase: SecretStr | None = None
    """Encrypt by a passphrase instead; opening takes 1 GiB of memory and some seconds."""
    identity_file: Path | None = None
    """File with the age identity that opens backups; better not kept on the server."""
    s3_storage_class: str = "STANDARD_IA"
    """How S3 keeps backups; such a class bills at least 30 days."""
    azure_tier: str = "Cool"
    """How Azure keeps backups; it bills at least 30 days."""
    gcs_storage_class: str = "NEARLINE"
    """How Google Cloud keeps backups; it bills at least 30 days."""
    keep_daily_days: int = Field(default=7, ge=0)
    """Days for which daily backups are kept."""
    keep_weekly_days: int = Field(default=28, ge=0)
    """Days for which weekly backups are kept."""
    keep_monthly_days: int = Field(default=365, ge=0)
    """Days for which monthly backups are kept."""
    keep_manual_days: int = Field(default=30, ge=0)
    """Days for which backups made by hand are kept."""
    keep_at_least: int = Field(default=3, ge=1)
    """Newest good backups that are kept in every store, however old they are."""
    daily: str = "daily 02:00"
    """When the daily backup is made, by this machine's clock; `never` for not at all."""
    weekly: str = "weekly sunday 03:00"
    """When the weekly backup is made; `never` for not at all."""
    monthly: str = "monthly 1 04:00"
    """When the monthly backup is made; `never` for not at all."""
    base: str = "never"
    """When the cluster is copied for `restore --at`, such as `weekly sunday 05:00`."""
    parallel: int | None = Field(default=None, ge=1, le=64)
    """Parts that are dumped or restored at once; by default one a processor, 2 to 8."""
    level: int = Field(default=3, ge=1, le=19)
    """How hard zstd tries."""
    lock_seconds: float = Field(default=30, gt=0)
    """Seconds to wait for a table that somebody is changing, before the dump begins anew."""
    digests: bool = False
    """Add a hash of every table's rows to backups, for drills; about doubles the work."""
    programs: tuple[Path, ...] = ()
    """Folders of PostgreSQL's programs, in place of the usual ones."""
    oldest_hours: int = Field(default=26, ge=1)
    """Hours after which the newest good backup of a store is too old, and `status` fails."""
    ping_url: SecretStr | None = None
    """Dead man's switch: called after a success, with `/fail` at its end after a failure."""
    notify_success: bool = False
    """Whether the operator is told of successes, too."""
    archive_directory: Path | None = None
    """Where the archive keeps what is not in the stores yet; by default beside the database."""
    archive_seconds: float = Field(default=3, ge=0.5, le=60)
    """Seconds after which new log is in the stores at the latest: what a disaster may cost."""
    archive_days: int = Field(default=7, ge=1)
    """Days back to which `restore --at` reaches."""
