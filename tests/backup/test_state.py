from __future__ import annotations

from datetime import UTC, datetime, timedelta

from insight_cloud.backup.archive import Archived
from insight_cloud.backup.drills import Drilled
from insight_cloud.backup.state import State, check, samples

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
DRILLED = Drilled(at=NOW - timedelta(days=3), ok=True, detail="in 3 s", seconds=3)


def state(**fields: object) -> State:
    usual = {"store": "s3://b", "newest_id": "x", "newest_at": NOW - timedelta(hours=10), "good": 9}
    return State(**(usual | {"drilled": DRILLED} | fields))  # type: ignore[arg-type]


def judged(one: State) -> list[str]:
    return [each.status for each in check([one], now=NOW, oldest=timedelta(hours=26))]


def test_a_young_backup_and_a_drill_pass() -> None:
    assert judged(state()) == ["pass", "pass"]


def test_what_is_wrong_is_told() -> None:
    assert judged(state(newest_at=NOW - timedelta(hours=27))) == ["fail", "pass"]
    assert judged(state(newest_at=None)) == ["fail"]
    assert judged(State("s3://b", problem="away")) == ["fail"]
    assert judged(state(bad=(("y", "cut"),))) == ["pass", "warn", "pass"]
    assert judged(state(drilled=None)) == ["pass", "warn"]
    old = Drilled(at=NOW - timedelta(days=40), ok=True, detail="")
    assert judged(state(drilled=old)) == ["pass", "warn"]
    assert judged(state(drilled=Drilled(at=NOW, ok=False, detail="no"))) == ["pass", "fail"]


def test_an_archive_that_does_not_run_is_told() -> None:
    fresh = Archived(at=NOW - timedelta(seconds=4), lsn="0/5000000")
    late = Archived(at=NOW - timedelta(minutes=11), lsn="0/5000000")
    since = NOW - timedelta(days=6)
    assert judged(state(archived=fresh, oldest_base=since)) == ["pass", "pass", "pass"]
    assert judged(state(archived=fresh)) == ["pass", "pass", "fail"]
    assert judged(state(archived=late, oldest_base=since)) == ["pass", "pass", "fail"]
    ended = Archived(at=late.at, lsn=late.lsn, ended=True)
    assert judged(state(archived=ended, oldest_base=since)) == ["pass", "pass"]
    found = {name: value for name, _, value in samples([state(archived=late)], now=NOW)}
    assert found["backup_archive_age_seconds"] == 660


def test_the_metrics_say_the_same() -> None:
    found = {name: value for name, _, value in samples([state()], now=NOW)}
    assert found["backup_age_seconds"] == 36_000
    assert (found["backup_reachable"], found["backup_good"], found["backup_drill_ok"]) == (1, 9, 1)
    gone = list(samples([State("s3://b", problem="away")], now=NOW))
    assert gone == [("backup_reachable", {"store": "s3://b"}, 0.0)]
