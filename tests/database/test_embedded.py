from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path

import pytest

from insight_cloud.core.errors import Conflict, Refused, Unavailable
from insight_cloud.database import Pool, embedded, keeper
from tests import postgres
from tests.database.test_pool import eventually

USER = """
import asyncio, sys
from pathlib import Path
from insight_cloud.database import embedded

async def main():
    async with embedded.server(Path(sys.argv[1]), settings={"fsync": "off"}) as url:
        print(url, flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""

# ruff: noqa: ASYNC220, ASYNC240 - nothing else runs on the loop while a test looks at files
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root serves as somebody else")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "database"


@contextmanager
def user(directory: Path, *, count: int = 1) -> Iterator[list[subprocess.Popen[str]]]:
    """Other processes of ours that use the server; each has it when this returns."""
    command = [sys.executable, "-c", USER, str(directory)]
    children = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for _ in range(count)
    ]
    try:
        for child in children:
            assert child.stdout is not None
            assert child.stdout.readline().startswith("postgresql://")
        yield children
    finally:
        for child in children:
            assert child.stdout is not None
            child.stdout.close()
            child.kill()
            child.wait(10)


def postmaster(directory: Path) -> int:
    return int((directory / "data" / "postmaster.pid").read_text().split("\n")[0])


def keeper_of(server: int) -> int:
    return int(Path(f"/proc/{server}/stat").read_text().rpartition(")")[2].split()[1])


def gone(pid: int) -> bool:
    """Whether the process has ended; an orphan may wait for its new parent to take notice."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def serve(directory: Path) -> AbstractAsyncContextManager[str]:
    return embedded.server(directory, settings=postgres.UNSAFE)


async def values(url: str) -> list[int]:
    async with Pool(url, min_size=1) as pool:
        await pool.execute("create table if not exists kept (n int)")
        await pool.execute("insert into kept select count(*) from kept")
        return await pool.fetch_all("select n from kept order by n", int)


async def test_data_survive_and_the_second_start_is_quick(directory: Path) -> None:
    async with serve(directory) as url:
        assert await values(url) == [0]
        first = postmaster(directory)
    assert gone(first)
    started = time.perf_counter()
    async with serve(directory) as url:
        seconds = time.perf_counter() - started
        assert await values(url) == [0, 1]
    assert gone(first)
    assert seconds < 2


async def test_it_is_postgresql_18_with_nothing_on_the_network(directory: Path) -> None:
    async with embedded.server(directory) as url, Pool(url, min_size=1) as pool:
        assert (await pool.fetch_value("show server_version")).startswith("18.")
        assert await pool.fetch_value("show listen_addresses") == ""
        assert await pool.fetch_value("show fsync") == "on"
        assert await pool.fetch_value("show jit") == "off"
        assert await pool.fetch_value("select upper('grün')") == "GRÜN"
        assert (directory / "run").stat().st_mode & 0o77 == 0
        assert (directory / "data").stat().st_mode & 0o77 == 0


async def test_releasing_twice_is_harmless(directory: Path) -> None:
    server = await embedded.start(directory, settings=postgres.UNSAFE)
    pid = postmaster(directory)
    await server.release()
    await server.release()
    assert gone(pid)


async def test_two_holds_share_one_server_and_the_last_one_stops_it(directory: Path) -> None:
    first = await embedded.start(directory, settings=postgres.UNSAFE)
    second = await embedded.start(directory)
    pid = postmaster(directory)
    await first.release()
    assert await values(second.url) == [0]
    assert postmaster(directory) == pid
    await second.release()
    assert gone(pid)


async def test_processes_that_start_at_once_share_one_server(directory: Path) -> None:
    with user(directory, count=3):
        pid = postmaster(directory)
        async with serve(directory) as url:
            assert await values(url) == [0]
            assert postmaster(directory) == pid
    await eventually(lambda: gone(pid))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
async def test_however_its_last_user_ends_no_server_stays(
    directory: Path, number: signal.Signals
) -> None:
    with user(directory, count=2) as (one, other):
        pid = postmaster(directory)
        held = keeper_of(pid)
        one.send_signal(number)
        one.wait(10)
        assert not gone(pid)
        other.send_signal(number)
        other.wait(10)
        await eventually(lambda: gone(pid) and gone(held), seconds=10)


async def test_a_terminals_ctrl_c_reaches_the_users_and_not_the_server(directory: Path) -> None:
    with user(directory) as (child,):
        pid = postmaster(directory)
        assert os.getsid(pid) != os.getsid(child.pid)
        assert os.getpgid(keeper_of(pid)) != os.getpgid(child.pid)


async def test_a_crashed_server_is_started_again_under_the_same_url(directory: Path) -> None:
    # With the settings of real data: the other tests' ones lose the last moments in a crash.
    async with embedded.server(directory) as url, Pool(url, min_size=1) as pool:
        await values(url)
        pid = postmaster(directory)
        os.kill(pid, signal.SIGKILL)
        await eventually(lambda: gone(pid))
        async with asyncio.timeout(20):
            while True:
                try:
                    assert await pool.fetch_value("select count(*) from kept") == 1
                    break
                except Unavailable:
                    pass
        assert postmaster(directory) != pid


async def test_a_server_whose_keeper_is_killed_ends_and_the_next_start_recovers(
    directory: Path,
) -> None:
    async with serve(directory) as url:
        await values(url)
        pid = postmaster(directory)
        os.kill(keeper_of(pid), signal.SIGKILL)
        async with serve(directory) as again:
            assert await values(again) == [0, 1]
            assert postmaster(directory) != pid
        assert gone(pid)


async def test_a_keeper_that_is_told_to_end_stops_its_server(directory: Path) -> None:
    async with serve(directory):
        pid = postmaster(directory)
        os.kill(keeper_of(pid), signal.SIGTERM)
        await eventually(lambda: gone(pid))


async def test_a_stale_pid_file_of_a_living_stranger_is_no_obstacle(directory: Path) -> None:
    async with serve(directory):
        content = (directory / "data" / "postmaster.pid").read_text().split("\n")
    stranger = subprocess.Popen(["sleep", "600"], **postgres.identity())
    try:
        stale = "\n".join([str(stranger.pid), *content[1:]])
        (directory / "data" / "postmaster.pid").write_text(stale)
        async with serve(directory) as url:
            assert await values(url) == [0]
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


async def test_an_unfinished_initialisation_is_begun_anew(directory: Path) -> None:
    (directory / "data.new" / "base").mkdir(parents=True)
    async with serve(directory) as url:
        assert await values(url) == [0]
    assert not (directory / "data.new").exists()


async def test_another_major_version_is_a_conflict(directory: Path) -> None:
    async with serve(directory):
        pass
    (directory / "data" / "PG_VERSION").write_text("16\n")
    with pytest.raises(Conflict, match="written by PostgreSQL 16"):
        await embedded.start(directory)


async def test_a_server_that_cannot_start_says_its_last_words(directory: Path) -> None:
    with pytest.raises(Unavailable, match="shared_buffers"):
        await embedded.start(directory, settings={"shared_buffers": "no number"})
    async with serve(directory) as url:
        assert await values(url) == [0]


@root_only
async def test_a_directory_of_somebody_else_is_refused(directory: Path) -> None:
    directory.mkdir()
    shutil.chown(directory, "nobody")
    with pytest.raises(Refused, match="belongs to user"):
        await embedded.start(directory)


@root_only
async def test_data_of_somebody_else_are_refused(directory: Path) -> None:
    async with serve(directory):
        pass
    shutil.chown(directory / "data", "nobody")
    with pytest.raises(Refused, match="another user"):
        await embedded.start(directory)


async def test_a_file_in_the_way_is_refused(directory: Path) -> None:
    directory.write_text("")
    with pytest.raises(Refused, match="cannot use"):
        await embedded.start(directory)


async def test_a_socket_directory_that_others_may_enter_is_refused(directory: Path) -> None:
    (directory / "run").mkdir(parents=True, mode=0o755)
    with pytest.raises(Refused, match="not a private directory"):
        await embedded.start(directory)


async def test_a_long_name_and_odd_characters_are_no_obstacle(tmp_path: Path) -> None:
    directory = tmp_path / ("long " * 40) / "ä, 'b' \"c\" %d\\e"
    async with serve(directory) as url:
        assert await values(url) == [0]
        sockets = embedded._sockets(directory)
        assert sockets.stat().st_mode & 0o77 == 0
        assert sockets.parent == Path("/tmp")
    assert not sockets.exists()


@root_only
async def test_root_serves_as_a_user_that_owns_nothing_else(directory: Path) -> None:
    async with serve(directory):
        status = Path(f"/proc/{postmaster(directory)}/status").read_text()
        assert f"Uid:\t{embedded.SERVER_UID}\t{embedded.SERVER_UID}" in status
        assert "Groups:\t \n" in status
        assert directory.stat().st_mode & 0o77 == 0, "nothing above the data was opened up"
        assert directory.stat().st_uid == 0


@root_only
async def test_programs_in_roots_own_folder_are_copied_for_the_server(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Path("/tmp") / f"insight-cache-{tmp_path.name}"
    monkeypatch.setattr(embedded, "_CACHE", cache)
    monkeypatch.setattr(embedded, "_open_to_all", lambda _: False)
    try:
        async with serve(directory) as url:
            assert await values(url) == [0]
            assert Path(f"/proc/{postmaster(directory)}/exe").readlink().is_relative_to(cache)
        assert embedded.binaries() == embedded.binaries()
        assert len(list(cache.iterdir())) == 1
    finally:
        shutil.rmtree(cache)


async def test_a_cancelled_start_leaves_nothing_behind(directory: Path) -> None:
    task = asyncio.create_task(embedded.start(directory))
    await eventually((directory / "keeper.lock").exists)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await eventually(lambda: not embedded._kept(directory), seconds=20)
    assert keeper.MAJOR_VERSION == "18"
    async with serve(directory) as url:
        assert await values(url) == [0]
