"""The body of an upload: read as it arrives, decompressed under a limit."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Protocol, cast

import zstandard

from insight_cloud.core.errors import Invalid, TooLarge

__all__ = ["ENCODINGS", "UnsupportedEncoding", "body", "decompress"]

_MOST_PARTS = 1000
"""Members or frames in one body; beginning one costs time that no limit on bytes bounds."""
_ZSTD_WINDOW_BYTES = 8 * 1024 * 1024
"""RFC 9659: what a decoder of zstd as a content encoding must support, and need not exceed."""


class UnsupportedEncoding(Invalid):
    """The body is compressed in a way that we do not read."""

    http_status = 415
    title = "Unsupported encoding"


async def body(
    stream: AsyncIterator[bytes], encoding: str, *, upload_bytes: int, log_bytes: int
) -> bytes:
    """Collect the request's body and decompress it.

    Raises:
        TooLarge: more than `upload_bytes` were sent compressed, or more than `log_bytes` are
            in them; memory never holds more than the two limits.
        Invalid: the body is not what its encoding says.
        UnsupportedEncoding: the encoding is none of `ENCODINGS`.
    """
    encoding = encoding.strip().lower() or "identity"
    if encoding not in ENCODINGS:
        raise UnsupportedEncoding(
            f"content encoding {encoding!r} is not supported; send one of {', '.join(ENCODINGS)}"
        )
    limit = log_bytes if encoding == "identity" else upload_bytes
    sent = bytearray()
    async for chunk in stream:
        sent += chunk
        if len(sent) > limit:
            raise TooLarge(f"the upload is larger than {limit:,} bytes; split the log by tool")
    if encoding == "identity":
        return bytes(sent)
    return await asyncio.to_thread(decompress, bytes(sent), encoding, log_bytes)


def decompress(data: bytes, encoding: str, limit: int) -> bytes:
    """Decompress `data` wholly, or refuse it as soon as it exceeds `limit` bytes."""
    out = bytearray()
    try:
        for chunk in ENCODINGS[encoding](data):
            out += chunk
            if len(out) > limit:
                raise TooLarge(f"the log is larger than {limit:,} bytes after decompression")
    except (zlib.error, zstandard.ZstdError, EOFError) as error:
        raise Invalid(f"the body is not valid {encoding}: {error}") from error
    return bytes(out)


class _Decoder(Protocol):
    """One member of a gzip file or one frame of zstd, as both libraries have it."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: memoryview, /) -> bytes: ...


def _parts(data: bytes, begin: Callable[[], _Decoder], sip_bytes: int) -> Iterator[bytes]:
    """Read members or frames one after the other, in sips so small that a bomb stops early.

    zstandard's stream reader would be shorter, and takes a frame cut in two for a whole one.
    """
    view, start = memoryview(data), 0
    for _ in range(_MOST_PARTS):
        if start == len(view):
            return
        decoder = begin()
        while not decoder.eof:
            if start == len(view):
                raise EOFError("it ends in the middle")
            sip = view[start : start + sip_bytes]
            start += len(sip)
            yield decoder.decompress(sip)
        start -= len(decoder.unused_data)
    raise EOFError(f"it has more than {_MOST_PARTS} parts")


def _identity(data: bytes) -> Iterator[bytes]:
    yield data


def _gzip(data: bytes) -> Iterator[bytes]:
    """RFC 1952. Deflate expands at most 1,032 times: a sip of 16 KiB becomes 16 MiB."""
    return _parts(data, lambda: zlib.decompressobj(wbits=31), 16 * 1024)


def _zstd(data: bytes) -> Iterator[bytes]:
    """RFC 8878. A block of 4 bytes may be 128 KiB: a sip of 512 bytes becomes 16 MiB."""
    decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES)
    return _parts(data, lambda: cast("_Decoder", decompressor.decompressobj()), 512)


ENCODINGS: dict[str, Callable[[bytes], Iterator[bytes]]] = {
    "identity": _identity,
    "gzip": _gzip,
    "zstd": _zstd,
}
