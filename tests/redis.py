"""Real Redis servers for the tests: one, or a cluster of six, each in a temporary directory.

`with redis_server() as server:` gives a server that a test may kill; the fixtures
`redis_server` and `redis_cluster` (import them in a package's `conftest.py`) are shared by a
whole session and must be left running.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

__all__ = [
    "RedisCluster",
    "RedisServer",
    "redis_cluster",
    "redis_cluster_fixture",
    "redis_server",
    "redis_server_fixture",
]

_START_SECONDS = 10.0
_CLUSTER_SECONDS = 30.0
_SLOTS = 16384


@dataclass(slots=True)
class RedisServer:
    """One `redis-server` of our own: its port stays the same over `kill` and `restart`."""

    port: int
    directory: Path
    options: tuple[str, ...] = ()
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """Where it listens: loopback only, no password, nothing kept on disk."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def socket_path(self) -> Path:
        """The same server's unix socket."""
        return self.directory / "redis.sock"

    def start(self) -> None:
        """Start the server and wait until it answers."""
        program = shutil.which("redis-server")
        assert program is not None, "ask require_redis() first"
        self._process = subprocess.Popen(
            [
                program,
                *("--port", str(self.port), "--bind", "127.0.0.1"),
                *("--unixsocket", str(self.socket_path), "--dir", str(self.directory)),
                *("--save", "", "--appendonly", "no", "--loglevel", "warning"),
                *self.options,
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={"PATH": os.environ.get("PATH", "")},
        )
        _wait_until(self._answers, "redis-server does not answer", _START_SECONDS)

    def kill(self) -> None:
        """End it as a crash would: no farewell, data lost, connections reset."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        self._process = None

    def stop(self) -> None:
        """Hang it: connections stay open and nothing is answered until `resume`."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a hung server go on."""
        self._signal(signal.SIGCONT)

    def restart(self) -> None:
        """Start it again, empty, on the same port; kill it first if it runs."""
        self.kill()
        self.start()

    def command(self, *words: str) -> str:
        """Send one command on a connection of its own; the raw RESP answer."""
        request = f"*{len(words)}\r\n" + "".join(f"${len(w.encode())}\r\n{w}\r\n" for w in words)
        with socket.create_connection(("127.0.0.1", self.port), timeout=2) as connection:
            connection.sendall(request.encode())
            return connection.recv(65536).decode()

    def commands_processed(self) -> int:
        """How many commands the server has executed since it started (this one included)."""
        name = "total_commands_processed:"
        lines = self.command("INFO", "stats").splitlines()
        return next(int(line.removeprefix(name)) for line in lines if line.startswith(name))

    def _signal(self, number: int) -> None:
        assert self._process is not None, "the server does not run"
        self._process.send_signal(number)

    def _answers(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            pytest.fail(f"redis-server ended with status {self._process.returncode}")
        with contextlib.suppress(OSError):
            return self.command("PING").startswith("+PONG")
        return False


@dataclass(frozen=True, slots=True)
class RedisCluster:
    """Three primaries with a replica each, all slots covered."""

    nodes: tuple[RedisServer, ...]

    @property
    def url(self) -> str:
        """Any client finds the other nodes from this one."""
        return self.nodes[0].url

    def primaries(self) -> tuple[RedisServer, ...]:
        """The nodes that hold slots at this moment."""
        return tuple(n for n in self.nodes if "role:master" in n.command("INFO", "replication"))


@contextlib.contextmanager
def redis_server(*options: str) -> Iterator[RedisServer]:
    """A server of one's own, to be killed, hung and restarted at will.

    `options` are words of redis-server's command line. Without the program the test is
    skipped; under CI=true it fails.
    """
    require_redis()
    with tempfile.TemporaryDirectory(prefix="redis-") as directory:
        server = RedisServer(_free_port(), Path(directory), options)
        server.start()
        try:
            yield server
        finally:
            server.kill()


@contextlib.contextmanager
def redis_cluster() -> Iterator[RedisCluster]:
    """A Redis Cluster of six nodes; the same rules as `redis_server`."""
    require_redis()
    options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "2000")
    with contextlib.ExitStack() as stack:
        nodes = tuple(stack.enter_context(redis_server(*options)) for _ in range(6))
        _join(nodes)
        yield RedisCluster(nodes)


@pytest.fixture(name="redis_server", scope="session")
def redis_server_fixture() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture(name="redis_cluster", scope="session")
def redis_cluster_fixture() -> Iterator[RedisCluster]:
    with redis_cluster() as cluster:
        yield cluster


def require_redis() -> None:
    """Skip the test where there is no redis-server; on the build server that is a failure."""
    if shutil.which("redis-server") is not None:
        return
    reason = "redis-server is not installed (Debian: apt-get install redis-server)"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def _join(nodes: tuple[RedisServer, ...]) -> None:
    primaries, replicas = nodes[:3], nodes[3:]
    bounds = [_SLOTS * part // 3 for part in range(4)]
    for node, (first, end) in zip(primaries, itertools.pairwise(bounds), strict=True):
        node.command("CLUSTER", "ADDSLOTSRANGE", str(first), str(end - 1))
    for number, node in enumerate(nodes):
        node.command("CLUSTER", "SET-CONFIG-EPOCH", str(number + 1))
        node.command("CLUSTER", "MEET", "127.0.0.1", str(nodes[0].port))
    _everywhere(nodes, lambda n: "cluster_known_nodes:6" in n.command("CLUSTER", "INFO"))
    for replica, primary in zip(replicas, primaries, strict=True):
        identity = primary.command("CLUSTER", "MYID").splitlines()[1]
        _wait_until(
            partial(_follows, replica, identity), "a replica does not follow", _CLUSTER_SECONDS
        )
    _everywhere(nodes, lambda n: "cluster_state:ok" in n.command("CLUSTER", "INFO"))
    _everywhere(nodes, lambda n: n.command("CLUSTER", "NODES").count(" slave ") >= 2)
    _everywhere(replicas, lambda n: "master_link_status:up" in n.command("INFO", "replication"))


def _follows(replica: RedisServer, identity: str) -> bool:
    return replica.command("CLUSTER", "REPLICATE", identity).startswith("+OK")


def _everywhere(nodes: tuple[RedisServer, ...], holds: Callable[[RedisServer], bool]) -> None:
    _wait_until(lambda: all(map(holds, nodes)), "the cluster does not form", _CLUSTER_SECONDS)


def _wait_until(holds: Callable[[], bool], complaint: str, seconds: float) -> None:
    limit = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > limit:
            pytest.fail(complaint)
        time.sleep(0.01)


def _free_port() -> int:
    """A free port whose cluster bus (10,000 above) is free too.

    Both lie below the ports that the kernel gives to outgoing connections (32768 and up), so
    that nobody takes ours while a server is down between `kill` and `restart`.
    """
    while True:
        port = random.randrange(10_000, 22_000)
        with contextlib.suppress(OSError), socket.socket() as first, socket.socket() as bus:
            first.bind(("127.0.0.1", port))
            bus.bind(("127.0.0.1", port + 10_000))
            return port
