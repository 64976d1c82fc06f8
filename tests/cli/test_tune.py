from __future__ import annotations

import asyncio
import json
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner, Result

from insight_cloud.cli.tune import command
from insight_cloud.core.errors import Corrupt, Missing, SettingsError
from tests.redis import redis_server

SHOP = """
create table customers (id int primary key);
create table orders (id int primary key, customer int references customers, placed date);
insert into customers select generate_series(1, 20000);
insert into orders select i, i, date '2025-01-01' + i % 300 from generate_series(1, 20000) i;
"""


def run(*words: str) -> Result:
    return CliRunner().invoke(command, words, catch_exceptions=True)


@pytest.fixture
def shop(database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A database with a foreign key that has no index, in a working directory of its own."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(SHOP)
        connection.execute("vacuum analyze")
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.chdir(tmp_path)
    return database_url


def indexes(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute("select indexname from pg_indexes where schemaname = 'public'")
        return {row[0] for row in rows.fetchall()}


async def test_nothing_is_changed_without_apply_and_undo_takes_it_back(shop: str) -> None:
    # Each in a thread: a command has an event loop of its own.
    before = indexes(shop)
    planned = await asyncio.to_thread(run, "database", "--no-advice")
    assert "Planned; add --apply to do it:" in planned.output
    assert "create index concurrently orders_customer_idx" in planned.output
    assert indexes(shop) == before
    done = await asyncio.to_thread(run, "database", "--no-advice", "--apply")
    assert "Done:" in done.output
    assert indexes(shop) == {*before, "orders_customer_idx"}
    again = json.loads((await asyncio.to_thread(run, "database", "--no-advice", "--json")).stdout)
    assert again["changes"] == []
    assert again["compared"]["gone"] == ["foreign_key.unindexed public.orders.orders_customer_fkey"]
    assert Path(again["report"]).with_suffix(".html").exists()
    shown = await asyncio.to_thread(run, "undo")
    assert "drop index concurrently public.orders_customer_idx" in shown.output
    assert indexes(shop) == {*before, "orders_customer_idx"}
    await asyncio.to_thread(run, "undo", "--yes")
    assert indexes(shop) == before


async def test_a_file_of_statements_is_advised_on(shop: str, tmp_path: Path) -> None:
    (tmp_path / "w.sql").write_text("select * from orders where customer = 7 order by placed;")
    found = await asyncio.to_thread(
        run, "database", "--statements", "w.sql", "--only", "index.missing", "--json"
    )
    data = json.loads(found.stdout)
    assert data["details"]["advice"]["by"] == "shadow"
    assert "(customer" in data["changes"][0]["after"]
    assert len(data["changes"]) == 1


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("database", "--url", "postgresql://a:secret@host/x"), SettingsError),
        (("database", "--only", "nonsense"), SettingsError),
        (("database", "--log", "no-such-file"), Missing),
        (("undo",), Missing),
        (("cache",), SettingsError),
    ],
)
def test_wrong_input_is_told_and_changes_nothing(
    words: tuple[str, ...],
    error: type[Exception],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REDIS_URL", raising=False)
    result = run(*words)
    assert isinstance(result.exception, error)
    assert "secret" not in str(result.exception)
    assert list(tmp_path.iterdir()) == []


def test_a_journal_that_is_none_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "j.jsonl").write_text("drop table users\n")
    assert isinstance(run("undo", "j.jsonl").exception, Corrupt)


def test_the_cache_is_looked_at(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    with redis_server() as server:
        monkeypatch.setenv("REDIS_URL", server.url)
        found = run("cache")
    assert found.exit_code == 0
    assert "maxmemory: is not set" in found.output
    assert "reports/performance/cache-" in found.output


def test_images_and_bundles_are_weighed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "site").mkdir()
    (tmp_path / "site/a.css").write_text("a { color: red }")
    (tmp_path / "site/a.png").write_bytes(b"x" * 1000)
    assert "unoptimized" in run("images", "site", "--no-report").output
    assert run("bundle", "site", "--json", "--no-report").exit_code == 0
    monkeypatch.setenv("INSIGHT_ASSETS__INITIAL_BYTES", "1")
    assert run("bundle", "site").exit_code == 1


async def test_top_shows_who_waits_for_whom(shop: str) -> None:
    with psycopg.connect(shop, application_name="holder") as holder:
        holder.execute("lock table orders")
        text = (await asyncio.to_thread(run, "top", "--once")).output
        assert "idle in transaction" in text
        assert "lock table" in text  # the rest is beyond the terminal's width
        data = json.loads((await asyncio.to_thread(run, "top", "--once", "--json")).stdout)
        assert data["connections"]["states"]["idle in transaction"] == 1


def test_a_soak_names_the_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path(__file__).parents[1] / "tuning"
    words = ("memory", "leaky:python", "--directory", str(folder), "--seconds", "16", "--json")
    found = run(*words)
    data = json.loads(found.stdout)
    assert found.exit_code == 1
    assert "leaky.py:" in data["checks"][0]["detail"]
