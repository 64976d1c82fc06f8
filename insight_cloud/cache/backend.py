"""What a store must be able to do, so that everything above it is written once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Protocol

__all__ = ["Backend", "OnChange"]

OnChange = Callable[[str | None], None]
"""Called with the name of an entry that changed, or None: anything may have changed."""


class Backend(Protocol):
    """Bytes under names, each with an end of life.

    Every method ends in time or raises `Unavailable` (no answer), `Refused` (the store said
    no: full, read-only, ...) or `Conflict` (the entry is of another kind). Nothing else
    escapes. Every entry expires: there is no way to store one for ever.
    """

    @property
    def coherent(self) -> bool:
        """Whether each change by anybody reaches `on_change`, so that copies may be kept."""

    @property
    def shared(self) -> bool:
        """Whether other processes see the same entries, so that what they forget is forgotten."""

    async def open(self, prefix: str, on_change: OnChange) -> None:
        """Begin to announce changes of names that start with `prefix`; returns at once."""

    async def close(self) -> None:
        """End connections and tasks."""

    async def ping(self) -> None:
        """Return when the store answers."""

    async def get(self, name: str) -> bytes | None:
        """The bytes under `name`."""

    async def get_many(self, names: Sequence[str]) -> list[bytes | None]:
        """The bytes under each of `names`, in their order."""

    async def set(self, name: str, value: bytes, ttl_ms: int) -> None:
        """Store `value`, whatever was there."""

    async def set_many(self, values: Mapping[str, bytes], ttl_ms: int) -> None:
        """Store several values, not atomically."""

    async def add(self, name: str, value: bytes, ttl_ms: int) -> bool:
        """Store `value` unless there is something; say whether it was stored."""

    async def renew(self, name: str, value: bytes, ttl_ms: int) -> bool:
        """Prolong the life of `name` while it holds `value`; say whether it did."""

    async def remove(self, name: str, value: bytes) -> bool:
        """Delete `name` while it holds `value`; say whether it did."""

    async def settle(
        self, name: str, value: bytes, ttl_ms: int, *, lock: str, token: bytes
    ) -> bool:
        """Store `value` and delete `lock`, both only while `lock` holds `token`; atomic.

        `lock` begins with `name`, so that both live on the same node of a cluster.
        """

    async def delete(self, names: Sequence[str]) -> None:
        """Delete `names`, where they are."""

    async def increment(self, name: str, by: int, ttl_ms: int) -> int:
        """Add to a decimal integer, 0 if absent; a new one gets the time to live; atomic."""

    async def touch(self, name: str, head: bytes, ttl_ms: int) -> bool:
        """Prolong `name`, and overwrite its first bytes by `head` where these begin alike.

        The first byte decides: a counter has no head. Says whether there was an entry; atomic.
        """

    async def remaining_ms(self, name: str) -> int | None:
        """How long `name` still lives, or None when there is none."""

    def scan(self, pattern: str) -> AsyncIterator[str]:
        """The names that match a Redis glob (`*`, `?`, `[a-z]`), each at least once."""
