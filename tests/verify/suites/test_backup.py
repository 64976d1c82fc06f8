"""A backup is made and restored; what may be wrong with it, or with the stores, is found."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from insight_cloud import wiring
from insight_cloud.backup import Catalogue, Job, create
from insight_cloud.core.errors import Unavailable
from insight_cloud.core.storage import Credentials, Limits, open_store
from insight_cloud.verify.suites import backup
from tests.backup import world
from tests.verify.sites import asked, statuses


@pytest.fixture
async def source_url(postgres_url: str) -> AsyncIterator[str]:
    async with world.rich(postgres_url) as url:
        yield url


@pytest.fixture
def job(source_url: str, tmp_path: Path) -> Job:
    return world.job_for(source_url, tmp_path)


def part_of(folder: Path) -> Path:
    """A file of the backup that holds rows."""
    return next(file for file in folder.rglob("*data*") if file.is_file())


async def failed(job: Job) -> dict[str, str]:
    """What the stores' questions find, without the store's name."""
    checks = await asked(backup, "http://127.0.0.1:1", database_url=job.url, backup=job)
    found = {}
    for name, check in checks.items():
        if check.status == "fail":
            for store in job.stores:
                name = name.replace(store.url, "STORE")  # noqa: PLW2901 - shortened
            found[name] = check.detail
    return found


async def test_a_new_backup_is_restored_and_the_stores_are_fine(job: Job) -> None:
    await create(job)
    checks = await asked(
        backup, "http://127.0.0.1:1", database_url=job.url, backup=job, scratch=wiring.fresh_server
    )
    assert {check.status for check in checks.values()} == {"pass"}, statuses(checks)
    assert "restored and compared" in checks["it is restored on a new server"].detail
    assert len((await Catalogue(job.stores[0], job.name).read()).backups) == 1


async def test_without_stores_and_without_a_server_the_rest_is_not_run(source_url: str) -> None:
    checks = await asked(backup, "http://127.0.0.1:1", database_url=source_url)
    assert checks["a backup can be made"].status == "pass"
    assert checks["it is restored on a new server"].status == "not run"
    assert checks["the stores"].status == "not run"
    nothing = await asked(backup, "http://127.0.0.1:1")
    assert {check.status for check in nothing.values()} == {"not run"}


async def test_a_database_that_may_not_be_read_whole_fails(job: Job) -> None:
    role = f"reader_{uuid.uuid4().hex}"
    await world.execute(job.url, sql.SQL("create role {} login").format(sql.Identifier(role)))
    try:
        url = make_conninfo(job.url, user=role)
        checks = await asked(backup, "http://127.0.0.1:1", database_url=url)
    finally:
        await world.execute(job.url, sql.SQL("drop role {}").format(sql.Identifier(role)))
    assert checks["a backup can be made"].status == "fail"


async def test_a_store_without_a_backup_fails(job: Job) -> None:
    assert "STORE has a recent backup" in await failed(job)


async def test_an_old_backup_fails(job: Job) -> None:
    await create(job)
    later = replace(job, clock=lambda: datetime.now(UTC) + timedelta(hours=27))
    found = await failed(later)
    assert list(found) == ["STORE has a recent backup"]
    assert "27 hours old" in found["STORE has a recent backup"]


async def test_a_missing_part_fails(job: Job, tmp_path: Path) -> None:
    await create(job)
    part_of(tmp_path).unlink()
    assert "STORE has no damaged backup" in await failed(job)


async def test_flipped_bits_fail(job: Job, tmp_path: Path) -> None:
    await create(job)
    part = part_of(tmp_path)
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(content)
    assert list(await failed(job)) == ["the newest backup of STORE is as it was written"]


async def test_a_store_that_is_away_fails(job: Job) -> None:
    limits = Limits(retries=0, request_seconds=2, retry_seconds=1)
    keys = Credentials(
        aws_access_key_id="a", aws_secret_access_key="b", aws_endpoint_url="http://127.0.0.1:1"
    )
    async with open_store("s3://nothing", keys, limits=limits) as store:
        assert list(await failed(replace(job, stores=(store,)))) == ["STORE can be read"]


async def test_a_restore_that_is_not_possible_fails(job: Job) -> None:
    @asynccontextmanager
    async def broken() -> AsyncIterator[str]:
        raise Unavailable("the new server did not start")
        yield ""

    checks = await asked(backup, "http://127.0.0.1:1", database_url=job.url, scratch=broken)
    assert checks["it is restored on a new server"].status == "fail"
