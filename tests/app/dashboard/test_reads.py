"""What pages read is read once for each state of a project, and never out of date."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from insight_cloud.app.analyses import service as analyses
from insight_cloud.app.analyses.models import Upload
from insight_cloud.app.projects import service as projects
from insight_cloud.database import Pool
from tests.app.dashboard.test_routes import client
from tests.app.dashboard.town import Town, open_town

_READS = {"overview", "newest", "weeks", "open_by_both", "top_rules", "top_paths", "trend"}
_EMPTY = b'{"version": "2.1.0", "runs": [{"tool": {"driver": {"name": "ruff"}}, "results": []}]}'


@pytest.fixture
async def own_town(pool: Pool) -> AsyncIterator[Town]:
    """A town that nobody else changes."""
    async with open_town(pool) as town:
        yield town


@pytest.fixture
async def ada(own_town: Town) -> AsyncIterator[httpx.AsyncClient]:
    async with client(own_town.app, session=await own_town.session("ada")) as http:
        yield http


async def reads(town: Town, http: httpx.AsyncClient, path: str) -> int:
    """How many of the costly statements a page sent."""
    before = town.calls()
    assert (await http.get(path)).status_code == 200
    after = town.calls()
    return sum(after.get(name, 0) - before.get(name, 0) for name in _READS)


@pytest.mark.parametrize("path", ["/", "/projects/payments"])
async def test_a_page_is_read_once_until_something_changes(
    own_town: Town, ada: httpx.AsyncClient, path: str
) -> None:
    assert await reads(own_town, ada, path) > 0
    assert await reads(own_town, ada, path) == 0
    caller = await own_town.caller()
    upload = Upload(branch=None, commit="f" * 40, category="", root=None)
    await analyses.ingest(own_town.context, caller, "payments", upload, _EMPTY)
    assert await reads(own_town, ada, path) > 0
    assert await reads(own_town, ada, path) == 0


async def test_a_new_name_is_shown_at_once(own_town: Town, ada: httpx.AsyncClient) -> None:
    await ada.get("/")
    await projects.change(
        own_town.context, await own_town.caller(), "payments", name="Money & More"
    )
    assert "Money &amp; More" in (await ada.get("/")).text


async def test_an_upload_that_changes_nothing_is_in_the_list_of_analyses(
    own_town: Town, ada: httpx.AsyncClient
) -> None:
    caller = await own_town.caller()
    for commit in ("a" * 40, "b" * 40):
        await analyses.ingest(
            own_town.context,
            caller,
            "payments",
            Upload(branch=None, commit=commit, category="x", root=None),
            _EMPTY,
        )
        assert commit[:7] in (await ada.get("/projects/payments")).text
