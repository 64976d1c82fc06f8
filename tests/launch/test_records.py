from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from insight_cloud.core.errors import Corrupt, Unavailable
from insight_cloud.launch import Records, Run, Waiver, checklist
from insight_cloud.launch.report import latest
from insight_cloud.launch.run import Answer, Outcome

NOW = datetime(2026, 12, 1, 9, tzinfo=UTC)


def run(minutes: int, *answers: tuple[str, Outcome], release: str = "v1") -> Run:
    made = tuple(Answer(n, "before", -48, "S", "T", outcome) for n, outcome in answers)
    return Run(at=NOW + timedelta(minutes=minutes), name="Shop", answers=made, release=release)


def test_what_was_kept_is_read_the_newest_first(tmp_path: Path) -> None:
    records = Records(tmp_path / "records")
    for kept in (records.runs(), records.waivers(), records.signatures()):
        assert kept == []
    for minutes in (0, 2, 1):
        records.keep(run(minutes, ("P001", "pass")))
    assert [one.at.minute for one in records.runs()] == [2, 1, 0]


def test_people_at_work_together_lose_nothing(tmp_path: Path) -> None:
    records = Records(tmp_path)

    def waive(number: int) -> None:
        until = NOW + timedelta(days=1)
        records.keep(Waiver(id=f"P{number:03}", by="Ann", until=until, why="x", at=NOW))
        records.keep_sample({"at": NOW.isoformat(), "number": number}, now=NOW)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(waive, range(40)))
    assert {one.id for one in records.waivers()} == {f"P{number:03}" for number in range(40)}
    assert {one["number"] for one in records.samples()} == set(range(40))


def test_a_torn_sample_is_passed_over_and_a_torn_record_is_told(tmp_path: Path) -> None:
    records = Records(tmp_path)
    records.keep_sample({"at": NOW.isoformat()}, now=NOW)
    with (tmp_path / "samples.jsonl").open("ab") as file:
        file.write(b'{"at": "2026')
    assert len(records.samples()) == 1
    kept = records.keep(run(0))
    kept.write_text("{")
    with pytest.raises(Corrupt, match="is no record"):
        records.runs()


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    records = Records(tmp_path / "file" / "records")
    with pytest.raises(Unavailable, match="cannot write"):
        records.keep(run(0))
    with pytest.raises(Unavailable, match="cannot write"):
        records.keep_sample({"at": NOW.isoformat()}, now=NOW)


def test_a_report_takes_the_newest_answer_of_the_same_release() -> None:
    runs = [
        run(3, ("P001", "pass")),
        run(2, ("P001", "fail"), ("P002", "fail")),
        run(1, ("P003", "pass"), release="v0"),
    ]
    items = checklist().of("before")[:3]
    found = {one.id: one.outcome for one in latest(runs, items).answers}
    assert found == {"P001": "pass", "P002": "fail", "P003": "not_run"}
