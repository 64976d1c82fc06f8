from __future__ import annotations

import gzip
import hashlib
import random

import brotli  # type: ignore[import-untyped]  # no types
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as some

from insight_cloud.assets import compress, delta, encode

TEXT = b"\n".join(b".a%d { color: #%06x }" % (n, n * 977 % 0xFFFFFF) for n in range(2000))


def unpacked(packed: bytes, before: bytes) -> bytes:
    """What a browser does with `dcz`."""
    assert packed[:8] == bytes.fromhex("5e2a4d1820000000")
    assert packed[8:40] == hashlib.sha256(before).digest()
    dictionary = zstandard.ZstdCompressionDict(before, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    return zstandard.ZstdDecompressor(dict_data=dictionary).decompress(packed[40:])


def test_each_coding_unpacks_to_the_file() -> None:
    made = encode(TEXT)
    assert set(made) == {"br", "zstd", "gzip"}
    assert brotli.decompress(made["br"]) == TEXT
    assert zstandard.ZstdDecompressor().decompress(made["zstd"]) == TEXT
    assert gzip.decompress(made["gzip"]) == TEXT
    assert len(made["br"]) < len(made["gzip"])


def test_the_same_file_is_compressed_to_the_same_bytes() -> None:
    assert encode(TEXT) == encode(TEXT)


@pytest.mark.parametrize("body", [b"", b"a", random.Random(1).randbytes(10_000)])
def test_what_compresses_badly_stays_as_it_is(body: bytes) -> None:
    assert encode(body) == {}


def test_a_browser_needs_no_larger_window_than_it_must_have() -> None:
    large = bytes(20_000_000)
    frame = zstandard.get_frame_parameters(compress.ENCODINGS["zstd"](large))
    assert frame.window_size <= 8 * 1024 * 1024


def test_a_delta_holds_little_more_than_the_change() -> None:
    after = TEXT.replace(b".a1000 ", b".changed ")
    packed = delta(after, TEXT)
    assert unpacked(packed, TEXT) == after
    assert len(packed) < len(encode(after)["br"]) * 0.05


@given(some.binary(max_size=2000), some.binary(max_size=2000))
def test_any_delta_comes_back(before: bytes, after: bytes) -> None:
    assert unpacked(delta(after, before), before) == after


def test_a_delta_reaches_over_a_large_file() -> None:
    before = random.Random(2).randbytes(3_000_000)
    after = before[:1_000_000] + b"new" + before[1_000_000:]
    packed = delta(after, before)
    assert unpacked(packed, before) == after
    assert len(packed) < 100_000
