"""What is backed up, where to, and how: the plain data that every function here works from."""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, TypeAlias

from insight_cloud.backup.child import parameters
from insight_cloud.backup.crypto import Identity, Lock
from insight_cloud.backup.dump import OWN_PART_BYTES
from insight_cloud.backup.programs import Programs
from insight_cloud.backup.retention import Policy
from insight_cloud.core.errors import SettingsError
from insight_cloud.core.storage import PLAIN, Attributes, Store

__all__ = ["Job", "Notify", "Progress", "Report", "name_of", "usual_parallel"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")

Notify: TypeAlias = Callable[[Literal["failed", "succeeded"], str, str], Awaitable[None]]
"""Called with what happened, one line for people, and the details."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far something is: bytes of the database, or of the backup, `total` estimated.

    Without a `total` it is a step of which nobody knows how long it takes.
    """

    what: str
    done: int = 0
    total: int = 0


Report: TypeAlias = Callable[[Progress], None]


def _now() -> datetime:
    return datetime.now(UTC)


def usual_parallel() -> int:
    """Parts at once: one for each processor that this process may use, at least 2, at most 8."""
    affinity = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if affinity else os.cpu_count() or 1
    return max(2, min(8, cores))


@dataclass(frozen=True)
class Job:
    """One database and its stores.

    `name` is the folder in every store. `lock` encrypts what is written; `identity` opens what
    is read, and may be missing on the machine that writes. `attributes` say by store how
    objects are kept, for example `Attributes(storage_class="STANDARD_IA")`.

    Raises:
        SettingsError: a name that is no folder, or no store at all.
    """

    name: str
    url: str = field(repr=False)
    stores: tuple[Store, ...]
    programs: Programs = field(default_factory=Programs, repr=False)
    lock: Lock | None = field(default=None, repr=False)
    identity: Identity | None = field(default=None, repr=False)
    attributes: Mapping[Store, Attributes] = field(default_factory=dict, repr=False)
    policy: Policy = field(default_factory=Policy)
    parallel: int = field(default_factory=usual_parallel)
    level: int = 3
    shard_bytes: int = OWN_PART_BYTES
    lock_seconds: float = 30.0
    clock: Callable[[], datetime] = _now

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise SettingsError(
                f"{self.name!r} cannot be the name of a job: letters, digits, '_', '.' and '-'"
            )
        if not self.stores:
            raise SettingsError("there is no store for backups: set backup.stores")

    def attributes_of(self, store: Store) -> Attributes:
        """How objects are kept in `store`."""
        return self.attributes.get(store, PLAIN)


def name_of(url: str) -> str:
    """The name of a job by default: that of the database, with what a folder cannot hold left out.

    Raises:
        SettingsError: the URL is none.
    """
    found = parameters(url)
    database = found.get("dbname") or found.get("user") or "postgres"
    return re.sub(r"[^A-Za-z0-9_.-]", "_", database).lstrip("_.-")[:63] or "postgres"
