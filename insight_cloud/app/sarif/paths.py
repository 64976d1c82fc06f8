"""Where a result is: from URIs, bases and roots to a path below the source root.

Apart because tools name the same file in a dozen ways. The answer is always relative with
forward slashes and never leaves the root; what lies elsewhere keeps its name as "external".
"""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from urllib.parse import unquote

import msgspec

from insight_cloud.app.sarif.wire import ArtifactLocation

__all__ = ["Named", "Resolver", "common_root"]

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
_DRIVE = re.compile(r"/*[A-Za-z]:(?=/|$)")
_NO_FILE = "\0"
"""Marks what is no file, such as an https address; no path can begin so."""

_NOWHERE = "\0"
"""A root that nothing stands below, for a log whose results name no absolute path."""

_LONGEST_CHAIN = 16
"""Bases that refer to each other in a circle must come to an end."""


class Named(msgspec.Struct, frozen=True, gc=False):
    """A file's path relative to the root, or its full name with `external` set."""

    path: str
    external: bool = False


class Resolver:
    """Answers for one run; equal questions are answered from memory.

    `bases` are `originalUriBaseIds`, `files` are `run.artifacts`. `root` is the source root
    where the caller knows it. Otherwise it is found when the first absolute path turns up:
    the directory of the bases in use, else the tool's `working_directory`, else the deepest
    one that holds all `primary` places.
    """

    def __init__(
        self,
        *,
        bases: Mapping[str, ArtifactLocation],
        files: Sequence[ArtifactLocation | None],
        primary: Callable[[], Iterable[ArtifactLocation]],
        root: str | None = None,
        working_directory: ArtifactLocation | None = None,
    ) -> None:
        self._bases = bases
        self._files = files
        self._primary = primary
        self._working_directory = working_directory
        self._root = None if root is None else _plain(root).rstrip("/")
        self._names: dict[tuple[str | None, str | None, int | None], Named | None] = {}

    def name(self, place: ArtifactLocation) -> Named | None:
        """The file's name; None when `place` names none (no URI, an index out of range)."""
        asked = (place.uri, place.uri_base_id, place.index)
        try:
            return self._names[asked]
        except KeyError:
            answer = self._names[asked] = self._name(place)
            return answer

    def _name(self, place: ArtifactLocation) -> Named | None:
        full = self._full(place)
        if full is None:
            return None
        if full.startswith(_NO_FILE):
            return Named(full[1:], external=True)
        relative = self._below_root(full)
        inside = None if relative is None else _normal(relative)
        return Named(_shown(full), external=True) if inside is None else Named(inside)

    def _below_root(self, full: str) -> str | None:
        """`full` without the root; None when it is absolute and not below the root."""
        if not full.startswith("/"):
            relative_root = self._root and not self._root.startswith("/")
            return full.removeprefix(f"{self._root}/") if relative_root else full
        if self._root is None:
            self._root = self._find_root()
        inside = _normal(full[1:])
        if inside is None:
            return None
        path, root = f"/{inside}", self._root
        if _same(path, root):
            return "."
        head, rest = path[: len(root) + 1], path[len(root) + 1 :]
        return rest if _same(head, f"{root}/") else None

    def _find_root(self) -> str:
        if any(base.uri is None and base.uri_base_id is None for base in self._bases.values()):
            return _NOWHERE  # the log keeps its root to itself: absolute paths are outside
        places = list(self._primary())
        based = [f"{base}/" for place in places if (base := self._absolute_base(place))]
        if based:
            return common_root(based) or ""
        paths = [path for place in places if (path := self._full(place)) and path[0] == "/"]
        if self._working_directory is not None:
            directory = (self._full(self._working_directory) or "").rstrip("/")
            if any(_same(path[: len(directory) + 1], f"{directory}/") for path in paths):
                return directory
        root = common_root(paths)
        return _NOWHERE if root is None else root

    def _absolute_base(self, place: ArtifactLocation) -> str | None:
        base = self._base_of(place)
        directory = "" if base is None else self._base(base)
        return directory.rstrip("/") if directory.startswith("/") else None

    def _base_of(self, place: ArtifactLocation) -> str | None:
        if place.uri is not None:
            return place.uri_base_id
        file = self._file(place.index)
        return None if file is None else file.uri_base_id

    def _file(self, index: int | None) -> ArtifactLocation | None:
        if index is None or not 0 <= index < len(self._files):
            return None
        return self._files[index]

    def _full(self, place: ArtifactLocation) -> str | None:
        if place.uri is None:
            file = self._file(place.index)
            if file is None or file.uri is None:
                return None
            place = file
        path = _plain(place.uri or "")
        if path.startswith(("/", _NO_FILE)) or place.uri_base_id is None:
            return path
        return _joined(self._base(place.uri_base_id), path)

    def _base(self, name: str) -> str:
        """The directory that a base id stands for; one without definition is the root itself."""
        path = ""
        for _ in range(_LONGEST_CHAIN):
            base = self._bases.get(name)
            if base is None:
                return path
            path = _joined(_plain(base.uri or ""), path)
            if base.uri_base_id is None or path.startswith("/"):
                return path
            name = base.uri_base_id
        return path


def common_root(paths: Iterable[str]) -> str | None:
    """The deepest directory that holds all absolute `paths`, without a last slash; None: no paths.

    Where only the file system's root would remain, the largest family of paths counts: one
    header in /usr/include must not turn a whole project into files "outside".
    """
    directories = Counter(path.rpartition("/")[0] for path in paths)
    families: Counter[str] = Counter()
    for directory, count in directories.items():
        families[_family(directory)] += count
    if not families:
        return None
    family = max(families, key=lambda name: (families[name], name))
    members = [directory for directory in directories if _family(directory) == family]
    return posixpath.commonpath(members).rstrip("/") if family else ""


def _family(directory: str) -> str:
    return directory.split("/", 2)[1] if directory else ""


def _plain(uri: str) -> str:
    """A URI or a path as a path: `/…` when absolute, after `_NO_FILE` when it is no file.

    Percent signs are decoded once: a file may really be called `100%25.txt`.
    """
    text = uri.replace("\\", "/")
    if _DRIVE.match(text):
        return _absolute(text)
    scheme = _SCHEME.match(text)
    if scheme is None:
        return _decoded(text)
    if scheme.group().lower() != "file:":
        return _NO_FILE + uri.replace("\0", "")
    rest = text[len("file:") :]
    if rest.startswith("//localhost/"):
        rest = rest[len("//localhost") :]
    return _absolute(rest)


def _absolute(path: str) -> str:
    """However many slashes: tools write two to five before the same absolute path."""
    return "/" + _decoded(path).lstrip("/")


def _decoded(text: str) -> str:
    if "%" in text:
        text = unquote(text).replace("\\", "/")
    return text.replace("\0", "")


def _joined(base: str, path: str) -> str:
    """`path` below `base`; the standard wants bases to end in a slash, tools forget it."""
    if not base or path.startswith(("/", _NO_FILE)):
        return path
    return f"{base.rstrip('/')}/{path}" if path else base


def _normal(path: str) -> str | None:
    """Without `.`, `..` and doubled slashes; None when it climbs out. The root itself is `.`."""
    if "/." not in path and "//" not in path and not path.startswith((".", "/")):
        return path.rstrip("/") or "."
    kept: list[str] = []
    for part in path.split("/"):
        if part == "..":
            if not kept:
                return None
            kept.pop()
        elif part not in {"", "."}:
            kept.append(part)
    return "/".join(kept) or "."


def _same(a: str, b: str) -> bool:
    """Equal, or equal but for case where both begin with a Windows drive."""
    return a == b or (bool(_DRIVE.match(a)) and a.lower() == b.lower())


def _shown(full: str) -> str:
    """An outside path as people write it: drives lose the slash that we put before them."""
    return full.lstrip("/") if _DRIVE.match(full) else full
