from __future__ import annotations

import dataclasses
import gzip
from pathlib import Path

import pytest

from insight_cloud.backup import Catalogue, Job, create, restore
from tests import postgres
from tests.backup import world


async def _restored(job: Job, name: str, **options: bool) -> str:
    _, backup = await world.newest(job)
    done = await restore(backup, job.url, name, programs=job.programs, parallel=2, **options)
    assert done.kept is None
    return postgres.with_database(job.url, name)


@pytest.fixture
async def copy_name(job: Job, tmp_path: Path) -> str:
    return "copy_" + tmp_path.name.replace("-", "_")[-30:]


async def test_a_restored_database_equals_its_source(job: Job, copy_name: str) -> None:
    before = await world.picture(job.url, dump_with=18)
    created = await create(job)
    assert not created.failures
    assert {part.content for part in created.manifest.parts} == {
        "database",
        "pre-data",
        "data",
        "post-data",
    }
    assert len([part for part in created.manifest.parts if part.content == "data"]) > 3
    copy = await _restored(job, copy_name)
    assert await world.picture(copy, dump_with=18) == before
    assert before.large_objects
    assert before.sequences["public.lonely"] == (22, 5)


async def test_a_plain_backup_is_sql_that_anybody_can_restore(job: Job, copy_name: str) -> None:
    job = dataclasses.replace(job, lock=None, identity=None)
    before = await world.picture(job.url, dump_with=18)
    created = await create(job, plain=True)
    (database, part) = created.manifest.parts
    assert (database.content, part.content) == ("database", "plain")
    copy = await _restored(job, copy_name)
    assert await world.picture(copy, dump_with=18) == before
    catalogue = Catalogue(job.stores[0], job.name)
    stored = await job.stores[0].read(catalogue.path(created.manifest.id, "dump.sql.gz"))
    assert b"PostgreSQL database dump complete" in gzip.decompress(stored)
