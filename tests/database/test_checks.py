from __future__ import annotations

import shutil
from pathlib import Path

from insight_cloud.database import Pool, check
from tests.conftest import MIGRATIONS


async def test_a_healthy_database_passes(pool: Pool) -> None:
    found = {item.name: item for item in await check(pool, migrations_directory=MIGRATIONS)}
    assert set(found) == {
        "database.latency",
        "database.connections",
        "database.version",
        "database.migrations",
    }
    assert {item.status for item in found.values()} == {"pass"}
    assert found["database.latency"].seconds > 0
    assert found["database.version"].detail.startswith(("14", "15", "16", "17", "18"))


async def test_pending_and_changed_migrations_fail(pool: Pool, tmp_path: Path) -> None:
    shutil.copytree(MIGRATIONS, tmp_path, dirs_exist_ok=True)
    more = f"{len(tuple(MIGRATIONS.glob('*.sql'))) + 1:04}_more"
    (tmp_path / f"{more}.sql").write_text("select 1")
    *_, found = await check(pool, migrations_directory=tmp_path)
    assert (found.status, found.detail) == ("fail", f"pending: {more}")
    (tmp_path / "0001_initial.sql").write_text("select 1")
    *_, found = await check(pool, migrations_directory=tmp_path)
    assert found.status == "fail"
    assert "changed" in found.detail


async def test_a_schema_ahead_of_the_program_passes(pool: Pool, tmp_path: Path) -> None:
    *_, found = await check(pool, migrations_directory=tmp_path)
    assert found.status == "pass"
    assert "newer than this program" in found.detail


async def test_a_database_that_is_away_fails_and_ends_the_list(migrated_url: str) -> None:
    pool = Pool(migrated_url, min_size=1)
    await pool.open()
    await pool.close()
    first, _ = await check(pool, migrations_directory=MIGRATIONS)
    assert (first.name, first.status) == ("database.latency", "fail")
