"""The process that starts the embedded PostgreSQL, and stops it when nobody uses it any more.

`embedded` runs it as a script: `keeper.py DIRECTORY SOCKETS BINARIES UID [NAME=VALUE ...]`.
It imports nothing of ours, so that it is small and outlives whoever started it.

Everything hangs on two locked files in DIRECTORY, because the kernel releases a lock whatever
way its holder ends:

    users.lock    shared by every process that uses the server. The keeper waits to have it
                  alone; when it has, nobody is left, and it stops the server. Newcomers wait
                  meanwhile, and start a new one.
    keeper.lock   held by the keeper as long as it lives: there is one server at most.

The server in turn ends with its keeper: the kernel sends it SIGINT, a fast shutdown.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import pwd
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

MAJOR_VERSION = "18"
REFUSED, CONFLICT, UNAVAILABLE = 4, 5, 6
READY_SECONDS = 300  # a long recovery after a power failure is still a start
STOP_SECONDS = 30
SETTINGS = {
    # Sized for a small machine that does other things as well.
    "shared_buffers": "64MB",
    "max_connections": "100",
    "max_wal_size": "512MB",
    "wal_compression": "on",
    "random_page_cost": "1.1",
    # Compiling a plan costs more than our statements do.
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    # Only through the socket, whose directory only the server's user can enter.
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
}
_PR_SET_PDEATHSIG = 1


class Failure(Exception):  # noqa: N818 - a verdict, which goes through a pipe
    """Why there is no server: `status` tells the starter which error to raise."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Cluster:
    """The data directory and the one process that serves it."""

    def __init__(
        self, directory: Path, sockets: Path, binaries: Path, uid: int, settings: dict[str, str]
    ) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.sockets = sockets
        self.binaries = binaries
        self.uid = uid
        self.settings = SETTINGS | settings

    def prepare(self) -> None:
        """Make the data directory, or prove that it is ours to serve."""
        private(self.sockets, self.uid)
        if not self.data.exists():
            self._initialise()
        if self.data.stat().st_uid != self.uid:
            raise Failure(REFUSED, f"{self.data} belongs to another user")
        version = (self.data / "PG_VERSION").read_text(encoding="ascii").strip()
        if version != MAJOR_VERSION:
            raise Failure(
                CONFLICT,
                f"{self.data} was written by PostgreSQL {version}, and this is {MAJOR_VERSION}:"
                " dump it with the older release and restore it with this one",
            )

    def _initialise(self) -> None:
        """Create the cluster under another name: a directory called `data` is always whole."""
        unfinished = self.directory / "data.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        private(unfinished, self._initialiser())
        options = ["--username=insight", "--auth=trust", "--encoding=UTF8", "--locale=C"]
        options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-instructions"]
        if self.settings.get("fsync") == "off":
            options.append("--no-sync")
        with reachable(unfinished) as (path, fds):
            self._run("initdb", "-D", path, *options, fds=fds)
            arguments = ("--single", "-D", path, "postgres")
            self._run("postgres", *arguments, fds=fds, stdin=b"create database insight\n")
        if self._initialiser() != self.uid:
            for folder, _, names in os.walk(unfinished):
                for path in (folder, *(os.path.join(folder, name) for name in names)):  # noqa: PTH118 - strings, a thousand of them
                    os.chown(path, self.uid, self.uid, follow_symlinks=False)
        unfinished.rename(self.data)

    def _initialiser(self) -> int:
        """Who runs initdb: it insists on a user with a name, which the server does not need."""
        if os.geteuid() != 0:
            return self.uid
        try:
            return pwd.getpwnam("nobody").pw_uid
        except KeyError:
            raise Failure(UNAVAILABLE, "there is no user `nobody` to run initdb as") from None

    def _run(self, program: str, *arguments: str, fds: tuple[int, ...], stdin: bytes = b"") -> None:
        try:
            done = subprocess.run(
                [self.binaries / program, *arguments],
                input=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                check=False,
                cwd="/",
                env={"LC_ALL": "C", "TZ": "UTC"},
                pass_fds=fds,
                **self._identity(self._initialiser()),
            )
        except OSError as error:
            raise Failure(UNAVAILABLE, f"cannot run {program}: {error}") from error
        if done.returncode != 0:
            said = done.stdout.decode("utf-8", "replace").strip()[-1000:]
            raise Failure(UNAVAILABLE, f"{program} ended with {done.returncode}: {said}")

    def launch(self) -> subprocess.Popen[bytes]:
        """Start the server; it is not ready yet."""
        self._clear()
        flags = [f"--{name}={value}" for name, value in self.settings.items()]
        with reachable(self.data) as (data, data_fds), reachable(self.sockets) as (sockets, fds):
            return subprocess.Popen(
                [self.binaries / "postgres", "-D", data, "-k", sockets, *flags],
                stdin=subprocess.DEVNULL,
                cwd="/",
                env={"LC_ALL": "C", "TZ": "UTC"},
                pass_fds=data_fds + fds,
                start_new_session=True,
                preexec_fn=_end_with_parent,  # noqa: PLW1509 - the other thread only waits for a lock
                **self._identity(self.uid),
            )

    def _clear(self) -> None:
        """Remove a dead server's `postmaster.pid`: its number may be another process's today.

        PostgreSQL refuses to start while a process with that number lives, whatever it is;
        in a container that starts anew, numbers come back at once.
        """
        pid_file = self.data / "postmaster.pid"
        try:
            pid = int(pid_file.read_text(encoding="ascii").split("\n", 1)[0])
        except (FileNotFoundError, ValueError):
            pid_file.unlink(missing_ok=True)
            return
        deadline = time.monotonic() + STOP_SECONDS
        while self._serves(pid):
            # A server whose keeper was killed; the kernel has told it to end.
            if time.monotonic() > deadline:
                raise Failure(CONFLICT, f"process {pid} serves {self.data} and does not end")
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGINT)
            time.sleep(0.05)
        pid_file.unlink(missing_ok=True)

    def _serves(self, pid: int) -> bool:
        """Whether process `pid` works in our data directory, as a server does."""
        try:
            return Path(f"/proc/{pid}/cwd").samefile(self.data)
        except OSError:
            return False

    def ready(self) -> bool:
        """Whether the server accepts connections, by its own word."""
        try:
            lines = (self.data / "postmaster.pid").read_text(encoding="utf-8").split("\n")
        except FileNotFoundError:
            return False
        return len(lines) > 7 and lines[7].strip() == "ready"

    def tidy(self) -> None:
        """Remove a socket directory that lies outside of ours."""
        if self.sockets.parent != self.directory:
            with contextlib.suppress(OSError):
                self.sockets.rmdir()

    @staticmethod
    def _identity(uid: int) -> dict[str, Any]:
        """How a child becomes `uid`, with no group of ours."""
        return {"user": uid, "group": uid, "extra_groups": []} if os.geteuid() == 0 else {}


class Keeper:
    """Keeps one server running until nobody uses it or it is told to stop."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._guard = threading.Lock()
        self._stopping = False
        self._gone = threading.Event()
        self._server: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Return when the server is ready."""
        self._cluster.prepare()
        self._server = self._cluster.launch()
        deadline = time.monotonic() + READY_SECONDS
        while not self._cluster.ready():
            if (status := self._server.poll()) is not None:
                said = tail(self._cluster.directory / "log")
                raise Failure(UNAVAILABLE, f"PostgreSQL ended with {status} at its start: {said}")
            if time.monotonic() > deadline:
                self._server.send_signal(signal.SIGQUIT)
                raise Failure(UNAVAILABLE, f"PostgreSQL was not ready after {READY_SECONDS} s")
            time.sleep(0.01)

    def keep(self) -> None:
        """Return when the server has stopped for good. One that crashes is started again."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: threading.Thread(target=self._stop).start())
        threading.Thread(target=self._stop_when_unused, daemon=True).start()
        failures = 0
        while self._server is not None and failures < 50:
            started = time.monotonic()
            self._server.wait()
            failures = 0 if time.monotonic() - started > 10 else failures + 1
            self._relaunch(pause_seconds=0.1 if failures > 1 else 0)
        self._gone.set()
        self._cluster.tidy()

    def _relaunch(self, *, pause_seconds: float) -> None:
        """The pause: what is left of a killed server may hold its shared memory for a moment."""
        if not self._stopping:
            time.sleep(pause_seconds)
        # Critical section: between the decision to stop and a new server there must be nothing.
        with self._guard:
            self._server = None if self._stopping else self._cluster.launch()

    def _stop_when_unused(self) -> None:
        users = lock_file(self._cluster.directory / "users.lock")
        fcntl.flock(users, fcntl.LOCK_EX)
        # Held from here to the end of this process: whoever comes now, waits.
        self._stop()

    def _stop(self) -> None:
        with self._guard:
            self._stopping = True
            server = self._server
        if server is None:
            return
        server.send_signal(signal.SIGINT)
        if not self._gone.wait(STOP_SECONDS):
            server.send_signal(signal.SIGQUIT)


def private(path: Path, uid: int) -> None:
    """Make the directory `path`, for `uid` alone; an existing one must be so already."""
    try:
        path.mkdir(mode=0o700)
        if os.geteuid() == 0:
            os.chown(path, uid, uid)
    except FileExistsError:
        found = path.lstat()
        if not path.is_dir() or path.is_symlink() or found.st_uid != uid or found.st_mode & 0o77:
            raise Failure(REFUSED, f"{path} is not a private directory of user {uid}") from None
    except OSError as error:
        raise Failure(REFUSED, f"cannot make {path}: {error.strerror}") from error


@contextlib.contextmanager
def reachable(path: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    """A name of `path` that a child can use whatever the permissions of the folders above.

    Root's folders are closed to the server's user, rightly. An open descriptor is a way past
    them, to this directory and to nothing else; the name is short as well, and a socket's
    must be.
    """
    if not Path("/proc/self/fd").exists():
        yield str(path), ()
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}", (descriptor,)
    finally:
        os.close(descriptor)


def lock_file(path: Path) -> int:
    """A descriptor of the file, for `flock`; closed by the end of the process."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def tail(log: Path) -> str:
    """The last of what the server said."""
    return log.read_text(encoding="utf-8", errors="replace").strip()[-1000:]


def _end_with_parent() -> None:
    """Ask the kernel for SIGINT at the end of the keeper; Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)


def _detach(directory: Path) -> None:
    """Leave the starter's terminal, folder and files; the log takes what we say."""
    os.setsid()
    os.chdir("/")
    log = directory / "log"
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size > 10_000_000:
            log.rename(directory / "log.old")
    into = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(into, 1)
    os.dup2(into, 2)


def _keep(cluster: Cluster, verdict: int) -> None:
    """Be the keeper; tell the starter through `verdict` how the start went."""
    _detach(cluster.directory)
    keeper = Keeper(cluster)
    try:
        keeper.start()
    except (Failure, OSError) as error:
        status = error.status if isinstance(error, Failure) else UNAVAILABLE
        os.write(verdict, f"{status}{error}".encode())
        return
    os.write(verdict, b"0")
    os.close(verdict)
    keeper.keep()


def main(arguments: list[str]) -> NoReturn:
    """Start a keeper that lives on; exit when its server is ready or has failed.

    Exit 0: the server is ready, or another keeper has the directory. Otherwise standard error
    says why not.
    """
    # uvloop leaves its ends of our standard streams open in us: whoever started us would wait
    # for their end as long as the keeper lives.
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    directory, sockets, binaries = map(Path, arguments[:3])
    settings = dict(setting.split("=", 1) for setting in arguments[4:])
    cluster = Cluster(directory, sockets, binaries, int(arguments[3]), settings)
    held = lock_file(directory / "keeper.lock")
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(0)
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.close(reader)
        _keep(cluster, writer)
        sys.exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as verdict:
        said = verdict.read().decode() or f"{UNAVAILABLE}the keeper died at its start"
    sys.stderr.write(said[1:])
    sys.stderr.flush()
    # Not sys.exit: the lock and the threads are the keeper's.
    os._exit(int(said[0]))


if __name__ == "__main__":
    main(sys.argv[1:])
