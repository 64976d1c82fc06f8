"""Object stores behind one interface: a directory, S3 (and R2, MinIO), Azure Blob, Google Cloud.

    store = storage.open_store("s3://backups/production", credentials)
    etag = await store.put("2026/dump.zst", stream, expected_bytes=2 * 1024**3)
    async for chunk in store.stream("2026/dump.zst"):
        ...
    await store.create("2026/manifest.json", manifest)  # Conflict if it is there already
    await store.close()

What every store promises is written at `Store`, and tested by one suite for all of them.
"""

from __future__ import annotations

from insight_cloud.core.storage.address import Address, parse
from insight_cloud.core.storage.open import Credentials, Limits, open_store
from insight_cloud.core.storage.store import (
    PLAIN,
    Attributes,
    Leftover,
    Object,
    Store,
    clean_path,
)

__all__ = [
    "PLAIN",
    "Address",
    "Attributes",
    "Credentials",
    "Leftover",
    "Limits",
    "Object",
    "Store",
    "clean_path",
    "open_store",
    "parse",
]
