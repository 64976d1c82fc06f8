from __future__ import annotations

from datetime import UTC, datetime

import pytest

from insight_cloud.backup.manifest import (
    Manifest,
    Part,
    Server,
    Table,
    authenticate,
    decode,
    encode,
)
from insight_cloud.core.errors import Corrupt

AT = datetime(2026, 11, 25, 2, tzinfo=UTC)
MANIFEST = Manifest(
    id="20261125T020000Z-daily-0a1b2c3d",
    type="daily",
    snapshot_at=AT,
    started_at=AT,
    finished_at=AT,
    tool="insight-cloud 0.1.0",
    dumped_by="pg_dump 18.4",
    server=Server(
        version="18.4",
        version_number=180004,
        database="shop",
        encoding="UTF8",
        collate="C",
        ctype="C",
        bytes=1000,
    ),
    parts=(
        Part(name="pre-data", content="pre-data", raw_bytes=9, stored_bytes=7, sha256="0" * 64),
    ),
    tables=(Table(schema="public", name="täble", rows=3),),
)


def test_what_is_written_is_read() -> None:
    assert decode(encode(MANIFEST)) == MANIFEST
    assert (MANIFEST.rows, MANIFEST.stored_bytes, MANIFEST.server.major) == (3, 7, 18)


def _read(data: bytes) -> Manifest:
    authenticate(data, b"k" * 32)
    return decode(data)


def test_every_single_bit_counts() -> None:
    data = encode(MANIFEST, key=b"k" * 32)
    for place in range(len(data)):
        for bit in range(8):
            changed = bytearray(data)
            changed[place] ^= 1 << bit
            with pytest.raises(Corrupt):
                _read(bytes(changed))


def test_every_cut_counts() -> None:
    data = encode(MANIFEST)
    for length in range(len(data)):
        with pytest.raises(Corrupt):
            decode(data[:length])


def test_only_the_holder_of_the_key_can_write_one() -> None:
    authenticate(encode(MANIFEST, key=b"a" * 32), b"a" * 32)
    for forged in (encode(MANIFEST), encode(MANIFEST, key=b"b" * 32)):
        with pytest.raises(Corrupt, match="do not trust it"):
            authenticate(forged, b"a" * 32)
