"""What every store promises, and the rule for the paths in it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Self

from insight_cloud.core.errors import Invalid

__all__ = [
    "PARTIAL",
    "PATH_BYTES",
    "PLAIN",
    "Attributes",
    "Leftover",
    "Object",
    "Store",
    "clean_path",
]

PARTIAL = ".insight-partial"
"""Where a directory keeps what is not complete yet; no object may be called so."""

PATH_BYTES = 900
"""Longest path: S3 and Google allow 1,024 bytes, and a prefix needs some of them."""


@dataclass(frozen=True, slots=True)
class Object:
    """One object: `path` below the store's prefix, `size` in bytes, `etag` of this version."""

    path: str
    size: int
    modified: datetime
    etag: str


@dataclass(frozen=True, slots=True)
class Attributes:
    """What a store says of an object to those who fetch it, and how it keeps it.

    `storage_class` in the provider's own words: `STANDARD_IA`, `Cool`, `NEARLINE`. A directory
    keeps none of these.
    """

    content_type: str = ""
    cache_control: str = ""
    content_encoding: str = ""
    storage_class: str = ""


PLAIN = Attributes()


@dataclass(frozen=True, slots=True)
class Leftover:
    """An upload that was begun and neither finished nor aborted: invisible, and paid for."""

    path: str
    identifier: str
    started: datetime


class Store(ABC):
    """Objects by path. Each operation either happens wholly or leaves the old state.

    Errors, whatever the store is:
        Invalid: a path that no store should hold (see `clean_path`), or a range past the end.
        Missing: there is no such object.
        Conflict: the condition of `create` or `replace` does not hold.
        Refused: the credentials do not allow it, or the store will not do it.
        SettingsError: there is no such bucket.
        Unavailable: unreachable, full, or too slow; temporary failures were retried before.
        Corrupt: the store returned something else than it announced.
    """

    url: str
    """Where it is, for messages; never with credentials."""

    def __repr__(self) -> str:
        return f"<store {self.url}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    @abstractmethod
    async def put(
        self,
        path: str,
        data: bytes | AsyncIterable[bytes],
        *,
        attributes: Attributes = PLAIN,
        expected_bytes: int | None = None,
    ) -> str:
        """Write an object, replacing one that is there, and return its etag.

        A stream is sent in parts as it comes: memory is bounded whatever its length. When the
        stream raises, or the caller is cancelled, the old object stays and nothing is left.
        `expected_bytes` is a guess that may be too small by a tenth; without it a stream may
        have 78 GiB, because S3 takes 10,000 parts.
        """

    @abstractmethod
    async def create(self, path: str, data: bytes, *, attributes: Attributes = PLAIN) -> str:
        """Write an object that must not exist yet, and return its etag; one of many wins."""

    @abstractmethod
    async def replace(
        self, path: str, data: bytes, etag: str, *, attributes: Attributes = PLAIN
    ) -> str:
        """Write an object that must still be the version `etag`, and return the new etag.

        For "read, change, write": take `head(path).etag` before the reading.
        """

    @abstractmethod
    async def head(self, path: str) -> Object:
        """Describe one object."""

    @abstractmethod
    async def read(self, path: str, *, limit_bytes: int = 16 * 1024 * 1024) -> bytes:
        """Return a small object whole.

        Raises:
            Corrupt: it is larger than `limit_bytes`.
        """

    @abstractmethod
    def stream(
        self, path: str, *, start: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        """Yield an object, or `length` bytes from `start`, in chunks of a few MiB.

        All chunks are of one version: Conflict if it is replaced meanwhile. What lies past
        the end is left out; a `start` past the end is Invalid.
        """

    @abstractmethod
    def list(self, prefix: str = "") -> AsyncIterator[Object]:
        """Yield the objects in the folder `prefix` and below, in no particular order."""

    @abstractmethod
    async def delete(self, paths: Iterable[str]) -> None:
        """Delete objects; one that is not there is no error. Not atomic over several."""

    @abstractmethod
    async def leftovers(self) -> tuple[Leftover, ...]:
        """Find uploads that were never finished, running ones too: judge by `started`.

        Raises:
            Refused: this store cannot tell; the message says what to arrange instead.
        """

    @abstractmethod
    async def abort(self, leftover: Leftover) -> None:
        """Remove what an unfinished upload left; it may be gone already."""

    @abstractmethod
    async def close(self) -> None:
        """Give back connections; the store is not used afterwards."""


def clean_path(path: str) -> str:
    """Return `path` if any store can hold it and none lets it escape.

    Raises:
        Invalid: empty, too long, absolute, with `.`, `..` or empty parts, control characters,
            a backslash, or a name that is reserved for unfinished uploads.
    """
    if not path or len(path.encode("utf-8", "surrogatepass")) > PATH_BYTES:
        raise Invalid(f"a path in a store has 1 to {PATH_BYTES} bytes: {path[:80]!r}")
    if any(ord(letter) < 32 or letter in "\\\x7f" for letter in path) or not _is_text(path):
        raise Invalid(f"a path in a store has no control characters or backslashes: {path[:80]!r}")
    parts = path.split("/")
    if any(part in {"", ".", ".."} for part in parts):
        raise Invalid(f"a path in a store has no empty, '.' or '..' parts: {path[:80]!r}")
    if parts[0] == PARTIAL:
        raise Invalid(f"{PARTIAL} is reserved for unfinished uploads: {path[:80]!r}")
    return path


def _is_text(path: str) -> bool:
    """Whether it can be written as UTF-8: lone surrogates cannot."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True
