"""Jobs installed with each scheduler, and what the schedulers' own readers say of the texts."""

from __future__ import annotations

import plistlib
import shlex
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import xmlschema
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from insight_cloud.core import schedule
from insight_cloud.core.errors import Missing, Refused, SettingsError, Unavailable
from insight_cloud.core.plan import Plan
from insight_cloud.core.schedule import Job, Scheduler, daily, monthly, several, weekly
from insight_cloud.core.schedule.cron import Cron
from insight_cloud.core.schedule.job import Scope
from insight_cloud.core.schedule.launchd import Launchd
from insight_cloud.core.schedule.systemd import Systemd
from insight_cloud.core.schedule.windows import Windows
from tests.core.schedule.systems import System, require_systemd
from tests.core.schedule.test_when import WHENS

# ruff: noqa: ASYNC240 - nothing else runs on the loop in these tests

NOW = datetime(2026, 11, 25, 10, 0, tzinfo=UTC)
SCHEMA = Path(__file__).parents[2] / "data" / "windows-task.xsd"
WORDS = st.text(
    st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"]), max_size=30
).filter(str.isprintable)
JOBS = st.builds(
    lambda rest, words, when, delay, user: Job(
        f"backup-{rest}",
        ("/usr/bin/true", *words),
        when,
        "A job",
        directory=Path("/var/lib/in sight"),
        writes=(Path("/var/lib/insight"), Path("/srv/with space/100%")),
        user=user,
        delay=timedelta(minutes=delay),
    ),
    st.sampled_from(["daily", "weekly", "monthly-extra"]),
    st.lists(WORDS, max_size=3),
    WHENS,
    st.sampled_from([0, 5]),
    st.sampled_from([None, "insight"]),
)
Make = Callable[[System, Scope, Path], Scheduler]

SCHEDULERS: dict[str, Make] = {
    "systemd": lambda act, scope, tmp: Systemd(act, scope=scope, folder=tmp / "units", user="u"),
    "cron": lambda act, scope, tmp: Cron(
        act, scope=scope, folder=tmp / "cron.d", state=tmp / "state", python="/venv/bin/python"
    ),
    "launchd": lambda act, scope, tmp: Launchd(
        act, scope=scope, folder=tmp / "agents", state=tmp / "state", python="/venv/bin/python"
    ),
    "windows": lambda act, scope, _: Windows(act, scope=scope),
}

each_scheduler = pytest.mark.parametrize("make", SCHEDULERS.values(), ids=SCHEDULERS)
each_scope = pytest.mark.parametrize("scope", ["system", "user"])


def job(name: str = "backup-daily", **changed: object) -> Job:
    given: dict[str, object] = {
        "command": ("/usr/bin/true", "backup", "create"),
        "when": daily("02:00"),
        "description": "Daily backup",
    }
    return Job(name, **(given | changed))  # type: ignore[arg-type]


async def install(scheduler: Scheduler, jobs: list[Job], group: str = "backup") -> Plan:
    changes = schedule.plan(scheduler, jobs, await scheduler.read(group))
    await schedule.apply(scheduler, changes)
    return changes


@each_scheduler
@each_scope
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    first=st.lists(JOBS, max_size=3, unique_by=lambda one: one.name),
    second=st.lists(JOBS, max_size=3, unique_by=lambda one: one.name),
)
async def test_after_apply_the_plan_is_empty(
    *, make: Make, scope: Scope, first: list[Job], second: list[Job], tmp_path: Path
) -> None:
    scheduler = make(System(), scope, tmp_path / str(len(list(tmp_path.iterdir()))))
    for wanted in (first, second, []):
        await install(scheduler, wanted)
        found = await scheduler.read("backup")
        assert found.keys() == {one.unit for one in wanted}
        assert not schedule.plan(scheduler, wanted, found)


@each_scheduler
@each_scope
async def test_a_dry_plan_says_what_and_why(make: Make, scope: Scope, tmp_path: Path) -> None:
    scheduler = make(System(), scope, tmp_path)
    created = await install(scheduler, [job(), job("backup-weekly", when=weekly("sun", "03:00"))])
    assert str(created) == (
        "+ insight-backup-daily  (daily 02:00)\n+ insight-backup-weekly  (weekly sunday 03:00)"
    )
    changed = schedule.plan(
        scheduler, [job(when=monthly(1, "04:00"))], await scheduler.read("backup")
    )
    assert str(changed) == (
        "~ insight-backup-daily  (changed: monthly 1 04:00)\n"
        "- insight-backup-weekly  (not wanted any more)"
    )


@each_scheduler
@each_scope
async def test_other_groups_are_left_alone(make: Make, scope: Scope, tmp_path: Path) -> None:
    scheduler = make(System(), scope, tmp_path)
    await install(scheduler, [job("tls-renew", when=several(4, seed="x"))], "tls")
    await install(scheduler, [job()])
    await install(scheduler, [])
    assert (await scheduler.read("tls")).keys() == {"insight-tls-renew"}
    assert (await scheduler.read("backup")) == {}


@each_scheduler
async def test_the_check_says_when_it_runs_next(make: Make, tmp_path: Path) -> None:
    scheduler = make(System(), "system", tmp_path)
    (before,) = await schedule.check(scheduler, "backup", [job()], NOW)
    assert (before.name, before.status) == ("schedule.backup-daily", "fail")
    await install(scheduler, [job()])
    first, *_ = await schedule.check(scheduler, "backup", [job()], NOW)
    following = daily("02:00").following(NOW).astimezone()
    assert first.status == "pass"
    assert f"next {following:%Y-%m-%d %H:%M}" in first.detail
    other = job(when=daily("05:00"))
    assert (await schedule.check(scheduler, "backup", [other], NOW))[0].status == "warn"


async def test_a_timer_that_somebody_stopped_is_started_again(tmp_path: Path) -> None:
    system = System()
    scheduler = SCHEDULERS["systemd"](system, "system", tmp_path)
    await install(scheduler, [job()])
    system.active.clear()
    (check,) = await schedule.check(scheduler, "backup", [job()], NOW)
    assert (check.status, "not active" in check.detail) == ("fail", True)
    changes = await install(scheduler, [job()])
    assert "not active" in str(changes)
    assert system.active == {"insight-backup-daily.timer"}


async def test_a_text_that_somebody_changed_is_seen(tmp_path: Path) -> None:
    scheduler = SCHEDULERS["systemd"](System(), "system", tmp_path)
    await install(scheduler, [job()])
    file = tmp_path / "units/insight-backup-daily.timer"
    file.write_text(file.read_text().replace("02:00", "05:00"))
    assert "changed" in str(schedule.plan(scheduler, [job()], await scheduler.read("backup")))


@pytest.mark.parametrize(
    ("kind", "word"),
    [("systemd", "restart"), ("cron", "-"), ("launchd", "bootstrap"), ("windows", "/Create")],
)
async def test_a_scheduler_that_refuses_is_quoted(kind: str, word: str, tmp_path: Path) -> None:
    system = System(broken=word)
    scheduler = SCHEDULERS[kind](system, "user", tmp_path)
    with pytest.raises(Unavailable, match="it is broken"):
        await install(scheduler, [job()])
    system.broken = ""
    assert await install(scheduler, [job()])  # it had not been taken for done
    assert not await install(scheduler, [job()])


@pytest.mark.parametrize("kind", ["systemd", "cron", "launchd"])
async def test_a_folder_that_is_not_ours_is_refused(kind: str, tmp_path: Path) -> None:
    for name in ("units", "cron.d", "agents"):
        (tmp_path / name).write_text("a file where a folder should be")
    with pytest.raises(Refused, match="right user"):
        await install(SCHEDULERS[kind](System(), "system", tmp_path), [job()])


async def test_other_lines_of_a_crontab_stay_as_they_are(tmp_path: Path) -> None:
    theirs = b"# mine \xff\n\nMAILTO=me\n5 4 * * * /my/own --thing\n# BEGIN other\n# no newline"
    system = System(table=theirs)
    scheduler = SCHEDULERS["cron"](system, "user", tmp_path)
    await install(scheduler, [job(), job("backup-weekly", when=weekly("sun", "03:00"))])
    await install(scheduler, [job(when=daily("05:00"))])
    assert system.table is not None
    assert system.table.startswith(theirs + b"\n# BEGIN insight-backup-daily")
    assert system.table.count(b"insight-backup-weekly") == 0
    await install(scheduler, [])
    assert system.table == theirs + b"\n"


@each_scope
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(one=JOBS)
def test_systemd_accepts_every_unit(scope: Scope, one: Job, tmp_path: Path) -> None:
    require_systemd()
    scheduler = Systemd(System(), scope=scope, folder=tmp_path)
    texts = scheduler.render(one)
    for place, text in texts.items():
        Path(place).write_text(text)
    mode = ["--user"] if scope == "user" else []
    done = subprocess.run(
        ["systemd-analyze", *mode, "--man=no", "--recursive-errors=no", "verify", *texts],
        capture_output=True,
        text=True,
        check=False,
        env={"XDG_RUNTIME_DIR": str(tmp_path)},
    )
    # It knows this machine's directories and users too, which the tests do not make.
    complaints = [line for line in done.stderr.splitlines() if str(tmp_path) in line]
    assert complaints == []
    assert done.returncode == 0, done.stderr


@given(one=JOBS)
def test_cron_gives_the_shell_the_same_words(one: Job) -> None:
    scheduler = Cron(System(), scope="user", state=Path("/state"), python="/venv/bin/python")
    (text,) = scheduler.render(one).values()
    begin, *lines, end = text.splitlines()
    assert begin.startswith("# BEGIN insight-backup-")
    assert end.startswith("# END insight-backup-")
    assert len(lines) == len(one.when.times) + 1
    for line in lines:
        command = line.split(" ", 5)[5]
        assert "%" not in command.replace("\\%", "")  # cron would end the command there
        words = shlex.split(command.replace("\\%", "%"))
        assert tuple(words[words.index("--") + 1 :]) == one.command


@given(one=JOBS)
def test_the_property_list_is_one(one: Job) -> None:
    scheduler = Launchd(System(), scope="user", state=Path("/state"), python="/venv/bin/python")
    (text,) = scheduler.render(one).values()
    found = plistlib.loads(text.encode())
    words = found["ProgramArguments"]
    assert tuple(words[words.index("--") + 1 :]) == one.command
    assert found["Label"] == one.unit
    assert len(found["StartCalendarInterval"]) == len(one.when.times)


def test_a_line_that_cron_would_cut_is_refused() -> None:
    scheduler = SCHEDULERS["cron"](System(), "user", Path("/nowhere"))
    with pytest.raises(SettingsError, match="too long for cron"):
        scheduler.render(job(command=("/usr/bin/true", "x" * 800)))


@each_scope
@given(one=JOBS)
def test_the_task_follows_the_schema(scope: Scope, one: Job) -> None:
    (text,) = Windows(System(), scope=scope).render(one).values()
    TASKS.validate(text.partition("?>")[2])


TASKS = xmlschema.XMLSchema(SCHEMA)


def test_the_schema_refuses_what_is_wrong() -> None:
    (text,) = Windows(System(), scope="user").render(job()).values()
    for wrong in (
        text.replace("StartBoundary", "Start"),
        text.replace("IgnoreNew", "Ignore"),
        text.replace("T02:00:00", "T2:00"),
    ):
        assert not TASKS.is_valid(wrong.partition("?>")[2])


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"name": "daily"}, "GROUP-REST"),
        ({"name": "backup-../../etc"}, "GROUP-REST"),
        ({"name": "backup-" + "x" * 60}, "GROUP-REST"),
        ({"command": ("insight", "backup")}, "absolute"),
        ({"command": ()}, "absolute"),
        ({"command": ("/bin/sh", "-c", "a\nb")}, "line breaks"),
        ({"command": ("/bin/x", "--url", "postgresql://me:hidden@host/db")}, "password"),
        ({"description": "a\nExecStart=/bin/evil"}, "line breaks"),
        ({"directory": Path("relative")}, "absolute"),
        ({"writes": (Path("relative"),)}, "absolute"),
        ({"user": "root\nx"}, "line breaks"),
        ({"user": "two words"}, "no user's name"),
        ({"limit": timedelta(seconds=1)}, "time limit"),
    ],
)
def test_a_job_that_is_not_safe_everywhere_is_refused(
    changed: dict[str, object], reason: str
) -> None:
    with pytest.raises(SettingsError, match=reason) as caught:
        job(**changed)  # type: ignore[arg-type]
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    ("platform", "booted", "programs", "kind", "reason"),
    [
        ("win32", False, (), Windows, "Windows"),
        ("darwin", False, (), Launchd, "macOS"),
        ("linux", True, ("crontab",), Systemd, "systemd runs"),
        ("linux", False, ("crontab",), Cron, "systemd does not run"),
    ],
)
async def test_the_choice_is_explained(
    *,
    platform: str,
    booted: bool,
    programs: tuple[str, ...],
    kind: type[Scheduler],
    reason: str,
    tmp_path: Path,
) -> None:
    choice = await schedule.choose(
        "user",
        act=System(),
        platform=platform,
        booted=tmp_path if booted else tmp_path / "none",
        state=tmp_path,
        which=lambda name: f"/usr/bin/{name}" if name in programs else None,
    )
    assert isinstance(choice.scheduler, kind)
    assert reason in choice.reason


async def test_a_user_without_a_session_gets_cron(tmp_path: Path) -> None:
    choice = await schedule.choose(
        "user",
        act=System(broken="show-environment"),
        platform="linux",
        booted=tmp_path,
        state=tmp_path,
        which=lambda name: name,
    )
    assert isinstance(choice.scheduler, Cron)
    assert "no session" in choice.reason


async def test_a_machine_without_any_scheduler_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="CronJob"):
        await schedule.choose(
            "system",
            act=System(),
            platform="linux",
            booted=tmp_path / "none",
            state=tmp_path,
            which=lambda _: None,
        )
