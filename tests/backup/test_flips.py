"""One changed byte anywhere is found before a row is restored, and the part is named."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path

import pytest

from insight_cloud.backup import Catalogue, Job, create, opened, restore, verify
from insight_cloud.core.errors import Corrupt
from tests.backup import world

FLIPS = 260  # of each kind of backup


@pytest.fixture(params=["encrypted", "open", "plain"])
async def made(job: Job, request: pytest.FixtureRequest) -> Job:
    if request.param != "encrypted":
        job = dataclasses.replace(job, lock=None, identity=None)
    await create(job, plain=request.param == "plain")
    return job


async def _restore(job: Job, backup_id: str) -> None:
    catalogue = Catalogue(job.stores[0], job.name)
    backup = await opened(catalogue, backup_id, job.identity)
    await restore(backup, job.url, "never", programs=job.programs, parallel=2)


def _files(job: Job) -> dict[str, Path]:
    root = job.stores[0].root  # type: ignore[attr-defined]
    files = (path for path in Path(root, job.name, "backups").rglob("*") if path.is_file())
    return {path.name: path for path in files}


@pytest.mark.timeout(300)
async def test_every_flipped_bit_is_found_before_a_row_is_restored(made: Job) -> None:
    files = _files(made)
    (backup_id,) = {path.parent.name for path in files.values()}
    draw = random.Random(20261125)
    for _ in range(FLIPS):
        name = draw.choice(sorted(files))
        content = bytearray(files[name].read_bytes())
        place = draw.randrange(len(content))
        content[place] ^= 1 << draw.randrange(8)
        whole = files[name].read_bytes()
        files[name].write_bytes(content)
        with pytest.raises(Corrupt) as caught:
            await _restore(made, backup_id)
        files[name].write_bytes(whole)
        part = name.split(".")[0]
        assert ("manifest" if part == "manifest" else f"part {part!r}") in str(caught.value)
    assert not [name for name in await world.databases(made.url) if name.startswith("never")]


async def test_a_verification_finds_it_too_and_it_is_remembered(made: Job) -> None:
    catalogue = Catalogue(made.stores[0], made.name)
    (held,) = (await catalogue.read()).backups
    name, path = min(_files(made).items())
    whole = path.read_bytes()
    path.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    checks = await verify(made, catalogue, held, level="stored")
    assert [check.status for check in checks] == ["pass", "fail"]
    assert name.split(".")[0] in checks[-1].detail
    (marked,) = (await catalogue.read()).backups
    assert not marked.good
    assert marked.problem == checks[-1].detail
    path.write_bytes(whole)
    assert (await verify(made, catalogue, marked))[-1].status == "pass"
    (healed,) = (await catalogue.read()).backups
    assert healed.good
