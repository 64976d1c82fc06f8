"""What is deployed, as the deployments write it down beside the site itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec

from insight_cloud.cdn.files import CONTROL, File
from insight_cloud.core.errors import Corrupt
from insight_cloud.core.storage import Attributes

__all__ = ["EMPTY", "RECORD", "Known", "Record", "decode", "encode", "known"]

RECORD = f"{CONTROL}/cdn.json"
"""Where it is kept, below the site's address."""

_VERSION = 1


@dataclass(frozen=True, slots=True)
class Known:
    """One object that is out there. `unused_since`: the first deployment that did without it."""

    sha256: str
    size: int
    content_type: str
    cache_control: str
    content_encoding: str = ""
    hashed: bool = False
    unused_since: datetime | None = None

    @property
    def attributes(self) -> Attributes:
        """The same, as a store takes it."""
        return Attributes(self.content_type, self.cache_control, self.content_encoding)


@dataclass(frozen=True, slots=True)
class Record:
    """The objects by path, and what is still to be done.

    `begun` is when the deployment that runs now began, `pending` what it may have sent already.
    `unpurged` are addresses whose old content may still be in a cache.
    """

    version: int = _VERSION
    deployed: datetime | None = None
    files: Mapping[str, Known] = field(default_factory=dict)
    begun: datetime | None = None
    pending: Mapping[str, Known] = field(default_factory=dict)
    unpurged: tuple[str, ...] = ()


EMPTY = Record()


def known(file: File) -> Known:
    """Return what is written down of a file."""
    said = file.attributes
    return Known(
        file.sha256,
        file.size,
        said.content_type,
        said.cache_control,
        said.content_encoding,
        file.hashed,
    )


def encode(record: Record) -> bytes:
    """Return the record as JSON."""
    return msgspec.json.encode(record) + b"\n"


def decode(data: bytes, where: str) -> Record:
    """Read a record.

    Raises:
        Corrupt: it is none, or of a newer version.
    """
    try:
        record = msgspec.json.decode(data, type=Record)
    except msgspec.DecodeError as error:
        raise Corrupt(
            f"{where}: the record of what is deployed cannot be read ({error}); remove it, and "
            "the next deployment sends everything"
        ) from error
    if record.version != _VERSION:
        raise Corrupt(f"{where}: the record is of version {record.version}; update this program")
    times = (record.deployed, record.begun, *(one.unused_since for one in record.files.values()))
    if any(moment is not None and moment.utcoffset() is None for moment in times):
        raise Corrupt(f"{where}: a time in the record has no zone")
    return record


def now() -> datetime:
    """Return the time as records keep it."""
    return datetime.now(UTC).replace(microsecond=0)
