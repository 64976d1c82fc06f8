"""One release of a folder's files: named by their content, minified, compressed. No disk here."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

from insight_cloud.assets.compress import delta, encode
from insight_cloud.assets.minify import minify
from insight_cloud.core.errors import Invalid, Missing

__all__ = ["KEPT", "Asset", "Release", "build", "with_deltas"]

KEPT = 3
"""Earlier releases whose files are kept and which newer files are compressed against."""

_DIGITS = 12  # of the hash in a name: 48 bits, far more than a site has files
_TEXT = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "mjs": "text/javascript; charset=utf-8",
    "json": "application/json",
    "map": "application/json",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
    "xml": "application/xml",
    "html": "text/html; charset=utf-8",
    "webmanifest": "application/manifest+json",
    "wasm": "application/wasm",
    "ttf": "font/ttf",
    "otf": "font/otf",
    "ico": "image/vnd.microsoft.icon",
}
_BINARY = {
    "woff": "font/woff",
    "woff2": "font/woff2",
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "gif": "image/gif",
    "webp": "image/webp",
    "avif": "image/avif",
    "mp3": "audio/mpeg",
    "mp4": "video/mp4",
    "webm": "video/webm",
    "pdf": "application/pdf",
}
_REFERENCE = re.compile(
    r"""(?P<import>@import\s*)?(?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
    r"""|(?P<url>url\(\s*(?P<inside>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^)\s]*)\s*\))""",
    re.IGNORECASE,
)
_ELSEWHERE = re.compile(r"(?:[a-z][a-z0-9+.-]*:|/|#)", re.IGNORECASE)
_PLAIN = re.compile(r"[A-Za-z0-9._/@-]+")


@dataclass(frozen=True, slots=True)
class Asset:
    """One file. `deltas` are for those who have the file whose hash (base64) is the key."""

    name: str
    """Path below the folder, as it was written."""
    path: str
    """The same with the hash of the content in it."""
    media_type: str
    body: bytes
    encodings: Mapping[str, bytes] = field(default_factory=dict)
    deltas: Mapping[str, bytes] = field(default_factory=dict)
    references: tuple[str, ...] = ()
    """Names of the files that this one needs."""

    @property
    def digest(self) -> str:
        """SHA-256 of the content, base64."""
        return base64.b64encode(hashlib.sha256(self.body).digest()).decode()

    @property
    def integrity(self) -> str:
        """What a page's `integrity` attribute says."""
        return "sha384-" + base64.b64encode(hashlib.sha384(self.body).digest()).decode()

    @property
    def pattern(self) -> str:
        """Where newer contents of this file are: a URL pattern, or "" if the name has none."""
        name = PurePosixPath(self.name)
        plain = _PLAIN.fullmatch(self.name) is not None
        return f"{name.with_suffix('')}.*{name.suffix}" if plain else ""


@dataclass(frozen=True, slots=True)
class Release:
    """Assets by name."""

    assets: Mapping[str, Asset]

    def __getitem__(self, name: str) -> Asset:
        """Return the asset.

        Raises:
            Missing: the release has none of that name.
        """
        asset = self.assets.get(name)
        if asset is None:
            raise Missing(f"there is no asset {name!r}")
        return asset


def build(sources: Mapping[str, bytes], known: Iterable[Asset] = ()) -> Release:
    """Make a release of files by name.

    `known` are assets of earlier releases: what has the same content is not compressed again.

    Raises:
        Invalid: a file cannot be minified, or files refer to each other in a ring.
        Missing: a stylesheet refers to a file that is not there.
    """
    by_path = {asset.path: asset for asset in known}
    made: dict[str, Asset] = {}
    for name in _in_order(sources):
        body = minify(name, sources[name])
        references: tuple[str, ...] = ()
        if name.endswith(".css"):
            body, references = _with_hashed_names(name, body, made)
        made[name] = _asset(name, body, references, by_path)
    return Release(dict(sorted(made.items())))


def with_deltas(release: Release, earlier: Iterable[Release]) -> Release:
    """Return the release with deltas against the files of the same name in earlier ones."""
    before = list(earlier)[:KEPT]
    return Release({name: _with_deltas(asset, before) for name, asset in release.assets.items()})


def _with_deltas(asset: Asset, before: list[Release]) -> Asset:
    if not asset.encodings:
        return asset
    smallest = min(map(len, asset.encodings.values()))
    deltas = dict(asset.deltas)
    for release in before:
        old = release.assets.get(asset.name)
        if old is not None and old.path != asset.path and old.digest not in deltas:
            packed = delta(asset.body, old.body)
            if len(packed) < smallest:
                deltas[old.digest] = packed
    return replace(asset, deltas=deltas)


def _asset(
    name: str, body: bytes, references: tuple[str, ...], known: Mapping[str, Asset]
) -> Asset:
    kind = name.rpartition(".")[2].lower()
    path = _hashed(name, body)
    same = known.get(path)
    if same is not None and same.body == body:
        encodings = same.encodings
    else:
        encodings = {} if kind in _BINARY else encode(body)
    media_type = _TEXT.get(kind) or _BINARY.get(kind) or "application/octet-stream"
    return Asset(name, path, media_type, body, encodings, references=references)


def _hashed(name: str, body: bytes) -> str:
    path = PurePosixPath(name)
    digest = hashlib.sha256(body).hexdigest()[:_DIGITS]
    return str(path.with_name(f"{path.stem}.{digest}{path.suffix}"))


# -- what stylesheets refer to -----------------------------------------------------------------


def _in_order(sources: Mapping[str, bytes]) -> list[str]:
    """Names such that what a stylesheet refers to comes before it."""
    ordered: list[str] = []
    state: dict[str, bool] = {}  # False while it is being visited

    def visit(name: str, by: str) -> None:
        if state.get(name) is False:
            raise Invalid(f"{by} and {name} refer to each other, so neither can be named")
        if name in state:
            return
        state[name] = False
        if name.endswith(".css"):
            text = sources[name].decode("utf-8", "replace")
            for target in _targets(name, text):
                if target not in sources:
                    raise Missing(f"{name} refers to {target}, which is not there")
                visit(target, name)
        state[name] = True
        ordered.append(name)

    for name in sorted(sources):
        visit(name, name)
    return ordered


def _targets(name: str, text: str) -> list[str]:
    found: list[str] = []
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)

    def note(target: str) -> str:
        found.append(target)
        return target

    _replaced(name, text, note)
    return found


def _with_hashed_names(
    name: str, body: bytes, made: Mapping[str, Asset]
) -> tuple[bytes, tuple[str, ...]]:
    """Let a stylesheet refer to the hashed names of the files beside it."""
    references: list[str] = []
    here = PurePosixPath(name).parent

    def hashed(target: str) -> str:
        references.append(target)
        return _relative(made[target].path, here)

    text = _replaced(name, body.decode("utf-8"), hashed)
    return text.encode(), tuple(dict.fromkeys(references))


def _replaced(name: str, text: str, change: Callable[[str], str]) -> str:
    """Hand every file that a stylesheet refers to, to `change`, and put what it returns there."""
    here = PurePosixPath(name).parent

    def one(match: re.Match[str]) -> str:
        quoted = match["inside"] if match["url"] else match["string"] if match["import"] else ""
        address = (quoted or "").strip("\"'")
        path, mark, rest = re.match(r"([^?#]*)([?#]?)(.*)", address, re.DOTALL).groups()  # type: ignore[union-attr]  # it always matches
        if not path or _ELSEWHERE.match(address):
            return match[0]
        target = change(_joined(here, path))
        return match[0].replace(quoted, f'"{target}{mark}{rest}"')

    return _REFERENCE.sub(one, text)


def _joined(here: PurePosixPath, path: str) -> str:
    parts: list[str] = [*here.parts]
    for part in path.split("/"):
        if part == "..":
            if not parts:
                return path  # outside of the folder, so certainly not there
            parts.pop()
        elif part not in {"", "."}:
            parts.append(part)
    return "/".join(parts)


def _relative(path: str, here: PurePosixPath) -> str:
    there, start = PurePosixPath(path).parts, here.parts
    shared = 0
    while shared < min(len(start), len(there) - 1) and start[shared] == there[shared]:
        shared += 1
    return "/".join([".."] * (len(start) - shared) + [*there[shared:]])
