from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insight_cloud.backup.manifest import Part
from insight_cloud.backup.packing import Compression, Packer, Unpacker
from insight_cloud.core.errors import Corrupt

KEY = bytes(32)


def pack(
    data: bytes, compression: Compression = "zstd", key: bytes | None = KEY, step: int = 1_000_000
) -> tuple[bytes, Part]:
    packer = Packer(compression, level=3, key=key)
    pieces = [packer.update(data[at : at + step]) for at in range(0, len(data), step)]
    stored = b"".join(pieces) + packer.finish()
    part = Part(
        name="data-001",
        content="data",
        raw_bytes=packer.raw_bytes,
        stored_bytes=packer.stored_bytes,
        sha256=packer.sha256,
    )
    return stored, part


def unpack(
    stored: bytes,
    part: Part,
    compression: Compression = "zstd",
    key: bytes | None = KEY,
    step: int = 1_000_000,
) -> bytes:
    out = bytearray()
    unpacker = Unpacker(part, compression, out.extend, key=key)
    for at in range(0, len(stored), step):
        unpacker.update(stored[at : at + step])
    unpacker.finish()
    return bytes(out)


@given(
    st.sampled_from(["zstd", "gzip"]),
    st.sampled_from([None, KEY]),
    st.integers(0, 400_000),
    st.integers(1_000, 500_000),
)
def test_what_is_packed_is_unpacked(
    compression: Compression, key: bytes | None, size: int, step: int
) -> None:
    data = (random.Random(size).randbytes(size // 3) + b"abc" * size)[:size]
    stored, part = pack(data, compression, key, step)
    assert (part.raw_bytes, part.stored_bytes) == (size, len(stored))
    assert unpack(stored, part, compression, key, step) == data


@pytest.mark.parametrize("key", [None, KEY])
@pytest.mark.parametrize("compression", ["zstd", "gzip"])
def test_every_change_is_told_with_the_name_of_the_part(
    compression: Compression, key: bytes | None
) -> None:
    draw = random.Random(7)
    stored, part = pack(draw.randbytes(3_000) + b"x" * 90_000, compression, key)
    changes = [stored[:-1], stored + b"\0", stored[: len(stored) // 2], b""]
    for _ in range(200):
        changed = bytearray(stored)
        changed[draw.randrange(len(stored))] ^= 1 << draw.randrange(8)
        changes.append(bytes(changed))
    for changed_bytes in changes:
        with pytest.raises(Corrupt, match="part 'data-001' is damaged"):
            unpack(changed_bytes, part, compression, key)


@pytest.mark.parametrize("compression", ["zstd", "gzip"])
def test_a_bomb_is_unpacked_in_small_pieces_and_ends_at_its_announced_size(
    compression: Compression,
) -> None:
    stored, part = pack(bytes(64 * 1024 * 1024), compression, None)
    largest = 0

    def sink(data: bytes | memoryview) -> None:
        nonlocal largest
        largest = max(largest, len(data))

    unpacker = Unpacker(part, compression, sink)
    unpacker.update(stored)
    unpacker.finish()
    assert largest <= 4 * 1024 * 1024
    lying = Part(
        name="data-001",
        content="data",
        raw_bytes=1000,
        stored_bytes=part.stored_bytes,
        sha256=part.sha256,
    )
    with pytest.raises(Corrupt, match="more than 1000"):
        Unpacker(lying, compression, sink).update(stored)
