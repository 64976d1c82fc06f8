"""What a backup consists of, as plain data, and its form in a store. Pure: no clock, no I/O.

The object `manifest.json` is two lines of JSON. The first says everything; the second seals
its exact bytes by SHA-256 and, when the backup is encrypted, by an HMAC of the data key too.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

import msgspec

from insight_cloud.core.errors import Corrupt

__all__ = [
    "FORMAT",
    "TYPES",
    "UNREADABLE",
    "Encryption",
    "Extension",
    "Manifest",
    "Part",
    "Server",
    "Table",
    "Type",
    "authenticate",
    "decode",
    "encode",
    "new_id",
    "type_of_day",
]

FORMAT = 1
LONGEST_BYTES = 64 * 1024 * 1024
"""A manifest of 100,000 tables has about a quarter of this."""

Type: TypeAlias = Literal["manual", "daily", "weekly", "monthly"]
TYPES: tuple[Type, ...] = ("manual", "daily", "weekly", "monthly")
Content: TypeAlias = Literal["database", "pre-data", "data", "post-data", "plain", "base"]
Kind: TypeAlias = Literal["logical", "plain", "base"]

UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError)
"""What reading JSON raises when it is none."""

_ID = re.compile(r"\d{8}T\d{6}Z-(manual|daily|weekly|monthly|base)-[0-9a-f]{8}")


class _Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of the format: a field that this program does not know is a newer format."""


class Table(_Record, frozen=True, kw_only=True):
    """What a table held at the moment of the snapshot."""

    schema: str
    name: str
    rows: int
    digest: str | None = None
    """The order-independent hash of its rows, where it was asked for."""

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


class Extension(_Record, frozen=True, kw_only=True):
    """An extension that the database uses."""

    name: str
    version: str


class Server(_Record, frozen=True, kw_only=True):
    """Where the data came from."""

    version: str
    version_number: int
    """As `server_version_num`: 180004 is 18.4."""
    system_identifier: str | None = None
    """The cluster's own number, where the role may ask for it."""
    database: str
    encoding: str
    collate: str
    ctype: str
    provider: str = "c"
    """`c` libc, `i` ICU, `b` builtin, as in `pg_database.datlocprovider`."""
    locale: str | None = None
    bytes: int
    """`pg_database_size` at the snapshot."""

    @property
    def major(self) -> int:
        """18 of 18.4."""
        return self.version_number // 10000


class Encryption(_Record, frozen=True, kw_only=True):
    """How the data key travels with the backup, closed by age."""

    scheme: Literal["aes-256-gcm-1m"] = "aes-256-gcm-1m"
    envelope: str
    """The data key as an armored age file, for the recipients or the passphrase."""
    by: Literal["recipients", "passphrase"]


class Part(_Record, frozen=True, kw_only=True):
    """One object of the backup."""

    name: str
    content: Content
    tables: tuple[str, ...] = ()
    """Tables that have this part to themselves; the part `rest` has all others."""
    raw_bytes: int
    stored_bytes: int
    sha256: str
    """Of the object as it is stored."""


class Manifest(_Record, frozen=True, kw_only=True):
    """One backup: what, when, from which server, and how to prove that it is whole."""

    format: int = FORMAT
    id: str
    kind: Kind = "logical"
    type: Type = "manual"
    snapshot_at: datetime
    """The server's clock when the snapshot was taken: the state that a restore brings back."""
    started_at: datetime
    """Our own clock, as is `finished_at`."""
    finished_at: datetime
    tool: str
    """The program that made it and its version."""
    dumped_by: str
    """PostgreSQL's own program and its version; a restore needs one at least as new."""
    compression: Literal["zstd", "gzip"] = "zstd"
    encryption: Encryption | None = None
    server: Server
    start_lsn: str | None = None
    end_lsn: str | None = None
    timeline: int | None = None
    parts: tuple[Part, ...]
    tables: tuple[Table, ...] = ()
    extensions: tuple[Extension, ...] = ()
    roles: tuple[str, ...] = ()
    """Roles that own something or have been granted something; a restore needs them."""
    tablespaces: tuple[str, ...] = ()
    large_objects: int = 0

    @property
    def stored_bytes(self) -> int:
        """What it takes in one store, without the manifest."""
        return sum(part.stored_bytes for part in self.parts)

    @property
    def rows(self) -> int:
        """Rows of all tables."""
        return sum(table.rows for table in self.tables)

    @property
    def seconds(self) -> float:
        """How long it took to make."""
        return (self.finished_at - self.started_at).total_seconds()


def encode(manifest: Manifest, *, key: bytes | None = None) -> bytes:
    """Return the object; `key` is the manifest key of an encrypted backup."""
    body = msgspec.json.encode(manifest)
    seal = {"sha256": hashlib.sha256(body).hexdigest()}
    if key is not None:
        seal["hmac"] = hmac.new(key, body, "sha256").hexdigest()
    return body + b"\n" + msgspec.json.encode(seal) + b"\n"


def decode(data: bytes) -> Manifest:
    """Read the object; every changed byte in it is noticed.

    Raises:
        Corrupt: it is not what was written, or a newer program wrote it.
    """
    body, _ = _split(data)
    try:
        version: int = msgspec.json.decode(body, type=_Version).format
        if version != FORMAT:
            raise Corrupt(
                f"the manifest has format {version}; this program reads {FORMAT}: use a newer one"
            )
        manifest = msgspec.json.decode(body, type=Manifest)
    except UNREADABLE as error:
        raise Corrupt(f"the manifest is not readable: {error}") from error
    if not _ID.fullmatch(manifest.id):
        raise Corrupt(f"the manifest has an impossible id {manifest.id!r}")
    return manifest


def authenticate(data: bytes, key: bytes) -> None:
    """Prove that the holder of the data key wrote this object.

    Raises:
        Corrupt: somebody else wrote it.
    """
    body, seal = _split(data)
    expected = hmac.new(key, body, "sha256").hexdigest()
    if not hmac.compare_digest(str(seal.get("hmac", "")), expected):
        raise Corrupt("the manifest was not written by who encrypted the backup: do not trust it")


class _Version(msgspec.Struct):
    format: int


def _split(data: bytes) -> tuple[bytes, dict[str, Any]]:
    if len(data) > LONGEST_BYTES:
        raise Corrupt(f"the manifest is larger than {LONGEST_BYTES} bytes")
    lines = data.split(b"\n")
    if len(lines) != 3 or lines[2]:
        raise Corrupt("the manifest is cut off or changed: it has not its two lines")
    try:
        seal = msgspec.json.decode(lines[1], type=dict[str, str])
    except UNREADABLE as error:
        raise Corrupt("the manifest's seal is not readable") from error
    if not hmac.compare_digest(seal.get("sha256", ""), hashlib.sha256(lines[0]).hexdigest()):
        raise Corrupt("the manifest was changed after it was written: its SHA-256 differs")
    return lines[0], seal


def new_id(at: datetime, type_: Type | Literal["base"], token: str) -> str:
    """Name a backup so that names sort by time: `20261125T020000Z-daily-3f9a1c07`."""
    return f"{at.astimezone(UTC):%Y%m%dT%H%M%SZ}-{type_}-{token}"


def is_id(text: str) -> bool:
    """Whether `text` has the form of an id."""
    return _ID.fullmatch(text) is not None


def type_of_day(day: datetime) -> Type:
    """The type of a backup by its date: the first of a month, else Sunday, else any other day."""
    if day.day == 1:
        return "monthly"
    return "weekly" if day.isoweekday() == 7 else "daily"
