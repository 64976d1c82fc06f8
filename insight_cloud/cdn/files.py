"""What a built directory holds: each file with its hash, its headers, and when it may be sent."""

from __future__ import annotations

import hashlib
import mimetypes
import os
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from insight_cloud.core.errors import Conflict, Invalid, Missing, Refused, TooLarge
from insight_cloud.core.storage import Attributes, clean_path

__all__ = ["CONTROL", "FILES", "IMMUTABLE", "Encoding", "File", "Rules", "read_build", "send"]

Encoding = Literal["negotiated", "br", "gzip"]

IMMUTABLE = "public, max-age=31536000, immutable"
CONTROL = ".insight"
"""The folder of a site that belongs to the deployments themselves."""
FILES = 100_000
"""Most files of one site: all of them are compared in memory."""

_FILE_BYTES = 5 * 1024**3  # what one request of S3 may hold
_CHUNK_BYTES = 1024 * 1024
_VARIANTS: Mapping[str, str] = {".br": "br", ".zst": "zstd", ".gz": "gzip"}
_DELTA = re.compile(r"(?P<name>.+)\.[A-Za-z0-9_-]{12}\.dcz")
_TOKEN = re.compile(r"(?<=[.-])[0-9a-f]{8,64}(?=\.|$)")
_TYPES = mimetypes.MimeTypes(filenames=())  # the same on every machine
for _type, _suffix in (
    ("image/avif", ".avif"),
    ("image/webp", ".webp"),
    ("text/javascript", ".js"),
    ("text/javascript", ".mjs"),
    ("application/manifest+json", ".webmanifest"),
    ("application/wasm", ".wasm"),
    ("font/woff", ".woff"),
    ("font/woff2", ".woff2"),
    ("text/markdown", ".md"),
):
    _TYPES.add_type(_type, _suffix)
_TEXTUAL = {"application/json", "application/manifest+json", "application/xml", "image/svg+xml"}


@dataclass(frozen=True, slots=True)
class Rules:
    """How files are sent.

    `immutable` are patterns of names that carry a hash which we cannot recognise (ours, and
    others made of SHA-256 or MD5, are recognised by the content). `cache_control` is for all
    other files, `overrides` are pairs of a pattern and a value that win over both. `encoding`
    is `negotiated` (each file as it is, and its compressed forms beside it), or the one form
    that a name is answered with, for stores whose readers cannot choose.
    """

    immutable: tuple[str, ...] = ()
    cache_control: str = "public, max-age=0, must-revalidate"
    overrides: tuple[tuple[str, str], ...] = ()
    encoding: Encoding = "negotiated"


@dataclass(frozen=True, slots=True)
class File:
    """One object of the site: where its bytes are, and what is said of them.

    `hashed` ones never change under their name; `page` ones are what people come in by.
    """

    path: str
    source: Path
    sha256: str
    size: int
    attributes: Attributes
    hashed: bool = False
    page: bool = False


def read_build(
    directory: Path, rules: Rules, also: Mapping[Path, str] | None = None
) -> tuple[File, ...]:
    """Read every file below `directory`, but hidden ones outside of `.well-known`.

    `also` are more directories, each with the path below which its files appear.

    Raises:
        Conflict: two directories have a file for the same path.
        Missing: there is no such directory, or nothing in it.
        Refused: something in it cannot be read, or is a link.
        Invalid: a name that no store can hold.
        TooLarge: more files, or a larger one, than a site may have.
    """
    if not directory.is_dir():
        raise Missing(f"there is no directory {directory}; build the site first")
    found: dict[str, Path] = {}
    for root, below in {directory: "", **(also or {})}.items():
        for source in _walk(root):
            path = _path(f"{below}{source.relative_to(root).as_posix()}")
            if path in found:
                raise Conflict(f"{found[path]} and {source} are both to be {path}")
            found[path] = source
            if len(found) > FILES:
                raise TooLarge(f"{directory} holds more than {FILES:,} files")
    if not found:
        raise Missing(f"there are no files in {directory}; build the site first")
    hashes = {path: _digest(path, source) for path, source in found.items()}
    files = [_file(path, found, hashes, rules) for path in sorted(found)]
    return tuple(file for file in files if file is not None)


async def send(file: File) -> AsyncIterator[bytes]:
    """Yield the bytes of a file, which must still be those that were read for the plan.

    Raises:
        Conflict: they are not; whoever receives them must give up what came before.
    """
    digest = hashlib.sha256()
    try:
        with file.source.open("rb") as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                digest.update(chunk)
                yield chunk
    except OSError as error:
        raise Conflict(f"{file.source} is gone; build and deploy again") from error
    if digest.hexdigest() != file.sha256:
        raise Conflict(f"{file.source} changed while it was sent; build and deploy again")


def _walk(directory: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(directory, onerror=_refuse):
        folders[:] = sorted(name for name in folders if name[0] != "." or name == ".well-known")
        for name in sorted(names) + [name for name in folders if Path(place, name).is_symlink()]:
            source = Path(place, name)
            if source.is_symlink():
                raise Refused(f"{source} is a link; a site holds files only")
            if name[0] != ".":
                yield source


def _refuse(error: OSError) -> None:
    raise Refused(f"cannot read {error.filename}: {error.strerror}") from error


def _path(path: str) -> str:
    try:
        return clean_path(path)
    except Invalid as error:
        raise Invalid(f"a file of the site cannot be stored: {error}") from error


@dataclass(frozen=True, slots=True)
class _Digest:
    sha256: str
    size: int
    hashed: bool


def _digest(path: str, source: Path) -> _Digest:
    """Hash a file, and see whether its name holds that hash."""
    tokens = _TOKEN.findall(path.rpartition("/")[2])
    sha256, md5, size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
    try:
        with source.open("rb") as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                size += len(chunk)
                sha256.update(chunk)
                if tokens:
                    md5.update(chunk)
    except OSError as error:
        raise Refused(f"cannot read {source}: {error.strerror}") from error
    if size > _FILE_BYTES:
        raise TooLarge(f"{source} has {size:,} bytes; a store takes {_FILE_BYTES:,}")
    whole = (sha256.hexdigest(), md5.hexdigest())
    named = any(digest.startswith(token) for digest in whole for token in tokens)
    return _Digest(whole[0], size, named)


def _file(
    path: str, found: Mapping[str, Path], hashes: Mapping[str, _Digest], rules: Rules
) -> File | None:
    """One object, or None when the rules send its bytes under another name or not at all."""
    name, encoding = _variant(path, found)
    source = path
    if rules.encoding != "negotiated":
        if encoding:
            return None
        source, encoding = _chosen(path, found, rules.encoding)
    hashed = hashes[name].hashed or _matches(name, rules.immutable)
    page = name.endswith((".html", ".htm"))
    attributes = Attributes(
        content_type=_content_type(name),
        cache_control=_cache_control(name, rules, hashed=hashed and not page),
        content_encoding=encoding,
    )
    digest = hashes[source]
    return File(
        path,
        found[source],
        digest.sha256,
        digest.size,
        attributes,
        hashed=hashed and not page,
        page=page,
    )


def _variant(path: str, found: Mapping[str, Path]) -> tuple[str, str]:
    """The file that `path` is a compressed form of, and the form; itself and nothing if none."""
    delta = _DELTA.fullmatch(path)
    if delta is not None and delta["name"] in found:
        return delta["name"], "dcz"
    for suffix, encoding in _VARIANTS.items():
        if path.endswith(suffix) and path.removesuffix(suffix) in found:
            return path.removesuffix(suffix), encoding
    return path, ""


def _chosen(path: str, found: Mapping[str, Path], wanted: str) -> tuple[str, str]:
    suffix = next(suffix for suffix, encoding in _VARIANTS.items() if encoding == wanted)
    return (path + suffix, wanted) if path + suffix in found else (path, "")


def _content_type(name: str) -> str:
    kind = _TYPES.guess_type(name, strict=False)[0] or "application/octet-stream"
    return f"{kind}; charset=utf-8" if kind.startswith("text/") or kind in _TEXTUAL else kind


def _cache_control(name: str, rules: Rules, *, hashed: bool) -> str:
    for pattern, value in rules.overrides:
        if fnmatchcase(name, pattern):
            return value
    return IMMUTABLE if hashed else rules.cache_control


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
