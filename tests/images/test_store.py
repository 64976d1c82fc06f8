from __future__ import annotations

import asyncio
import hashlib
import os
import sys
import time
from pathlib import Path

import pytest

from insight_cloud.core.errors import SettingsError, Unavailable
from insight_cloud.images import Store


def key(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()[:40]


def held(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.glob("??/*") if p.parent.name != "locks")


async def test_a_value_is_kept_and_found_by_another_process(tmp_path: Path) -> None:
    await Store(tmp_path).put(key(1), b"picture")
    assert await Store(tmp_path).get(key(1)) == b"picture"
    assert await Store(tmp_path).get(key(2)) is None


async def test_there_are_never_more_bytes_than_allowed(tmp_path: Path) -> None:
    store = Store(tmp_path, most_bytes=100_000)
    other = Store(tmp_path, most_bytes=100_000)
    for number in range(60):
        await (store if number % 2 else other).put(key(number), bytes(5_000))
        assert held(tmp_path) <= 100_000
    assert await store.get(key(59)) is not None
    assert await store.get(key(0)) is None


async def test_what_was_used_last_stays(tmp_path: Path) -> None:
    store = Store(tmp_path, most_bytes=100_000)
    old = time.time() - 1000
    for number in range(19):
        await store.put(key(number), bytes(5_000))
        os.utime(tmp_path / key(number)[:2] / key(number), (old + number, old + number))
    assert await store.get(key(0)) is not None  # used just now
    await store.put(key(100), bytes(20_000))
    assert await store.get(key(0)) is not None
    assert await store.get(key(1)) is None


async def test_a_value_is_replaced_and_counted_once(tmp_path: Path) -> None:
    store = Store(tmp_path, most_bytes=100_000)
    for _ in range(50):
        await store.put(key(1), bytes(20_000))
    assert held(tmp_path) == 20_016
    assert int((tmp_path / "locks/sum").read_text()) == 20_016


async def test_what_would_push_out_too_much_is_not_kept(tmp_path: Path) -> None:
    store = Store(tmp_path, most_bytes=100_000)
    await store.put(key(1), bytes(30_000))
    assert await store.get(key(1)) is None


async def test_a_torn_file_counts_as_missing_and_goes(tmp_path: Path) -> None:
    store = Store(tmp_path)
    await store.put(key(1), b"picture" * 100)
    path = tmp_path / key(1)[:2] / key(1)
    path.write_bytes(path.read_bytes()[:-3])
    assert await store.get(key(1)) is None
    assert not path.exists()


async def test_age_counts_from_writing_not_from_use(tmp_path: Path) -> None:
    store = Store(tmp_path)
    await store.put(key(1), b"x")
    path = tmp_path / key(1)[:2] / key(1)
    os.utime(path, (time.time(), time.time() - 100))
    assert await store.get(key(1), younger_than=200) == b"x"
    assert await store.get(key(1), younger_than=50) is None


async def test_a_full_or_broken_disk_fails_no_request(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (tmp_path / key(1)[:2]).write_text("a file where a folder should be")
    await store.put(key(1), b"x")
    assert await store.get(key(1)) is None
    assert store.failures >= 1


async def test_a_folder_that_cannot_be_made_is_a_settings_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="cannot be kept"):
        Store(tmp_path / "file/below")


async def test_what_a_writer_left_when_it_died_goes_after_an_hour(tmp_path: Path) -> None:
    (tmp_path / "ab").mkdir()
    old, new = tmp_path / "ab/.old", tmp_path / "ab/.new"
    for path in (old, new):
        path.write_bytes(bytes(100))
    os.utime(old, (0, time.time() - 4000))
    Store(tmp_path)
    assert not old.exists()
    assert new.exists()


async def test_a_lock_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    stores = [Store(tmp_path), Store(tmp_path)]
    inside = most = 0

    async def enter(store: Store) -> None:
        nonlocal inside, most
        async with store.lock(key(1)):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.01)
            inside -= 1

    await asyncio.gather(*(enter(stores[n % 2]) for n in range(6)))
    assert most == 1


async def test_a_lock_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    async with Store(tmp_path).lock(key(1)):
        with pytest.raises(Unavailable, match="another process"):
            async with Store(tmp_path).lock(key(1), seconds=0.05):
                raise AssertionError


async def test_the_lock_of_a_dead_process_is_free(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys; from pathlib import Path; from insight_cloud.images import Store\n"
        "async def main():\n"
        f"    async with Store(Path(sys.argv[1])).lock({key(1)!r}):\n"
        "        print('held', flush=True); await asyncio.sleep(60)\n"
        "asyncio.run(main())"
    )
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program, str(tmp_path)), stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    assert await child.stdout.readline() == b"held\n"
    with pytest.raises(Unavailable):
        async with Store(tmp_path).lock(key(1), seconds=0.05):
            raise AssertionError
    child.kill()
    await child.wait()
    async with Store(tmp_path).lock(key(1), seconds=5):
        pass
