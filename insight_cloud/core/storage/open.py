"""From a URL and credentials to an open store."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from insight_cloud.core.storage.address import parse
from insight_cloud.core.storage.disk import Disk
from insight_cloud.core.storage.store import Store

__all__ = ["Credentials", "Limits", "open_store"]


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who we are at the stores; only those of the URL's provider are used.

    `machine_identity` lets the machine vouch for us where nothing else is given: an instance
    role, a workload identity, or what the provider's own environment variables say.
    """

    aws_access_key_id: str = ""
    aws_secret_access_key: str = field(default="", repr=False)
    aws_session_token: str = field(default="", repr=False)
    aws_region: str = ""
    aws_endpoint_url: str = ""
    azure_connection_string: str = field(default="", repr=False)
    google_credentials: Path | None = None
    machine_identity: bool = False


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a store in the network may take.

    A request (one part of an upload, one range of a download) ends after `request_seconds`.
    What fails for a passing reason is tried again up to `retries` times, with growing pauses,
    and not after `retry_seconds`.
    """

    connect_seconds: float = 5.0
    request_seconds: float = 120.0
    retries: int = 6
    retry_seconds: float = 120.0


def open_store(
    url: str,
    credentials: Credentials | None = None,
    *,
    limits: Limits | None = None,
    private: bool = False,
) -> Store:
    """Open the store at `url`; nothing is contacted or made yet.

    `private` keeps a directory's files from other users. The forms of `url` are those of
    `address.parse`.

    Raises:
        SettingsError: the URL is wrong, or credentials are missing or unreadable.
    """
    address = parse(url)
    if address.kind == "file":
        return Disk(Path(address.container), private=private)
    from insight_cloud.core.storage import cloud  # its library is 20 MB: not for a directory

    return cloud.open_cloud(address, credentials or Credentials(), limits or Limits())
