"""A directory as a store."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from insight_cloud.core.errors import Conflict, Invalid, Missing, Refused, Unavailable
from insight_cloud.core.storage import Leftover, Store, open_store
from insight_cloud.core.storage.disk import Disk
from tests.core.storage_contract import MIB, StoreContract, pieces, whole

# ruff: noqa: ASYNC220, ASYNC240 - nothing else runs on the loop while a test looks at files


class TestDisk(StoreContract):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[Store]:
        async with open_store(f"file://{tmp_path}/store") as store:
            yield store

    async def test_nothing_is_made_before_the_first_write(
        self, store: Store, tmp_path: Path
    ) -> None:
        assert await self.paths(store) == []
        assert await store.leftovers() == ()
        await store.delete(["name"])
        assert not (tmp_path / "store").exists()

    async def test_files_are_plain_files(self, store: Store, tmp_path: Path) -> None:
        await store.put("a/b.txt", b"content")
        assert (tmp_path / "store/a/b.txt").read_bytes() == b"content"

    async def test_an_empty_folder_goes_with_its_last_file(
        self, store: Store, tmp_path: Path
    ) -> None:
        await store.put("a/b/c.txt", b"")
        await store.delete(["a/b/c.txt"])
        assert sorted(path.name for path in (tmp_path / "store").iterdir()) == [".insight-partial"]

    async def test_a_private_store_keeps_others_out(self, tmp_path: Path) -> None:
        store = open_store(f"file://{tmp_path}/private", private=True)
        await store.put("a/b", b"secret")
        modes = {path: stat.S_IMODE(path.lstat().st_mode) for path in tmp_path.rglob("*")}
        assert modes[tmp_path / "private/a/b"] == 0o600
        assert all(mode & 0o077 == 0 for path, mode in modes.items() if path.is_dir())

    async def test_a_link_does_not_lead_out(self, store: Store, tmp_path: Path) -> None:
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "file").write_bytes(b"not ours")
        await store.put("a/1", b"")
        (tmp_path / "store/out").symlink_to(outside)
        (tmp_path / "store/a/file").symlink_to(outside / "file")
        for attempt in (
            lambda: store.put("out/new", b"x"),
            lambda: store.read("out/file"),
            lambda: store.head("out/file"),
            lambda: whole(store.stream("out/file")),
            lambda: store.delete(["out/file"]),
        ):
            with pytest.raises(Refused, match="leads out"):
                await attempt()
        with pytest.raises((Missing, Unavailable)):
            await store.read("a/file")
        assert await self.paths(store) == ["a/1"]
        assert [path.name for path in outside.iterdir()] == ["file"]

    async def test_a_link_is_replaced_and_not_followed(self, store: Store, tmp_path: Path) -> None:
        target = tmp_path / "target"
        target.write_bytes(b"not ours")
        await store.put("a/1", b"")
        (tmp_path / "store/a/1").unlink()
        (tmp_path / "store/a/1").symlink_to(target)
        await store.put("a/1", b"ours")
        assert target.read_bytes() == b"not ours"
        assert await store.read("a/1") == b"ours"

    async def test_a_file_and_a_folder_cannot_share_a_name(self, store: Store) -> None:
        await store.put("name", b"")
        with pytest.raises(Conflict, match="same name"):
            await store.put("name/below", b"")
        await store.put("folder/name", b"")
        with pytest.raises(Conflict, match="same name"):
            await store.put("folder", b"")
        assert await self.paths(store) == ["folder/name", "name"]

    async def test_what_a_killed_process_left_is_found_and_removed(
        self, store: Store, tmp_path: Path
    ) -> None:
        code = (
            "import asyncio, sys\n"
            "from insight_cloud.core.storage import open_store\n"
            "async def stream():\n"
            "    yield b'x' * 5_000_000\n"
            "    print('written', flush=True)\n"
            "    await asyncio.Event().wait()\n"
            f"asyncio.run(open_store('file://{tmp_path}/store').put('name', stream()))\n"
        )
        child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        assert child.stdout is not None
        child.stdout.readline()
        child.kill()
        child.wait()
        child.stdout.close()
        assert await self.paths(store) == []
        (leftover,) = await store.leftovers()
        assert abs(leftover.started.timestamp() - time.time()) < 60
        await store.abort(leftover)
        await store.abort(leftover)
        assert await store.leftovers() == ()

    async def test_only_leftovers_are_aborted(self, store: Store, tmp_path: Path) -> None:
        await store.put("name.part", b"")
        (leftover_time,) = [item.modified async for item in store.list()]
        for identifier in ("../name.part", "lock", "a/b.part", ""):
            with pytest.raises(Invalid):
                await store.abort(Leftover("", identifier, leftover_time))
        assert await self.paths(store) == ["name.part"]

    async def test_a_name_that_is_too_long_for_a_file_is_invalid(self, store: Store) -> None:
        with pytest.raises(Invalid, match="too long"):
            await store.put("x" * 300, b"")
        assert await self.paths(store) == []
        assert await store.leftovers() == ()

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
    async def test_a_directory_that_is_not_ours_is_refused(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o500)
        with pytest.raises(Refused, match="right to write"):
            await open_store(f"file://{tmp_path}/store").put("name", b"")

    async def test_a_full_disk_leaves_the_old_file(self, tmp_path: Path) -> None:
        if not Path("/dev/full").exists():
            pytest.skip("this system has no /dev/full")
        store = Disk(tmp_path / "store")
        await store.put("name", b"old")

        async def full() -> AsyncIterator[bytes]:
            # The next write goes to a device that is full; no test can fill a real one.
            (part,) = (tmp_path / "store/.insight-partial").glob("*.part")
            descriptor = next(
                int(name.name)
                for name in Path("/proc/self/fd").iterdir()
                if name.is_symlink() and name.readlink() == part
            )
            device = os.open("/dev/full", os.O_WRONLY)
            os.dup2(device, descriptor)
            os.close(device)
            yield b"x" * MIB

        with pytest.raises(Unavailable, match="make room"):
            await store.put("name", full())
        assert await store.read("name") == b"old"
        assert await store.leftovers() == ()

    async def test_every_file_is_synced_before_it_has_its_name(
        self, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await store.put("a/first", pieces(b"content"))
        events: list[str] = []
        sync, replace = os.fsync, Path.replace

        def fsync(descriptor: int) -> None:
            events.append("sync")
            sync(descriptor)

        def replacing(self: Path, target: Path) -> Path:
            events.append("move")
            return replace(self, target)

        monkeypatch.setattr(os, "fsync", fsync)
        monkeypatch.setattr(Path, "replace", replacing)
        await store.put("a/name", pieces(b"content"))
        assert events == ["sync", "move", "sync"]
        events.clear()
        await store.put("b/name", pieces(b"content"))
        assert events == ["sync", "sync", "move", "sync"]  # the new folder, too
