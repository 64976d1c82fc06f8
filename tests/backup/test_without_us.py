"""What the documentation promises: a backup opens with public tools alone."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from insight_cloud.backup import Job, create
from insight_cloud.database import embedded
from tests import postgres
from tests.backup import world

PAGE = Path(__file__).parents[2] / "docs/howto/backup.md"


def _tool(name: str) -> str:
    found = shutil.which(name)
    if found is not None:
        return found
    reason = f"the program {name} is not installed (Debian: apt-get install {name})"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


async def test_a_backup_opens_without_our_program(
    job: Job, postgres_url: str, tmp_path: Path
) -> None:
    age, zstd = _tool("age"), _tool("zstd")
    created = await create(job)
    before = await world.picture(job.url, dump_with=18)
    (script,) = re.findall(r"```python\n(import sys\n.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "open.py").write_text(script)
    (tmp_path / "key").write_text(world.SECRET)
    root = Path(job.stores[0].root)  # type: ignore[attr-defined]
    folder = root / job.name / "backups" / created.manifest.id
    manifest = json.loads((folder / "manifest.json").read_bytes().split(b"\n")[0])
    envelope = manifest["encryption"]["envelope"].encode()
    command = [age, "-d", "-i", str(tmp_path / "key")]
    (tmp_path / "data.key").write_bytes(_pipe(command, envelope, tmp_path))

    async with postgres.database(postgres_url) as url:
        for part in manifest["parts"]:
            if part["content"] != "database":
                stored = folder / f"{part['name']}.pgdump.zst.sealed"
                words = [sys.executable, "open.py", "data.key", created.manifest.id, part["name"]]
                plain = _pipe(words, stored.read_bytes(), tmp_path)
                archive = _pipe([zstd, "-d"], plain, tmp_path)
                _pipe([embedded.binaries() / "pg_restore", "-d", url], archive, tmp_path)
        assert await world.picture(url, dump_with=18) == before


def _pipe(words: Sequence[str | Path], data: bytes, folder: Path) -> bytes:
    return subprocess.run(words, input=data, capture_output=True, check=True, cwd=folder).stdout
