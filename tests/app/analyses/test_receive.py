"""The body of an upload: whatever is sent, no more than the limit is ever held."""

import gzip
import zlib
from collections.abc import AsyncIterator

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from insight_cloud.app.analyses import receive
from insight_cloud.core.errors import Invalid, TooLarge

COMPRESS = {
    "identity": bytes,
    "gzip": gzip.compress,
    "zstd": lambda data: zstandard.ZstdCompressor().compress(data),
}


async def stream(data: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


@pytest.mark.parametrize("encoding", receive.ENCODINGS)
async def test_every_encoding_is_read(encoding: str) -> None:
    body = b"findings " * 10_000
    sent = COMPRESS[encoding](body)
    found = await receive.body(stream(sent), encoding, upload_bytes=100_000, log_bytes=100_000)
    assert found == body


@given(data=st.binary(max_size=5000), parts=st.integers(1, 4))
def test_several_members_are_one_body(data: bytes, parts: int) -> None:
    size = len(data) // parts + 1
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    for encoding, compress in COMPRESS.items():
        sent = b"".join(map(compress, pieces))
        assert receive.decompress(sent, encoding, 10_000) == data


@pytest.mark.parametrize("encoding", receive.ENCODINGS)
async def test_more_than_the_limit_is_refused(encoding: str) -> None:
    sent = COMPRESS[encoding](bytes(2_000_000))
    with pytest.raises(TooLarge, match="1,000,000 bytes"):
        await receive.body(stream(sent), encoding, upload_bytes=1_000_000, log_bytes=1_000_000)


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
async def test_a_bomb_is_refused_before_it_unfolds(encoding: str) -> None:
    bomb = COMPRESS[encoding](bytes(500 * 1024 * 1024))
    assert len(bomb) < 1_000_000
    with pytest.raises(TooLarge):
        await receive.body(stream(bomb), encoding, upload_bytes=10**6, log_bytes=10**6)


async def test_too_much_compressed_data_is_refused() -> None:
    sent = gzip.compress(zlib.compress(b"x" * 100) * 100, compresslevel=0)
    with pytest.raises(TooLarge, match="100 bytes"):
        await receive.body(stream(sent), "gzip", upload_bytes=100, log_bytes=10**6)


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
@pytest.mark.parametrize("damage", ["cut", "noise"])
async def test_a_damaged_body_is_refused(encoding: str, damage: str) -> None:
    sent = COMPRESS[encoding](b"findings " * 1000)
    sent = sent[: len(sent) // 2] if damage == "cut" else b"no" + sent
    with pytest.raises(Invalid, match=encoding):
        await receive.body(stream(sent), encoding, upload_bytes=10**6, log_bytes=10**6)


async def test_an_unknown_encoding_is_named() -> None:
    with pytest.raises(receive.UnsupportedEncoding, match="'br'") as refusal:
        await receive.body(stream(b""), "br", upload_bytes=10, log_bytes=10)
    assert refusal.value.http_status == 415


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
async def test_endless_empty_parts_are_refused(encoding: str) -> None:
    sent = COMPRESS[encoding](b"") * 100_000
    with pytest.raises(Invalid, match="more than 1000 parts"):
        await receive.body(stream(sent, 10**6), encoding, upload_bytes=10**7, log_bytes=10**6)
