"""A folder that the embedded server's own user may enter, and a service in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving import Served, served

PASSWORD = "correct horse battery 9"

UNLIMITED = {f"INSIGHT_RATELIMIT__{tier}": "1000000/1h open" for tier in ("API", "AUTH", "STRICT")}
"""For tests that ask more often than any person or program should."""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An empty home. The server runs as another user when we are root: let it pass through."""
    open_the_way_to(tmp_path)
    return tmp_path


def open_the_way_to(folder: Path) -> None:
    """Let every user enter `folder` and what it lies in, as far as it is ours."""
    for each in (folder, *folder.parents):
        if each.stat().st_uid == os.geteuid() and each != Path("/"):
            each.chmod(each.stat().st_mode | 0o111)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A running service with an administrator, `lead@example.org`; one for a file of tests."""
    home = tmp_path_factory.mktemp("service")
    open_the_way_to(home)
    with served(home, **UNLIMITED) as service:
        service.run(
            "users", "add", "lead@example.org", "--admin", "--password-stdin", given=PASSWORD
        )
        yield service
