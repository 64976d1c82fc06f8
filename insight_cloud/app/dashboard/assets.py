"""The pages' own files: a content hash in every address, so browsers may keep them for ever."""

from __future__ import annotations

import gzip
import hashlib
from base64 import b64encode
from dataclasses import dataclass
from importlib import resources

__all__ = ["Asset", "address", "find", "integrity", "named"]

_TYPES = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file in memory, as it is and compressed."""

    address: str
    integrity: str
    """What a browser compares it with (Subresource Integrity)."""
    media_type: str
    body: bytes
    gzipped: bytes


def _load() -> dict[str, Asset]:
    folder = resources.files("insight_cloud.app.dashboard") / "static"
    found = {}
    for file in folder.iterdir():
        stem, _, kind = file.name.rpartition(".")
        if kind in _TYPES:
            body = file.read_bytes()
            digest = hashlib.blake2b(body, digest_size=6).hexdigest()
            found[file.name] = Asset(
                address=f"/static/{stem}.{digest}.{kind}",
                integrity=f"sha384-{b64encode(hashlib.sha384(body).digest()).decode()}",
                media_type=_TYPES[kind],
                body=body,
                gzipped=gzip.compress(body, 9, mtime=0),
            )
    return found


_BY_NAME = _load()
_BY_ADDRESS = {asset.address: asset for asset in _BY_NAME.values()}


def address(name: str) -> str:
    """The address of the file called `name`; a name that does not exist is a KeyError."""
    return _BY_NAME[name].address


def integrity(name: str) -> str:
    """The digest of the file called `name`, for the element that loads it."""
    return _BY_NAME[name].integrity


def named(name: str) -> Asset:
    """The file called `name`."""
    return _BY_NAME[name]


def find(path: str) -> Asset | None:
    """The file whose address is `path`: old hashes are not kept."""
    return _BY_ADDRESS.get(path)
