"""From a dump to the bytes in a store and back: compressed, encrypted, counted, hashed.

Everything in here works in bounded memory and releases Python's lock, so that parts can be
packed in threads beside each other.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable
from typing import IO, Literal, Protocol, TypeAlias, cast

import zstandard

from insight_cloud.backup.crypto import Opener, Sealer
from insight_cloud.backup.manifest import Part
from insight_cloud.core.errors import Corrupt

__all__ = ["Compression", "Packer", "Unpacker", "unzstd", "zstd"]

Compression: TypeAlias = Literal["zstd", "gzip"]
_PIECE_BYTES = 1024 * 1024


class _Coder(Protocol):
    """Either direction of a compression."""

    def update(self, data: bytes | memoryview, /) -> bytes: ...

    def finish(self) -> bytes: ...


class Packer:
    """Takes a dump in pieces, returns what is to be stored, and knows its size and hash."""

    def __init__(self, compression: Compression, *, level: int, key: bytes | None = None) -> None:
        self._coder: _Coder = _Gzip(level) if compression == "gzip" else _Zstd(level)
        self._sealer = None if key is None else Sealer(key)
        self._hash = hashlib.sha256()
        self.raw_bytes = 0
        self.stored_bytes = 0

    def update(self, data: bytes | memoryview) -> bytes:
        """Take some of the dump; return what is ready, often nothing."""
        self.raw_bytes += len(data)
        return self._out(self._coder.update(data))

    def finish(self) -> bytes:
        """Return the rest."""
        end = self._out(self._coder.finish())
        return end if self._sealer is None else end + self._count(self._sealer.finish())

    @property
    def sha256(self) -> str:
        """Of everything that was returned."""
        return self._hash.hexdigest()

    def _out(self, data: bytes) -> bytes:
        if not data:
            return b""
        return self._count(data if self._sealer is None else self._sealer.update(data))

    def _count(self, data: bytes) -> bytes:
        self._hash.update(data)
        self.stored_bytes += len(data)
        return data


class Unpacker:
    """Takes what is stored, gives the dump to `sink` in pieces of about 1 MiB, and proves it.

    The sink may already have been given a part of the dump when a fault is found: what it did
    with it must be undone. `finish` alone says that everything was right.
    """

    def __init__(
        self,
        part: Part,
        compression: Compression,
        sink: Callable[[bytes | memoryview], object],
        *,
        key: bytes | None = None,
    ) -> None:
        self._part = part
        self._sink = sink
        self._opener = None if key is None else Opener(key)
        self._expander = _Gunzip(self._give) if compression == "gzip" else _Unzstd(self._give)
        self._hash = hashlib.sha256()
        self._stored = 0
        self._raw = 0

    def update(self, data: bytes) -> None:
        """Take some of the object.

        Raises:
            Corrupt: it is not what was written; the message names the part.
        """
        self._hash.update(data)
        self._stored += len(data)
        try:
            self._expander.update(data if self._opener is None else self._opener.update(data))
        except Corrupt as error:
            raise self._fault(str(error)) from error

    def finish(self) -> None:
        """Prove that it was whole.

        Raises:
            Corrupt: it was not; the message names the part.
        """
        try:
            if self._opener is not None:
                self._expander.update(self._opener.finish())
        except Corrupt as error:
            raise self._fault(str(error)) from error
        if self._stored != self._part.stored_bytes:
            raise self._fault(f"{self._stored} bytes instead of {self._part.stored_bytes}")
        if self._hash.hexdigest() != self._part.sha256:
            raise self._fault("its SHA-256 differs from what was written")
        if self._raw != self._part.raw_bytes:
            raise self._fault(f"it unpacks to {self._raw} bytes instead of {self._part.raw_bytes}")

    def _give(self, data: bytes | memoryview) -> None:
        self._raw += len(data)
        if self._raw > self._part.raw_bytes:
            raise Corrupt(f"it unpacks to more than {self._part.raw_bytes} bytes")
        self._sink(data)

    def _fault(self, what: str) -> Corrupt:
        return Corrupt(f"part {self._part.name!r} is damaged: {what}")


def zstd(data: bytes, level: int) -> bytes:
    """Pack a small thing at once."""
    return zstandard.ZstdCompressor(level=level, write_checksum=True).compress(data)


def unzstd(data: bytes, limit_bytes: int) -> bytes:
    """Unpack it.

    Raises:
        Corrupt: it was changed, or is larger than it may be.
    """
    try:
        if not 0 <= zstandard.frame_content_size(data) <= limit_bytes:
            raise Corrupt("zstd: it does not say its size, or is larger than it may be")
        return zstandard.ZstdDecompressor().decompress(data)
    except zstandard.ZstdError as error:
        raise Corrupt(f"zstd: {error}") from error


class _Zstd:
    def __init__(self, level: int) -> None:
        # Without `write_checksum` a flipped bit is restored as other data, silently.
        self._into = zstandard.ZstdCompressor(level=level, write_checksum=True).compressobj()

    def update(self, data: bytes | memoryview, /) -> bytes:
        return self._into.compress(data)

    def finish(self) -> bytes:
        return self._into.flush()


class _Gzip:
    def __init__(self, level: int) -> None:
        self._into = zlib.compressobj(level, wbits=31)

    def update(self, data: bytes | memoryview, /) -> bytes:
        return self._into.compress(data)

    def finish(self) -> bytes:
        return self._into.flush()


class _Unzstd:
    def __init__(self, give: Callable[[bytes | memoryview], None]) -> None:
        sink = cast("IO[bytes]", _Sink(give))  # of which only `write` is used
        self._from = zstandard.ZstdDecompressor().stream_writer(sink, write_size=_PIECE_BYTES)

    def update(self, data: bytes) -> None:
        try:
            self._from.write(data)
        except zstandard.ZstdError as error:
            raise Corrupt(f"zstd: {error}") from error


class _Gunzip:
    def __init__(self, give: Callable[[bytes | memoryview], None]) -> None:
        self._from = zlib.decompressobj(wbits=31)
        self._give = give

    def update(self, data: bytes) -> None:
        try:
            while data:
                self._give(self._from.decompress(data, _PIECE_BYTES))
                data = self._from.unconsumed_tail
        except zlib.error as error:
            raise Corrupt(f"gzip: {error}") from error


class _Sink:
    """What zstandard writes to: an object with `write`."""

    def __init__(self, give: Callable[[bytes | memoryview], None]) -> None:
        self._give = give

    def write(self, data: bytes) -> int:
        self._give(data)
        return len(data)
