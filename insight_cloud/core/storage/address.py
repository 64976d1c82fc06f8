"""Where a store is: the URL an operator writes, taken apart and checked, without any I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from insight_cloud.core.errors import Invalid, SettingsError
from insight_cloud.core.storage.store import clean_path

__all__ = ["Address", "Kind", "parse"]

Kind = Literal["file", "s3", "az", "gs"]

_EXAMPLES = "file:///directory, s3://bucket/prefix, az://container/prefix or gs://bucket/prefix"
_OPTIONS: Mapping[str, frozenset[str]] = {
    "file": frozenset(),
    "s3": frozenset({"endpoint", "region"}),
    "az": frozenset(),
    "gs": frozenset({"endpoint"}),
}


@dataclass(frozen=True, slots=True)
class Address:
    """`container` is the bucket or container, or a directory's absolute path; no secret in it."""

    kind: Kind
    container: str
    prefix: str = ""
    options: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def __str__(self) -> str:
        place = f"{self.container}/{self.prefix}" if self.prefix else self.container
        return f"{self.kind}://{place}"


def parse(url: str) -> Address:
    """Read the URL of a store.

    S3 takes `?endpoint=https://…` (R2, MinIO) and `?region=…`, Google `?endpoint=…`.

    Raises:
        SettingsError: it is no such URL, or it holds credentials, which belong elsewhere.
    """
    parts = urlsplit(url)
    if parts.scheme not in _OPTIONS:
        raise SettingsError(f"a store's URL begins with none of: {_EXAMPLES}")
    if "@" in parts.netloc:  # the value is not repeated: it may be a password
        raise SettingsError(
            f"the {parts.scheme}:// URL of a store holds credentials: give them in the settings"
        )
    if parts.fragment:
        raise SettingsError(f"the {parts.scheme}:// URL of a store has a '#' in it")
    if parts.scheme == "file":
        return _directory(parts.netloc, unquote(parts.path), parts.query)
    if not parts.netloc:
        raise SettingsError(f"{parts.scheme}:// names no bucket; write {_EXAMPLES}")
    return Address(
        kind=parts.scheme,  # type: ignore[arg-type]  # one of _OPTIONS
        container=parts.netloc,
        prefix=_prefix(unquote(parts.path).strip("/")),
        options=_options(parts.scheme, parts.query),
    )


def _directory(host: str, path: str, query: str) -> Address:
    if host not in {"", "localhost"} or not path.startswith("/") or query:
        raise SettingsError("a directory is written file:///absolute/path, without a query")
    return Address("file", str(Path(path)))


def _prefix(path: str) -> str:
    try:
        return clean_path(path) if path else ""
    except Invalid as error:
        raise SettingsError(f"the prefix of a store's URL: {error}") from error


def _options(kind: str, query: str) -> Mapping[str, str]:
    try:
        options = dict(parse_qsl(query, strict_parsing=True)) if query else {}
    except ValueError as error:
        raise SettingsError(f"the query of a {kind}:// URL is not name=value") from error
    unknown = sorted(options.keys() - _OPTIONS[kind])
    if unknown:
        known = ", ".join(sorted(_OPTIONS[kind])) or "none"
        raise SettingsError(f"unknown option {unknown[0]!r} of a {kind}:// URL (known: {known})")
    if "endpoint" in options:
        _check_endpoint(options["endpoint"])
    return MappingProxyType(options)


def _check_endpoint(endpoint: str) -> None:
    parts = urlsplit(endpoint)
    if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc:
        raise SettingsError("the endpoint of a store is http(s)://host[:port], no credentials")
