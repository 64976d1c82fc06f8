"""The encodings of a file, made once and as small as they get: Brotli, Zstandard, gzip, deltas."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable, Mapping

import brotli  # type: ignore[import-untyped]  # no types
import zstandard

__all__ = ["ENCODINGS", "delta", "encode"]

_WORTH = 0.95  # of the original; what saves less costs the browser more than it brings
_LEAST_BYTES = 64  # less fits into one packet with its headers, whatever is done
_WINDOW_BITS = 23  # 8 MiB, the most that RFC 9659 lets a browser be asked for
_MOST_WINDOW_BITS = 26
_DCZ = bytes.fromhex("5e2a4d1820000000")  # RFC 9842: a skippable frame with the hash of 32 bytes


def _brotli(body: bytes) -> bytes:
    packed: bytes = brotli.compress(body, quality=11, lgwin=24)
    return packed


def _zstd(body: bytes) -> bytes:
    parameters = zstandard.ZstdCompressionParameters.from_level(
        19, source_size=len(body), window_log=_window(len(body), _WINDOW_BITS)
    )
    return zstandard.ZstdCompressor(compression_params=parameters).compress(body)


def _gzip(body: bytes) -> bytes:
    return gzip.compress(body, 9, mtime=0)


ENCODINGS: Mapping[str, Callable[[bytes], bytes]] = {"br": _brotli, "zstd": _zstd, "gzip": _gzip}
"""How each content coding is made."""


def encode(body: bytes) -> dict[str, bytes]:
    """Return the codings that save at least 5 % of `body`."""
    if len(body) < _LEAST_BYTES:
        return {}
    made = {name: make(body) for name, make in ENCODINGS.items()}
    return {name: packed for name, packed in made.items() if len(packed) < len(body) * _WORTH}


def delta(body: bytes, before: bytes) -> bytes:
    """Return `body` for somebody who has `before`: the content coding `dcz` of RFC 9842."""
    dictionary = zstandard.ZstdCompressionDict(before, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    # The window must reach over the new text back to the beginning of the old one.
    parameters = zstandard.ZstdCompressionParameters.from_level(
        19,
        source_size=len(body),
        dict_size=len(before),
        window_log=_window(len(body) + len(before), _MOST_WINDOW_BITS),
        enable_ldm=True,
    )
    packer = zstandard.ZstdCompressor(dict_data=dictionary, compression_params=parameters)
    return _DCZ + hashlib.sha256(before).digest() + packer.compress(body)


def _window(size: int, most: int) -> int:
    return min(max(10, (size - 1).bit_length()), most)
