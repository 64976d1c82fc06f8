from __future__ import annotations

import asyncio
import json
import os
import sys

from insight_cloud.core import process
from insight_cloud.core.process import Outcome


async def insight(url: str, *arguments: str) -> Outcome:
    command = [sys.executable, "-m", "insight_cloud.cli", "database", *arguments]
    environment = {"PATH": os.environ["PATH"], "DATABASE_URL": url}
    return await process.run(command, timeout_seconds=60, environment=environment)


async def test_a_new_database_is_migrated_once(database_url: str) -> None:
    before = await insight(database_url, "status", "--json")
    assert before.status == 1
    found = {check["name"]: check for check in json.loads(before.stdout)["checks"]}
    assert found["database.migrations"]["status"] == "fail"

    planned = await insight(database_url, "migrate", "--plan")
    assert planned.stdout.startswith(b"* 0001_initial")
    assert (await insight(database_url, "migrate", "--json", "--plan")).status == 0

    done = await insight(database_url, "migrate", "--json")
    assert json.loads(done.stdout)[0]["target"] == "0001_initial"
    again = await insight(database_url, "migrate")
    assert (again.status, again.stdout) == (0, b"nothing to do\n")

    after = await insight(database_url, "status")
    assert after.status == 0
    assert b"pass  database.migrations" in after.stdout


async def test_a_database_that_is_away_is_unavailable() -> None:
    outcomes = await asyncio.gather(
        *(insight("postgresql://127.0.0.1:1/x", name) for name in ("status", "migrate"))
    )
    assert [outcome.status for outcome in outcomes] == [6, 6]
    assert all(b"cannot connect" in outcome.stderr for outcome in outcomes)
