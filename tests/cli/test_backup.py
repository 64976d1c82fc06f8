from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from insight_cloud.backup import BackupSettings
from insight_cloud.cli.backup import command
from insight_cloud.core import schedule
from insight_cloud.core.errors import Conflict, Missing, Refused, SettingsError, Unavailable
from insight_cloud.core.schedule.choose import Choice
from insight_cloud.core.schedule.systemd import Systemd
from insight_cloud.database import embedded
from tests import postgres
from tests.backup import world
from tests.core.schedule.systems import System

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def source() -> Iterator[str]:
    """A server of its own: the commands run their own loops, in which no session's would live."""
    directory = Path(tempfile.mkdtemp(prefix="insight-cli-", dir=postgres.fast_directory()))
    with asyncio.Runner() as runner:
        server = runner.run(embedded.start(directory, settings=postgres.UNSAFE))
        runner.run(world.execute(server.url, "create database shop"))
        url = postgres.with_database(server.url, "shop")
        runner.run(world.make_rich(url))
        yield url
        runner.run(server.release())
    shutil.rmtree(directory)


@pytest.fixture
def run(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("INSIGHT_", "AWS_"))]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("DATABASE_URL", source)
    monkeypatch.setenv("INSIGHT_BACKUP__STORES", (tmp_path / "store").as_uri())

    def go(*words: str) -> Result:
        return CliRunner().invoke(command, words, catch_exceptions=True)

    return go


def good(result: Result) -> str:
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def value(url: str, query: Any) -> Any:
    return asyncio.run(world.value(url, query))


def test_a_whole_life(
    run: Run, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipient = good(run("new-key", "key")).strip()
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert recipient.startswith("age1")
    monkeypatch.setenv("INSIGHT_BACKUP__RECIPIENTS", recipient)
    assert run("status").exit_code == 1  # there is none yet

    created = json.loads(good(run("create", "--type", "daily", "--json")))
    assert created["encrypted"]
    assert created["stores"] == [f"file://{tmp_path}/store"]
    assert created["id"] in good(run("list"))
    ((listed,),) = [store["backups"] for store in json.loads(good(run("list", "--json")))]
    assert (listed["good"], listed["type"], listed["rows"]) == (True, "daily", created["rows"])

    blind = good(run("verify"))
    assert "skip  backup.contents" in blind
    monkeypatch.setenv("INSIGHT_BACKUP__IDENTITY_FILE", "key")
    assert good(run("verify", "--restore")).count("pass") == 4
    assert "warn" in good(run("status"))
    drilled = json.loads(good(run("drill", "--json")))
    assert drilled["status"] == "pass"
    assert "warn" not in good(run("status"))
    assert "restored and compared" in good(run("drill", "--server", source))
    assert value(source, "select count(*) from pg_database where datname like 'drill%'") == 0

    planned = good(run("restore", "--plan", "--into", "copy"))
    assert "+ database copy__restore_" in planned
    assert "is now the database copy" in good(run("restore", "--into", "copy"))
    copy = postgres.with_database(source, "copy")
    assert value(copy, "select count(*) from orders") == 2500
    assert isinstance(run("restore", "--into", "copy").exception, Conflict)
    refused = run("restore", "--into", "copy", "--plan")
    assert "> database copy to copy__before_" in refused.stdout
    assert isinstance(refused.exception, Conflict)
    assert isinstance(run("restore", "--into", "copy", "--replace", "yes").exception, Conflict)
    assert "is kept as copy__before_" in good(run("restore", "--into", "copy", "--replace", "copy"))

    kept = good(run("prune"))
    assert "newest good backup" in kept
    assert json.loads(good(run("prune", "--apply", "--json")))["removed"] == []


def test_the_type_follows_the_date_in_ci(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert json.loads(good(run("create", "--json")))["type"] == "manual"
    for value in ("true", "woodpecker"):
        monkeypatch.setenv("CI", value)
        assert json.loads(good(run("create", "--json")))["type"] in {"daily", "weekly", "monthly"}
    monkeypatch.setenv("CI", "false")
    assert json.loads(good(run("create", "--json")))["type"] == "manual"


def test_a_plain_backup_and_a_restore_by_id_and_time(run: Run, source: str) -> None:
    first = json.loads(good(run("create", "--plain", "--json")))["id"]
    between = value(source, "select clock_timestamp()::text")
    second = json.loads(good(run("create", "--json")))["id"]
    assert (
        json.loads(good(run("restore", "--into", "by_id", "--json", first[:-2])))["backup_id"]
        == first
    )
    done = json.loads(good(run("restore", "--into", "by_time", "--before", between, "--json")))
    assert done["backup_id"] == first
    newest = json.loads(good(run("restore", "--into", "newest", "--json")))
    assert newest["backup_id"] == second
    assert isinstance(run("restore", "2020", "--into", "x").exception, Missing)
    assert isinstance(run("restore", "--before", "2020-01-01", "--into", "x").exception, Missing)


def test_a_damaged_backup_fails_the_verification_and_is_not_restored(
    run: Run, tmp_path: Path
) -> None:
    made = json.loads(good(run("create", "--json")))["id"]
    (part,) = (tmp_path / "store").rglob("data-rest.*")
    content = part.read_bytes()
    part.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    result = run("verify")
    assert result.exit_code == 1
    assert "part 'data-rest' is damaged" in result.stdout
    assert "DAMAGED" in good(run("list"))
    assert isinstance(run("restore", "--into", "never", made).exception, Refused)
    assert run("status").exit_code == 1


def test_one_store_of_two_fails(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    stores = f"{(tmp_path / 'file' / 'x').as_uri()},{(tmp_path / 'good').as_uri()}"
    monkeypatch.setenv("INSIGHT_BACKUP__STORES", stores)
    result = run("create")
    assert isinstance(result.exception, Unavailable)
    assert "is not in every store" in str(result.exception)
    assert f"read back from file://{tmp_path}/good" in result.stdout
    assert run("status").exit_code == 1


def test_a_store_that_is_away_hides_no_other(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    made = json.loads(good(run("create", "--json")))["id"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIATESTS")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the-secret-of-the-tests")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    stores = f"s3://away,{os.environ['INSIGHT_BACKUP__STORES']}"
    monkeypatch.setenv("INSIGHT_BACKUP__STORES", stores)
    listed = run("list", "--json")
    there, away = json.loads(listed.stdout)
    assert there["backups"][0]["id"] == made
    assert "cannot be reached" in away["problem"]
    for words in (("verify", "--stored"), ("prune", "--apply")):
        result = run(*words)
        assert made in result.stdout
        assert isinstance(result.exception, Unavailable)
    restored = run("restore", "--into", "from_the_other")
    assert "is now the database from_the_other" in good(restored)
    assert "cannot be reached" in restored.stderr


def test_a_damaged_copy_is_told_and_the_other_one_taken(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = [tmp_path / "one", tmp_path / "two"]
    monkeypatch.setenv("INSIGHT_BACKUP__STORES", ",".join(path.as_uri() for path in stores))
    good(run("create"))
    (part,) = stores[0].rglob("data-rest.*")
    part.write_bytes(bytes([part.read_bytes()[0] ^ 1]) + part.read_bytes()[1:])
    result = run("restore", "--into", "from_the_second")
    assert "is now the database" in good(result)
    assert "part 'data-rest' is damaged" in result.stderr
    assert f"file://{stores[1]} has it, too" in result.stderr


def test_old_backups_are_pruned_with_a_reason(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSIGHT_BACKUP__KEEP_DAILY_DAYS", "0")
    monkeypatch.setenv("INSIGHT_BACKUP__KEEP_AT_LEAST", "1")
    first, second = (
        json.loads(good(run("create", "--type", "daily", "--json")))["id"] for _ in range(2)
    )
    result = run("prune")
    assert f"  - {first}  (daily, older than 0 days)" in result.stdout
    assert "nothing was removed" in result.stderr
    assert json.loads(good(run("prune", "--apply", "--json")))["removed"] == [first]
    ((left,),) = [store["backups"] for store in json.loads(good(run("list", "--json")))]
    assert left["id"] == second
    assert first not in good(run("prune"))
    assert "1 removed" not in run("create", "--type", "daily").stderr


def test_a_password_on_the_command_line_is_refused(run: Run) -> None:
    for option in ("--url", "--server"):
        result = run("drill", option, "postgresql://u:the-secret@h/d")
        assert isinstance(result.exception, SettingsError)
        assert "the-secret" not in str(result.exception)
        assert ".pgpass" in str(result.exception)


@pytest.mark.parametrize(
    "words",
    [
        ("restore", "--before", "yesterday"),
        ("restore", "--at", "2026-01-01"),
        ("create", "--type", "hourly"),
        ("verify", "--stored", "--restore"),
    ],
)
def test_wrong_usage(run: Run, words: tuple[str, ...]) -> None:
    assert run(*words).exit_code == 2


def test_wrong_settings(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(run("list", "--store", "ftp://x").exception, SettingsError)
    assert isinstance(run("list", "--name", "../x").exception, SettingsError)
    monkeypatch.setenv("INSIGHT_BACKUP__IDENTITY_FILE", "no-such-file")
    assert isinstance(run("list").exception, SettingsError)


def test_a_key_is_not_written_over_another(run: Run) -> None:
    good(run("new-key", "key"))
    assert isinstance(run("new-key", "key").exception, Refused)


def test_the_schedule(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler = Systemd(System(), scope="user", user="ada", folder=tmp_path / "units")

    async def choose(scope: str) -> Choice:
        return Choice(scheduler, "a test")

    monkeypatch.setattr(schedule, "choose", choose)
    assert run("schedule", "status").exit_code == 1
    planned = good(run("schedule", "install", "--plan"))
    assert planned.count("+ insight-backup-") == 3
    installed = good(run("schedule", "install"))
    assert re.search(r"insight-backup-daily .*daily 02:00", installed)
    assert "20" in installed.partition("rows of")[0]  # the first backup was made at once
    assert len(json.loads(good(run("list", "--json")))[0]["backups"]) == 1
    assert good(run("schedule", "status")).count("pass") == 3
    assert good(run("status")).count("schedule.backup-") == 3
    assert good(run("schedule", "install", "--no-first")) == "nothing to do\n"
    monkeypatch.setenv("INSIGHT_BACKUP__MONTHLY", "never")
    monkeypatch.setenv("INSIGHT_BACKUP__BASE", "weekly sunday 05:00")
    changed = good(run("schedule", "install", "--no-first"))
    assert "- insight-backup-monthly" in changed
    assert "+ insight-backup-base  (weekly sunday 05:00)" in changed
    monkeypatch.setenv("INSIGHT_BACKUP__DAILY", "at noon")
    assert isinstance(run("schedule", "install").exception, SettingsError)
    assert good(run("schedule", "uninstall")).count("- insight-backup-") == 3


def test_the_settings_have_the_times_of_the_seed() -> None:
    found = BackupSettings()
    assert (found.daily, found.weekly) == ("daily 02:00", "weekly sunday 03:00")
    assert (found.monthly, found.s3_storage_class) == ("monthly 1 04:00", "STANDARD_IA")
