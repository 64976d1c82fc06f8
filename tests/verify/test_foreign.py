"""A foreign application: what applies is run, what does not is "not run" with the reason."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest

from insight_cloud import verify, wiring
from insight_cloud.verify import Subject

HERE = Path(__file__).parent


@pytest.fixture
def library(database_url: str) -> Iterator[tuple[str, str]]:
    """Where it is, and its database."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("create table books (id int primary key, title text not null)")
        connection.execute("insert into books values (1, 'Emma')")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "uvicorn", "--log-level", "critical"),
                *("--fd", str(listener.fileno()), "foreign_app:app"),
            ],
            cwd=HERE,
            env={"PATH": os.environ["PATH"], "LIBRARY_DATABASE": database_url},
            pass_fds=[listener.fileno()],
        )
        limit = time.monotonic() + 60
        while True:
            try:
                httpx.get(url, timeout=30)
                break
            except httpx.TransportError:
                assert time.monotonic() < limit
                time.sleep(0.05)
        yield url, database_url
        process.terminate()
        process.wait(30)


@pytest.mark.timeout(400)
async def test_all_seven_suites_on_somebody_elses_application(library: tuple[str, str]) -> None:
    url, database_url = library
    subject = Subject(url, database_url=database_url, scratch=wiring.fresh_server)
    found = await verify.run(subject)
    checks = {f"{suite.name}: {c.name}": c for suite in found.suites for c in suite.checks}
    not_run = {name: c.detail for name, c in checks.items() if c.status == "not run"}
    assert all(not_run.values())
    for name, reason in {
        "security: TLS is graded A or better": "asked by HTTP",
        "security: what needs a sign-in refuses without one": "protects nothing",
        "security: no secret in the source": "--project",
        "security: sign-in leads to no other site": "no page to sign in at",
        "database: its migrations are applied": "--migrations",
        "backup: the stores": "backup.stores",
        "e2e: register, sign out, sign in": "--allow-writes",
    }.items():
        assert reason in not_run[name], name
    for name in (
        "api: nothing makes it fail (5xx)",
        "api: every answer has its documented form",
        "security: no private file is served",
        "database: every table has a primary key",
        "backup: a backup can be made",
        "backup: it is restored on a new server",
        "e2e: every page has one main heading",
        "performance: nothing jumps while it loads",
    ):
        assert checks[name].status == "pass", checks[name]
    # It sends no security headers, which is what this suite is for.
    assert checks["security: headers: content-security-policy"].status == "fail"
    assert {suite.name for suite in found.suites if suite.status == "not run"} == set()
    assert checks["load: the load could be made"].status in {"pass", "error"}  # a busy machine
    assert found.success_rate is not None
