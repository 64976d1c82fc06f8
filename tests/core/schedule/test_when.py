"""The times of jobs, compared with what systemd and cron make of them."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from insight_cloud.core.errors import SettingsError
from insight_cloud.core.schedule import When, cron, daily, monthly, parse, several, systemd, weekly
from insight_cloud.core.schedule.when import WEEKDAYS
from tests.core.schedule.systems import require_systemd

TIMES = st.times().map(lambda moment: f"{moment:%H:%M}")
WHENS = st.one_of(
    st.lists(TIMES, min_size=1, max_size=6).map(lambda times: daily(*times)),
    st.builds(weekly, st.sampled_from(WEEKDAYS), TIMES),
    st.builds(monthly, st.integers(1, 28), TIMES),
    st.builds(lambda count, seed: several(count, seed=seed), st.integers(1, 24), st.text()),
)
MOMENTS = st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@given(WHENS)
def test_a_schedule_is_read_as_it_is_written(when: When) -> None:
    assert parse(str(when)) == when


@given(WHENS, MOMENTS)
def test_no_time_lies_between_the_previous_and_the_following(when: When, now: datetime) -> None:
    before, after = when.previous(now, UTC), when.following(now, UTC)
    assert before <= now < after
    assert when.following(before, UTC) == after
    assert when.previous(after - timedelta(microseconds=1), UTC) == before


@given(WHENS, MOMENTS)
def test_cron_runs_it_at_the_same_time(when: When, now: datetime) -> None:
    lines = cron.times(when)
    assert min(next(CronSim(line, now)) for line in lines) == when.following(now, UTC)


@settings(max_examples=15)
@given(WHENS, MOMENTS)
def test_systemd_runs_it_at_the_same_time(when: When, now: datetime) -> None:
    require_systemd()
    now = now.replace(microsecond=0)
    base = f"--base-time={now:%Y-%m-%d %H:%M:%S} UTC"
    command = ["systemd-analyze", "calendar", base, *systemd.calendar(when)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={"TZ": "UTC"})
    elapses = [
        datetime.strptime(line.split("elapse: ")[1], "%a %Y-%m-%d %H:%M:%S %Z").replace(tzinfo=UTC)
        for line in done.stdout.splitlines()
        if "Next elapse: " in line
    ]
    assert min(elapses) == when.following(now, UTC)


def test_times_are_of_the_clock_on_the_wall() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    winter = datetime(2026, 1, 10, tzinfo=UTC)
    summer = datetime(2026, 7, 10, tzinfo=UTC)
    assert daily("02:00").following(winter, berlin) == datetime(2026, 1, 10, 1, tzinfo=UTC)
    assert daily("03:00").following(summer, berlin) == datetime(2026, 7, 10, 1, tzinfo=UTC)


def test_each_day_has_its_run_when_the_clock_is_changed() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    for month, day in ((3, 29), (10, 25)):  # the hour after 02:00 is skipped, and doubled
        now = datetime(2026, month, day, tzinfo=berlin).astimezone(UTC) - timedelta(days=1)
        runs = []
        for _ in range(3):
            now = daily("02:30").following(now, berlin)
            runs.append(now.astimezone(berlin).date().day)
        assert runs == [day - 1, day, day + 1]


@given(st.integers(1, 24), st.text())
def test_several_times_are_spread_over_the_day(count: int, seed: str) -> None:
    when = several(count, seed=seed)
    assert when == several(count, seed=seed)
    assert len(when.times) == count
    for part, moment in enumerate(when.times):
        minute = moment.hour * 60 + moment.minute
        assert part * 1440 // count <= minute < (part + 1) * 1440 // count


def test_machines_do_not_knock_at_the_same_minute() -> None:
    minutes = [several(1, seed=f"machine {n}").times[0] for n in range(200)]
    assert len(set(minutes)) > 150


@pytest.mark.parametrize(
    "text",
    [
        "",
        "daily",
        "daily 25:00",
        "daily 2",
        "daily 02:00 03:00",
        "daily ,",
        "weekly 03:00",
        "weekly s 03:00",
        "weekly someday 03:00",
        "monthly 0 04:00",
        "monthly 29 04:00",
        "monthly first 04:00",
        "hourly",
        "daily 02:00\n* * * * * root rm",
    ],
)
def test_a_wrong_schedule_is_refused(text: str) -> None:
    with pytest.raises(SettingsError):
        parse(text)


def test_a_wrong_number_of_times_is_refused() -> None:
    for count in (0, 25):
        with pytest.raises(SettingsError):
            several(count, seed="")
