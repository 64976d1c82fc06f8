"""Throw-away databases on real servers: the embedded one, and Debian's where it is installed.

Apart from the fixtures, so that a test can start a server of its own and break it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
import pytest
from psycopg import sql

from insight_cloud.app.jobs import schema
from insight_cloud.database import Pool, migrations

UNSAFE = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
"""A test's database is gone before a power failure could hurt it."""


def fast_directory() -> Path:
    """Memory, where it is plenty: making and dropping databases is mostly the work of a disk."""
    memory = Path("/dev/shm")
    if memory.is_dir() and shutil.disk_usage(memory).free > 2 * 1024**3:
        return memory
    return Path("/tmp")


def with_database(url: str, name: str) -> str:
    """The same server, another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


@asynccontextmanager
async def database(url: str, *, template: str = "template0") -> AsyncIterator[str]:
    """A new database on the server of `url`, dropped at the end whoever is still connected."""
    name = f"test_{uuid.uuid4().hex}"
    created = sql.SQL("create database {} template {}").format(
        sql.Identifier(name), sql.Identifier(template)
    )
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute(created)
        yield with_database(url, name)
        await connection.execute(
            sql.SQL("drop database {} with (force)").format(sql.Identifier(name))
        )


async def template(url: str, directory: Path) -> str:
    """The name of a database with the migrations of `directory`, made once for each content."""
    content = "".join(migration.sha256 for migration in migrations.wanted(directory))
    name = f"template_{hashlib.sha256(content.encode()).hexdigest()[:16]}"
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        # Several test processes share the server: one of them makes it, the others wait.
        await connection.execute("select pg_advisory_lock(1)")
        found = await connection.execute("select 1 from pg_database where datname = %s", [name])
        if await found.fetchone() is None:
            unfinished = sql.Identifier(f"{name}_unfinished")
            await connection.execute(sql.SQL("drop database if exists {}").format(unfinished))
            await connection.execute(sql.SQL("create database {}").format(unfinished))
            unfinished_url = with_database(url, f"{name}_unfinished")
            await migrations.apply(unfinished_url, directory)
            async with Pool(unfinished_url, min_size=1, max_size=1) as pool:
                await schema.apply(pool)
            await connection.execute(
                sql.SQL("alter database {} rename to {}").format(unfinished, sql.Identifier(name))
            )
    return name


class Debian:
    """Debian's PostgreSQL on a socket in a temporary directory, under an unprivileged user."""

    def __init__(self, binaries: Path, directory: Path, settings: Mapping[str, str]) -> None:
        self._binaries = binaries
        self._directory = directory
        self._settings = settings
        self._server: subprocess.Popen[bytes] | None = None
        port = settings.get("port", "5432")
        self.url = (
            f"postgresql://insight@/postgres?host={quote(str(directory), safe='')}&port={port}"
        )

    @property
    def data(self) -> Path:
        """The data directory."""
        return self._directory / "data"

    def initialise(self) -> None:
        options = ["--username=insight", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8"]
        subprocess.run(
            [self._binaries / "initdb", "-D", self.data, "--no-sync", *options],
            check=True,
            capture_output=True,
            cwd="/",
            **identity(),
        )

    def start(self) -> None:
        flags = [f"--{name}={value}" for name, value in self._settings.items()]
        with (self._directory / "log").open("ab") as log:
            self._server = subprocess.Popen(
                [self._binaries / "postgres", "-D", self.data, "-k", self._directory, *flags],
                stdout=log,
                stderr=log,
                cwd="/",
                **identity(),
            )

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """End it: SIGINT is a fast shutdown, SIGQUIT an immediate one."""
        assert self._server is not None
        self._server.send_signal(number)
        self._server.wait(30)

    async def ready(self) -> None:
        async with asyncio.timeout(30):
            while True:
                with contextlib.suppress(psycopg.OperationalError):
                    await (await psycopg.AsyncConnection.connect(self.url)).close()
                    return
                await asyncio.sleep(0.02)


def identity() -> dict[str, Any]:
    """How a child of root becomes an unprivileged user; nothing for anybody else."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam("nobody")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def require_debian() -> None:
    """Skip the test where Debian's PostgreSQL is missing; on the build server that is a failure."""
    if debian_binaries() is not None:
        return
    reason = "Debian's PostgreSQL is not installed (apt-get install postgresql)"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def debian_binaries() -> Path | None:
    """The newest PostgreSQL of the system, or None."""
    found = Path("/usr/lib/postgresql").glob("*/bin/postgres")
    return max((path.parent for path in found), key=_version, default=None)


def _version(binaries: Path) -> float:
    return float(binaries.parent.name)


@contextmanager
def debian(
    settings: Mapping[str, str] | None = None, *, files: Sequence[Path] = ()
) -> Iterator[Debian]:
    """A running server of Debian's, perhaps not ready yet; removed at the end.

    `files` are copied into its data directory, for itself alone.
    """
    binaries = debian_binaries()
    assert binaries is not None
    directory = Path(tempfile.mkdtemp(prefix="insight-debian-", dir=fast_directory()))
    try:
        if os.geteuid() == 0:
            shutil.chown(directory, "nobody")
        wanted = {"listen_addresses": "", "max_connections": "100", **UNSAFE, **(settings or {})}
        server = Debian(binaries, directory, wanted)
        server.initialise()
        for file in files:
            copy = Path(shutil.copy(file, server.data))
            copy.chmod(0o600)
            if os.geteuid() == 0:
                shutil.chown(copy, "nobody")
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(directory)
