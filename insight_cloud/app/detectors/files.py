"""Which files of a working copy are looked at; apart because every detector gets the same ones."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from insight_cloud.core import process
from insight_cloud.core.errors import Missing, Refused

__all__ = ["FILE_BYTES", "File", "LeftOut", "Tree", "git", "read"]

FILE_BYTES = 1024 * 1024
"""Larger files are left out: they are data or generated, and no analyzer is made for them."""

_GIT_SECONDS = 60.0
_BINARY_BYTES = 8192
_HOME = str(Path.home())
_KINDS = {stat.S_IFLNK: "a symbolic link", stat.S_IFDIR: "a repository of its own"}

# What a walk outside of git passes over: other people's code, build results, caches.
_PASSED_OVER = frozenset(
    {
        ".cache",
        ".eggs",
        ".git",
        ".gradle",
        ".hg",
        ".idea",
        ".insight",
        ".mypy_cache",
        ".next",
        ".nox",
        ".nuxt",
        ".pytest_cache",
        ".ruff_cache",
        ".svn",
        ".terraform",
        ".tox",
        ".venv",
        ".vscode",
        "__pycache__",
        "bower_components",
        "build",
        "dist",
        "htmlcov",
        "node_modules",
        "site-packages",
        "target",
        "venv",
    }
)
_FOREIGN = frozenset(
    {
        "_vendor",
        "bower_components",
        "extern",
        "node_modules",
        "site-packages",
        "third-party",
        "third_party",
        "thirdparty",
        "vendor",
        "vendored",
    }
)
_GENERATED = re.compile(
    r"(?:[.-]min\.(?:js|css|mjs|cjs)|\.bundle\.js|\.chunk\.js|\.map|_pb2(?:_grpc)?\.pyi?|\.pb\.go"
    r"|\.g\.dart|\.designer\.cs|(?:^|[-.])lock(?:\.json|\.yaml|\.yml)?|(?:^|/)go\.sum)$",
    re.IGNORECASE,
)
_GENERATED_LINE_BYTES = 400
"""A mean line longer than this was written by a program (the longest of django's own is 96)."""


@dataclass(frozen=True, slots=True)
class File:
    """A text file below the root: `name` is relative, with forward slashes, valid Unicode.

    `digest` is of its bytes. `own` is False for code that the team did not write: vendored,
    generated or minified.
    """

    name: str
    path: str
    size_bytes: int
    digest: bytes
    own: bool = True

    @property
    def suffix(self) -> str:
        """The part of the name after its last dot, lower case, with the dot; may be empty."""
        return os.path.splitext(self.name)[1].lower()  # noqa: PTH122 - 20,000 Paths are slow


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file that no detector sees, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Tree:
    """The files below `root` that detectors look at, by name, and those left out."""

    root: Path
    files: tuple[File, ...]
    left_out: tuple[LeftOut, ...] = ()


async def read(path: Path, *, file_bytes: int = FILE_BYTES) -> Tree:
    """Collect the files at `path`: a directory, or one file (its directory is then the root).

    In a git working copy these are the files that git tracks or would track; elsewhere every
    file besides the usual build results and caches. Left out are symbolic links, what lies
    outside of the root, binaries and files larger than `file_bytes`.

    Raises:
        Missing: there is nothing at `path`.
        Refused: it cannot be read, or is neither a directory nor a file.
    """
    root, name = _place(path)
    names = await _names(root) if name is None else [name]
    return await asyncio.to_thread(_collect, root, names, file_bytes)


def _place(path: Path) -> tuple[Path, bytes | None]:
    """The root, and the one file's name if `path` is a file."""
    try:
        mode = path.stat().st_mode
        real = path.resolve(strict=True)
        str(real).encode()
    except FileNotFoundError as error:
        raise Missing(f"{path} does not exist") from error
    except UnicodeEncodeError as error:
        raise Refused("the path's name is not UTF-8: rename it") from error
    except (OSError, RuntimeError) as error:
        raise Refused(f"cannot read {path}: {error}") from error
    if stat.S_ISREG(mode):
        return real.parent, os.fsencode(real.name)
    if not stat.S_ISDIR(mode):
        raise Refused(f"{path} is neither a directory nor a file")
    return real, None


async def git(root: Path, *arguments: str) -> bytes | None:
    """What git answers in `root`, or None where git, or a working copy, is not there.

    The working copy's own configuration can name programs for git to start (a file system
    monitor, hooks, transports): all of these are switched off, as it may be a stranger's.
    """
    program = _git(root)
    if program is None:
        return None
    outcome = await process.run(
        [
            program,
            *("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"),
            *("-c", "core.untrackedCache=false", "-c", "safe.directory=*"),
            *arguments,
        ],
        timeout_seconds=_GIT_SECONDS,
        cwd=root,
        environment={
            "PATH": os.defpath,
            "HOME": _HOME,
            "LC_ALL": "C.UTF-8",
            "GIT_ALLOW_PROTOCOL": "none",
            "GIT_NO_LAZY_FETCH": "1",
            "GIT_OPTIONAL_LOCKS": "0",
            "GIT_TERMINAL_PROMPT": "0",
        },
    )
    return outcome.stdout if outcome.status == 0 else None


def _git(root: Path) -> str | None:
    """The user's git, unless PATH leads into the analysed code."""
    program = shutil.which("git")
    if program is None or Path(program).resolve().is_relative_to(root):
        return None
    return program


async def _names(root: Path) -> list[bytes]:
    # A directory that git ignores as a whole was still named by the user: walk it.
    if await git(root, "check-ignore", "--quiet", ".") is None:
        listed = await git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
        if listed is not None:
            return [name for name in listed.split(b"\0") if name]
    try:
        return await asyncio.to_thread(lambda: list(_walk(os.fsencode(root))))
    except OSError as error:
        raise Refused(f"cannot read {root}: {error.strerror}") from error


def _walk(root: bytes) -> Iterator[bytes]:
    def refuse_root(error: OSError) -> None:
        if error.filename == root:
            raise error

    for directory, below, names in os.walk(root, onerror=refuse_root):
        below[:] = sorted(name for name in below if os.fsdecode(name) not in _PASSED_OVER)
        for name in names:
            yield os.path.relpath(os.path.join(directory, name), root)  # noqa: PTH118 - bytes


def _collect(root: Path, names: Iterable[bytes], file_bytes: int) -> Tree:
    inside = _Inside(os.fsencode(root))
    files: list[File] = []
    left_out: list[LeftOut] = []
    for name in sorted(set(names)):
        taken = _take(inside, name, file_bytes)
        if isinstance(taken, File):
            files.append(taken)
        elif taken:
            left_out.append(LeftOut(name.decode("utf-8", "backslashreplace"), taken))
    files.sort(key=lambda file: file.name)
    return Tree(root, tuple(files), tuple(left_out))


class _Inside:
    """Whether a directory really lies below the root, asked once a directory."""

    def __init__(self, root: bytes) -> None:
        self.root = root
        self._known: dict[bytes, bool] = {b"": True}

    def holds(self, name: bytes) -> bool:
        # git may track `a/b` while `a` has meanwhile become a link to somewhere else.
        directory = os.path.dirname(name)  # noqa: PTH120 - bytes
        if directory not in self._known:
            path = os.path.join(self.root, directory)  # noqa: PTH118 - bytes
            self._known[directory] = os.path.realpath(path) == path
        return self._known[directory]


def _take(inside: _Inside, name: bytes, file_bytes: int) -> File | str:
    """The file called `name`, or why it is left out; an empty reason needs no mention."""
    path = os.path.join(inside.root, name)  # noqa: PTH118 - bytes
    if not inside.holds(name):
        return "behind a symbolic link"
    try:
        status = os.lstat(path)
        text = name.decode("utf-8")
    except FileNotFoundError:
        return ""  # deleted, and git has not been told yet
    except UnicodeDecodeError:
        return "its name is not UTF-8"
    except OSError as error:
        return error.strerror or "unreadable"
    return _unfit(status, file_bytes) or _read(path, text)


def _unfit(status: os.stat_result, file_bytes: int) -> str:
    if not stat.S_ISREG(status.st_mode):
        return _KINDS.get(stat.S_IFMT(status.st_mode), "not a regular file")
    if status.st_size > file_bytes:
        return f"larger than {file_bytes / 1024:,.0f} KiB"
    return ""


def _read(path: bytes, name: str) -> File | str:
    try:
        # Without following a link that took the file's place since we looked.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as stream:
            data = stream.read()
    except OSError as error:
        return error.strerror or "unreadable"
    if b"\0" in data[:_BINARY_BYTES]:
        return "binary"
    return File(
        name=name,
        path=os.fsdecode(path),
        size_bytes=len(data),
        digest=hashlib.blake2b(data, digest_size=16).digest(),
        own=not _is_foreign(name, data),
    )


def _is_foreign(name: str, data: bytes) -> bool:
    if not _FOREIGN.isdisjoint(name.split("/")[:-1]) or _GENERATED.search(name):
        return True
    return len(data) > 4096 and len(data) / (data.count(b"\n") + 1) > _GENERATED_LINE_BYTES
