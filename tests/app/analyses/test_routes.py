"""Uploads over HTTP: bad input is a clear problem and stores nothing at all."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import zstandard

from insight_cloud import wiring
from insight_cloud.app import web
from insight_cloud.app.accounts import service as accounts
from insight_cloud.app.accounts.models import Scope
from insight_cloud.settings import AnalysesSettings, Settings
from tests.app.analyses.conftest import Site

LOG = (
    Path(__file__).parents[2] / "data" / "sarif" / "own-zizmor-requests-2.31.0.sarif"
).read_bytes()
TABLES = ("analyses", "branches", "issues", "rules", "paths", "runs")


class Api:
    """The whole application on a test's database."""

    def __init__(self, site: Site, client: httpx.AsyncClient) -> None:
        self.site = site
        self.client = client

    async def token(self, *scopes: Scope, project: str | None = None) -> dict[str, str]:
        made = await accounts.operator_token(
            self.site.context, name="test", scopes=scopes, project=project
        )
        return {"authorization": f"Bearer {made.token}"}

    async def post(
        self, content: bytes, headers: Mapping[str, str], project: str = "demo", **query: str
    ) -> httpx.Response:
        path = f"/api/v1/projects/{project}/analyses"
        return await self.client.post(path, content=content, headers=headers, params=query)

    async def rows(self) -> int:
        """How many rows the uploads have left, in all tables."""
        return sum(
            [
                await self.site.context.pool.fetch_value(f"select count(*) from {table}")
                for table in TABLES
            ]
        )


@pytest.fixture
async def api(site: Site) -> AsyncIterator[Api]:
    limits = AnalysesSettings(upload_bytes=200_000, log_bytes=1_000_000)
    settings = Settings().model_copy(update={"analyses": limits})
    app = web.create(settings, wiring.Components(site.context.pool))
    site.context = app.state.context = replace(site.context, settings=settings)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield Api(site, client)


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("identity", LOG),
        ("gzip", gzip.compress(LOG)),
        ("zstd", zstandard.ZstdCompressor().compress(LOG)),
    ],
)
async def test_a_log_is_taken_in(api: Api, encoding: str, body: bytes) -> None:
    headers = await api.token("ingest", "read") | {"content-encoding": encoding}
    first = await api.post(body, headers, commit="abc", branch="main")
    assert first.status_code == 201
    assert first.json()["analysis"]["new"] == 13
    again = await api.post(body, headers, commit="abc", branch="main")
    assert (again.status_code, again.json()["repeated"]) == (200, True)
    found = first.json()["analysis"]["id"]
    detail = await api.client.get(f"/api/v1/projects/demo/analyses/{found}", headers=headers)
    assert detail.json()["runs"][0]["tool"] == "zizmor"


@pytest.mark.parametrize(
    ("encoding", "body", "status", "words"),
    [
        ("gzip", gzip.compress(bytes(50_000_000)), 413, "1,000,000 bytes after decompression"),
        ("identity", b" " * 1_000_001, 413, "1,000,000 bytes"),
        ("gzip", b"not gzip", 422, "not valid gzip"),
        ("br", b"x", 415, "'br'"),
        ("identity", b"", 422, "JSON"),
        ("identity", b"{]", 422, "JSON"),
        ("identity", b"[" * 100_000, 422, ""),
        ("identity", b'{"version": "2.0.0", "runs": []}', 422, "2.1.0"),
        ("identity", b'{"version": "2.1.0", "runs": [{"results": 42}]}', 422, ""),
    ],
)
async def test_a_bad_body_is_a_problem_and_nothing_is_stored(
    api: Api, encoding: str, body: bytes, status: int, words: str
) -> None:
    headers = await api.token("ingest") | {"content-encoding": encoding}
    answer = await api.post(body, headers, project="brand-new")
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert words in answer.json()["detail"]
    assert await api.rows() == 0
    assert await api.site.context.pool.fetch_value("select count(*) from projects") == 1


async def test_without_the_right_token_nothing_is_stored(api: Api) -> None:
    reader = await api.token("read")
    other = await api.token("ingest", project="demo")
    nobody = await api.post(LOG, {})
    assert nobody.status_code == 401
    wrong = await api.post(LOG, {"authorization": "Bearer ins_" + "x" * 43})
    assert wrong.status_code == 401
    assert (await api.post(LOG, reader)).status_code == 403
    assert (await api.post(LOG, other, project="another")).status_code == 404
    assert await api.rows() == 0


async def test_an_upload_creates_its_project(api: Api) -> None:
    answer = await api.post(LOG, await api.token("ingest"), project="brand-new")
    assert answer.status_code == 201
    assert answer.json()["url"].endswith(answer.json()["analysis"]["id"])
    refused = await api.post(LOG, await api.token("ingest"), project="Not%20A%20Slug")
    assert refused.status_code in {404, 422}


async def test_what_the_client_has_is_not_sent_again(api: Api) -> None:
    headers = await api.token("ingest", "read")
    await api.post(LOG, headers)
    path = "/api/v1/projects/demo/issues"
    first = await api.client.get(path, headers=headers)
    again = await api.client.get(path, headers=headers | {"if-none-match": first.headers["etag"]})
    assert (first.status_code, again.status_code) == (200, 304)


@pytest.mark.parametrize(
    "path",
    ["issues", "analyses", "summary", "trends", "top", "top?by=path", "issues?state=all&q=%25"],
)
async def test_every_list_answers(api: Api, path: str) -> None:
    headers = await api.token("ingest", "read")
    await api.post(LOG, headers)
    answer = await api.client.get(f"/api/v1/projects/demo/{path}", headers=headers)
    assert answer.status_code == 200
    missing = await api.client.get(f"/api/v1/projects/other/{path}", headers=headers)
    assert missing.status_code == 404


@pytest.mark.parametrize("cursor", ["x", "WyJhIl0", "W10"])
async def test_a_made_up_cursor_is_refused(api: Api, cursor: str) -> None:
    headers = await api.token("read")
    for path in ("issues", "analyses"):
        answer = await api.client.get(
            f"/api/v1/projects/demo/{path}", params={"cursor": cursor}, headers=headers
        )
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["pointer"] == "/query/cursor"


async def test_a_report_that_says_it_is_sarif_is_refused(api: Api) -> None:
    headers = await api.token("ingest") | {"content-type": "application/sarif+json"}
    answer = await api.post(b"[]", headers)
    assert answer.status_code == 422
    assert "application/json" in answer.json()["detail"]
    assert await api.rows() == 0
