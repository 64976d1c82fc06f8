"""Releases on disk: a folder that any web server can serve, and its manifest. Read, plan, apply."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from insight_cloud.assets.release import KEPT, Asset, Release
from insight_cloud.core import files
from insight_cloud.core.errors import Corrupt, Missing, Refused, SettingsError, TooLarge
from insight_cloud.core.plan import Change, Plan

__all__ = ["MANIFEST", "apply", "load", "plan", "sources"]

MANIFEST = "manifest.json"
"""The name of the manifest in the folder of results."""

_SUFFIXES = {"br": ".br", "zstd": ".zst", "gzip": ".gz"}
_MOST_BYTES = 32 * 1024 * 1024
_VERSION = 1


@dataclass(frozen=True, slots=True)
class _File:
    """What the manifest says of one asset; the contents are files beside it."""

    path: str
    type: str
    bytes: int
    sha256: str
    integrity: str
    encodings: Mapping[str, int] = field(default_factory=dict)
    deltas: Mapping[str, str] = field(default_factory=dict)
    """File names by the hash of what they were compressed against."""
    references: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Manifest:
    """Releases, the newest first."""

    version: int
    releases: tuple[Mapping[str, _File], ...]


def sources(folder: Path) -> dict[str, bytes]:
    """Read every file below `folder` by its path. Hidden ones and links are passed over.

    Raises:
        Missing: there is no such folder.
        Refused: something in it cannot be read.
        TooLarge: a file does not belong among assets, which are served from memory.
    """
    if not folder.is_dir():
        raise Missing(f"there is no folder {folder}")
    found: dict[str, bytes] = {}
    for where, folders, names in os.walk(folder, onerror=_cannot_read):
        folders[:] = sorted(name for name in folders if name[0] != ".")
        for name in sorted(names):
            path = Path(where) / name
            if name[0] != "." and path.is_file() and not path.is_symlink():
                found[path.relative_to(folder).as_posix()] = _read(path)
    return found


def load(output: Path) -> list[Release]:
    """Return the releases that are in `output`, the newest first; none if there is nothing.

    Raises:
        Corrupt: the manifest, or a file that it names, is not what it was.
    """
    try:
        manifest = msgspec.json.decode((output / MANIFEST).read_bytes(), type=_Manifest)
    except FileNotFoundError:
        return []
    except (OSError, msgspec.DecodeError) as error:
        raise Corrupt(f"{output / MANIFEST} cannot be read: {error}; build anew") from error
    if manifest.version != _VERSION:
        raise Corrupt(f"{output / MANIFEST} is of version {manifest.version}; build anew")
    return [
        Release({name: _load(output, name, file) for name, file in release.items()})
        for release in manifest.releases
    ]


def plan(release: Release, before: Sequence[Release]) -> Plan:
    """Say what changes for those who serve the folder. `before` is what `load` returned."""
    old = before[0].assets if before else {}
    changes = []
    for name, asset in release.assets.items():
        was = old.get(name)
        if was is None:
            changes.append(Change("create", name, None, asset.path, "new"))
        elif was.path != asset.path:
            changes.append(Change("update", name, was.path, asset.path, "the content changed"))
    changes += [
        Change("delete", name, was.path, None, "the file is gone")
        for name, was in old.items()
        if name not in release.assets
    ]
    return Plan(tuple(changes))


def apply(
    planned: Plan, release: Release, before: Sequence[Release], output: Path
) -> list[Release]:
    """Write the release to `output` and return all that are kept, the newest first.

    Contents are written before the manifest names them; files of releases that are no longer
    kept go last. So whoever serves the folder meanwhile always finds whole files.

    Raises:
        SettingsError: `output` cannot be written.
    """
    if not planned and before:
        return list(before)
    kept = [release, *before[:KEPT]]
    manifest = _Manifest(
        _VERSION,
        tuple({n: _described(a) for n, a in one.assets.items()} for one in kept),
    )
    written = dict(_contents(release))
    named = {path for one in kept for path, _ in _contents(one)}
    obsolete = {path for one in before for path, _ in _contents(one)} - named
    try:
        for path, body in written.items():
            if not _is_there(output / path, body):
                files.write(output / path, body)
        files.write(output / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=1))
        for path in obsolete:
            (output / path).unlink(missing_ok=True)
    except OSError as error:
        raise SettingsError(f"{output} cannot be written: {error}") from error
    return kept


def _described(asset: Asset) -> _File:
    return _File(
        asset.path,
        asset.media_type,
        len(asset.body),
        asset.digest,
        asset.integrity,
        {name: len(packed) for name, packed in asset.encodings.items()},
        {digest: _delta_name(asset.path, digest) for digest in asset.deltas},
        asset.references,
    )


def _contents(release: Release) -> list[tuple[str, bytes]]:
    found = []
    for asset in release.assets.values():
        found.append((asset.path, asset.body))
        found += [(asset.path + _SUFFIXES[name], body) for name, body in asset.encodings.items()]
        found += [(_delta_name(asset.path, key), body) for key, body in asset.deltas.items()]
    return found


def _delta_name(path: str, digest: str) -> str:
    """The name of a delta; the hash in base64 would bring slashes into it."""
    return f"{path}.{digest[:12].replace('/', '_').replace('+', '-')}.dcz"


def _load(output: Path, name: str, file: _File) -> Asset:
    for path in (file.path, *file.deltas.values()):
        if path.startswith("/") or ".." in path.split("/"):
            raise Corrupt(f"the manifest names {path}, which is outside of {output}")
    asset = Asset(
        name,
        file.path,
        file.type,
        _content(output / file.path),
        {
            encoding: _content(output / (file.path + _SUFFIXES[encoding]))
            for encoding in file.encodings
        },
        {digest: _content(output / path) for digest, path in file.deltas.items()},
        file.references,
    )
    if asset.digest != file.sha256:
        raise Corrupt(f"{output / file.path} is not what was built; build anew")
    return asset


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Corrupt(f"{path} is missing; build anew") from error


def _is_there(path: Path, body: bytes) -> bool:
    try:
        return path.stat().st_size == len(body) and path.read_bytes() == body
    except OSError:
        return False


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise TooLarge(
                f"{path} has more than {_MOST_BYTES:,} bytes; assets are served from memory, so "
                "serve such a file from an object store"
            )
        return path.read_bytes()
    except OSError as error:
        raise Refused(f"cannot read {path}: {error.strerror}") from error


def _cannot_read(error: OSError) -> None:
    raise Refused(f"cannot read {error.filename}: {error.strerror}") from error
