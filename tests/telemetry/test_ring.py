from __future__ import annotations

import fcntl
import threading
from dataclasses import dataclass
from pathlib import Path

from insight_cloud.telemetry.ring import Ring


@dataclass(frozen=True, slots=True)
class Entry:
    number: int
    text: str = ""


def test_the_last_are_kept_the_newest_first(tmp_path: Path) -> None:
    for file in (None, tmp_path / "ring.jsonl"):
        ring = Ring(Entry, keep=2, file=file)
        assert ring.entries() == ()
        for number in range(3):
            ring.add(Entry(number))
        assert ring.entries() == (Entry(2), Entry(1))


def test_a_common_file_is_private_stays_small_and_loses_nothing_recent(tmp_path: Path) -> None:
    file = tmp_path / "ring.jsonl"

    def many(number: int) -> None:
        ring = Ring(Entry, keep=20, file=file)
        for turn in range(300):
            ring.add(Entry(1000 * number + turn, "x" * 190))

    writers = [threading.Thread(target=many, args=(number,)) for number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    found = Ring(Entry, keep=20, file=file).entries()
    assert len(found) == 20
    assert found[0].number % 1000 == 299
    assert len(set(found)) == 20
    assert file.stat().st_size < 60_000
    assert file.stat().st_mode & 0o777 == 0o600


def test_damage_is_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "ring.jsonl"
    file.write_bytes(b'hello\n{"number": "x"}\n\xff\n')
    ring = Ring(Entry, keep=9, file=file)
    ring.add(Entry(1))
    with file.open("ab") as writing:
        writing.write(b'{"number": 2')
    assert ring.entries() == (Entry(1),)


def test_a_place_that_cannot_be_written_breaks_nothing(tmp_path: Path) -> None:
    ring = Ring(Entry, keep=9, file=tmp_path / "none" / "ring.jsonl")
    ring.add(Entry(1))
    assert ring.entries() == ()


def test_a_holder_of_the_lock_that_was_stopped_holds_nobody_up(tmp_path: Path) -> None:
    file = tmp_path / "ring.jsonl"
    ring = Ring(Entry, keep=9, file=file)
    ring.add(Entry(1))
    with file.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        ring.add(Entry(2))
        assert ring.entries() == (Entry(2), Entry(1))
