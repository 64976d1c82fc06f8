"""The certificates on disk: a folder a version, and one link that is swapped when all is there.

    certificates/                    0700
      current -> versions/20261125T101500Z-1f2e3d4c
      versions/20261125T101500Z-1f2e3d4c/
        fullchain.pem key.pem meta.json        all 0600
      challenges/TOKEN               what http-01 answers
      account.json                   the ACME account's key and address, 0600
      state.json                     tries, failures, what the authority advised
      lock

A version is written under a temporary name, flushed to the disk and renamed; then a new link
replaces `current`, in one step. Whatever happens in between, `current` names a whole pair.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from insight_cloud.core.errors import Conflict, Corrupt, InsightError, Missing, Unavailable
from insight_cloud.core.report import Check
from insight_cloud.tls import certificate
from insight_cloud.tls.certificate import Certificate

__all__ = ["Meta", "Store", "Version", "private", "read", "replace"]

CHAIN, KEY, META = "fullchain.pem", "key.pem", "meta.json"
_TOKEN = re.compile(r"[A-Za-z0-9_-]{16,256}")
_VERSION = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}(-\d+)?")
_STATE_BYTES = 64 * 1024
_SHARED = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True)
class Meta:
    """Where a version came from."""

    method: str
    installed: datetime
    profile: str | None = None
    source: str = ""


@dataclass(frozen=True, slots=True)
class Version:
    """One certificate of the history."""

    name: str
    directory: Path
    meta: Meta

    @property
    def chain(self) -> Path:
        """The file of the whole chain, leaf first."""
        return self.directory / CHAIN

    @property
    def key(self) -> Path:
        """The file of the private key."""
        return self.directory / KEY

    def read(self) -> Certificate:
        """Read the chain.

        Raises:
            Missing, Corrupt: the file is not there, or is not what it should be.
        """
        return certificate.load(read(self.chain, certificate.CHAIN_BYTES))


class Store:
    """The folder of one service's certificate.

    Making a `Store` touches nothing; `install` makes what is missing. All methods are short
    and do not wait for anything but the disk.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self.challenges = self.directory / "challenges"
        self._versions = self.directory / "versions"
        self._current = self.directory / "current"

    @property
    def chain(self) -> Path:
        """The path that always leads to the present chain; for nginx and others."""
        return self._current / CHAIN

    @property
    def key(self) -> Path:
        """The path that always leads to the present key."""
        return self._current / KEY

    def current(self) -> Version | None:
        """Name the version in use, or None before the first.

        The link is read once: chain and key of the answer belong together even while
        another process installs.
        """
        try:
            target = self._current.readlink()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Unavailable(f"cannot read {self._current}: {error.strerror}") from error
        return self._version(target.name)

    def history(self) -> tuple[Version, ...]:
        """Name every version, the newest first."""
        try:
            names = [entry.name for entry in self._versions.iterdir()]
        except FileNotFoundError:
            return ()
        return tuple(self._version(n) for n in sorted(names, reverse=True) if _VERSION.fullmatch(n))

    def install(self, chain: bytes, key: bytes, meta: Meta, *, keep: int = 5) -> Version:
        """Write a pair that was checked before, and make it the one in use.

        Raises:
            Unavailable: the disk is full or refuses; what was in use stays in use.
        """
        try:
            self._prepare()
            name = self._free_name(meta.installed, certificate.load(chain).fingerprint[:8])
            self._write_version(name, {CHAIN: chain, KEY: key, META: _encode_meta(meta)})
            self._point(name)
        except OSError as error:
            raise Unavailable(
                f"cannot install the certificate in {self.directory}: {_reason(error)}; "
                "the one in use stays in use"
            ) from error
        version = self._version(name)
        self._prune(keep)
        return version

    def use(self, name: str) -> Version:
        """Make another version of the history the one in use.

        Raises:
            Missing: there is no such version.
        """
        if not _VERSION.fullmatch(name) or not (self._versions / name).is_dir():
            raise Missing(f"there is no version {name} in {self._versions}")
        try:
            self._point(name)
        except OSError as error:
            raise Unavailable(f"cannot change {self._current}: {_reason(error)}") from error
        return self._version(name)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Let one process at a time change anything.

        Raises:
            Conflict: another one is at it.
        """
        try:
            self._prepare()
            handle = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Unavailable(f"cannot write in {self.directory}: {_reason(error)}") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            raise Conflict(
                f"another process is changing {self.directory}: try again when it is done"
            ) from None
        try:
            yield
        finally:
            os.close(handle)  # and with it the lock

    def read_json(self, name: str) -> dict[str, Any] | None:
        """Read a small file of ours; None when it is not there.

        Raises:
            Corrupt: it is no JSON object.
        """
        path = self.directory / name
        try:
            value = json.loads(read(path, _STATE_BYTES))
        except Missing:
            return None
        except ValueError as error:
            raise Corrupt(f"{path} is damaged: {error}; move it away and try again") from error
        if not isinstance(value, dict):
            raise Corrupt(f"{path} is damaged: no JSON object; move it away and try again")
        return value

    def write_json(self, name: str, value: dict[str, Any]) -> None:
        """Replace a small file of ours, wholly or not at all."""
        try:
            self._prepare()
            replace(self.directory / name, json.dumps(value, indent=1).encode())
        except OSError as error:
            path = self.directory / name
            raise Unavailable(f"cannot write {path}: {_reason(error)}") from error

    def put_challenge(self, token: str, answer: str) -> None:
        """Let http-01 answer `token`, in every process that serves this folder."""
        if not _TOKEN.fullmatch(token):
            raise Corrupt(f"the authority sent a challenge token that is none: {token[:80]!r}")
        try:
            self._prepare()
            replace(self.challenges / token, answer.encode())
        except OSError as error:
            raise Unavailable(f"cannot write in {self.challenges}: {_reason(error)}") from error

    def get_challenge(self, token: str) -> bytes | None:
        """Return the answer to `token`; None for everything that was not put."""
        if not _TOKEN.fullmatch(token):
            return None
        try:
            return read(self.challenges / token, 1024)
        except (Missing, Corrupt, Unavailable):
            return None

    def drop_challenge(self, token: str) -> None:
        """Forget `token`."""
        with contextlib.suppress(OSError):
            (self.challenges / token).unlink()

    def permissions(self) -> Check:
        """Say whether anybody else on this machine can read a private key."""
        open_ones = []
        paths = [self.directory, self.directory / "account.json"]
        for version in self.history():
            paths += [version.directory, version.key]
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mode & _SHARED:
                    open_ones.append(path)
        if not open_ones:
            return Check("tls.permissions", "pass", f"{self.directory} is its owner's only")
        return Check(
            "tls.permissions",
            "fail",
            f"others may read {open_ones[0]}: chmod go-rwx {open_ones[0]}",
        )

    def _version(self, name: str) -> Version:
        directory = self._versions / name
        try:
            raw = json.loads(read(directory / META, _STATE_BYTES))
            meta = Meta(**{**raw, "installed": datetime.fromisoformat(raw["installed"])})
        except (InsightError, ValueError, KeyError, TypeError):
            # A pair without its note still serves; `check` tells what is wrong with the pair.
            meta = Meta("unknown", datetime.fromisoformat("1970-01-01T00:00:00+00:00"))
        return Version(name, directory, meta)

    def _prepare(self) -> None:
        for directory in (self.directory, self._versions, self.challenges):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _free_name(self, moment: datetime, fingerprint: str) -> str:
        name = f"{moment:%Y%m%dT%H%M%SZ}-{fingerprint}"
        return (
            name if not (self._versions / name).exists() else f"{name}-{secrets.randbelow(10**6)}"
        )

    def _write_version(self, name: str, files: dict[str, bytes]) -> None:
        temporary = self._versions / f".{name}.{secrets.token_hex(4)}"
        temporary.mkdir(mode=0o700)
        try:
            for file, data in files.items():
                _write(temporary / file, data)
            _flush(temporary)
            temporary.rename(self._versions / name)
            _flush(self._versions)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise

    def _point(self, name: str) -> None:
        """Swap the link; the only step that the servers notice."""
        link = self.directory / f".current.{secrets.token_hex(4)}"
        link.symlink_to(Path("versions") / name, target_is_directory=True)
        try:
            link.replace(self._current)
        except BaseException:
            link.unlink(missing_ok=True)
            raise
        _flush(self.directory)

    def _prune(self, keep: int) -> None:
        """Remove what is older than the newest `keep`, and what killed processes left.

        Whoever installs holds the lock, so no challenge is anybody's any more.
        """
        current = self.current()
        spared = {version.name for version in self.history()[:keep]}
        spared |= {current.name} if current else set()
        for entry in self._versions.iterdir():
            if entry.name not in spared:
                shutil.rmtree(entry, ignore_errors=True)
        for left in (*self.directory.glob(".current.*"), *self.challenges.iterdir()):
            with contextlib.suppress(OSError):
                left.unlink()


def private(path: Path) -> Check:
    """Say whether anybody but its owner can read a key file."""
    try:
        shared = path.stat().st_mode & _SHARED
    except OSError as error:
        return Check("tls.permissions", "fail", f"cannot look at {path}: {error.strerror}")
    if shared:
        return Check(
            "tls.permissions", "fail",
            f"others may read {path}: chmod 600 {path}; if somebody did, make a new key",
        )  # fmt: skip
    return Check("tls.permissions", "pass", f"{path} is its owner's only")


def read(path: Path, limit: int) -> bytes:
    """Read a file of at most `limit` bytes.

    Raises:
        Missing, Unavailable, Corrupt: it is not there; cannot be read; is larger.
    """
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise Missing(f"there is no file {path}") from error
    except OSError as error:
        raise Unavailable(f"cannot read {path}: {error.strerror}") from error
    if len(data) > limit:
        raise Corrupt(f"{path} has more than {limit} bytes")
    return data


def replace(path: Path, data: bytes) -> None:
    """Write a private file beside `path`, flush it, and rename it over `path`."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        _write(temporary, data)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _flush(path.parent)


def _write(path: Path, data: bytes) -> None:
    """Write a new file that only we may read from its first byte on, down to the disk."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(handle, "wb") as file:  # noqa: PTH123 - a descriptor, not a path
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _flush(directory: Path) -> None:
    """Make names in `directory` last."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _encode_meta(meta: Meta) -> bytes:
    return json.dumps({**asdict(meta), "installed": meta.installed.isoformat()}).encode()


def _reason(error: OSError) -> str:
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return f"{error.strerror}: make room on the disk"
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return f"{error.strerror}: run as the owner of the folder, or choose tls.directory"
    return error.strerror or str(error)
